//! Unmodified ZooKeeper clients against the binary: everyday calls, recipes, watches and sessions over a kill, discovery both ways.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Driver, Server, eventually, http, same, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(60);

macro_rules! driver {
    ($name:literal, $test:literal) => {
        match Driver::start($name) {
            Ok(driver) => driver,
            Err(why) => return tally::skip_test($test, &why, 1),
        }
    };
}

fn instances(
    driver: &mut Driver,
    operation: &str,
    server: &Server,
    service: &str,
) -> Result<Value, String> {
    let arguments = json!({ "addr": server.address("zookeeper").to_string(), "service": service });
    driver.call(operation, arguments)
}

fn register(server: &Server, name: &str, host: &str, port: u16) {
    let body = json!({ "Name": name, "ID": format!("{name}-1"), "Address": host, "Port": port });
    let consul = server.address("consul");
    let path = "/v1/agent/service/register";
    let reply = http::call(consul, "PUT", path, Some(&body.to_string())).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn kazoo_does_what_its_first_page_says() {
    need_binary!();
    let mut python = driver!("python", "zookeeper: kazoo");
    // kazoo asks for the version with a word that ZooKeeper does not answer by default either.
    let server = Server::with(&["--zookeeper-words", "*"]);
    let addr = server.address("zookeeper").to_string();
    let version = python
        .call("kazoo.everyday", json!({ "addr": addr }))
        .unwrap();
    assert_eq!(version, json!([3, 9, 4]));
    python
        .call("kazoo.recipes", json!({ "addr": addr }))
        .unwrap();
}

#[test]
fn watches_and_sessions_outlive_a_kill_of_the_server() {
    need_binary!();
    let mut python = driver!("python", "zookeeper: kill");
    let mut server = Server::start();
    let addr = server.address("zookeeper").to_string();
    let arguments = |path: &str, data: &str| json!({ "addr": addr, "path": path, "data": data });
    python.call("kazoo.watch", arguments("/w", "")).unwrap();
    let ephemeral = json!({ "addr": addr, "path": "/w/here", "ephemeral": true });
    python.call("kazoo.create", ephemeral).unwrap();
    let session = python
        .call("kazoo.session", json!({ "addr": addr }))
        .unwrap();
    for round in 0..3 {
        server.start_again();
        let data = format!("{round}");
        python.call("kazoo.set", arguments("/w", &data)).unwrap();
        eventually(SOON, || {
            let told = python.call("kazoo.told", arguments("/w", ""))?;
            let last = told["data"].as_array().and_then(|all| all.last().cloned());
            same(&last, &Some(json!(data)))?;
            let children = told["children"]
                .as_array()
                .and_then(|all| all.last().cloned());
            same(&children, &Some(json!(["here"])))
        })
        .unwrap();
        let now = python
            .call("kazoo.session", json!({ "addr": addr }))
            .unwrap();
        assert_eq!(now, session, "the same session");
        assert_eq!(
            python.call("kazoo.exists", arguments("/w/here", "")),
            Ok(json!(true))
        );
    }
}

#[test]
fn curator_s_recipes_and_caches() {
    need_binary!();
    let mut curator = driver!("curator", "zookeeper: Curator");
    let mut server = Server::start();
    let addr = server.address("zookeeper").to_string();
    let with = |client: &str, path: &str| json!({ "addr": addr, "client": client, "path": path });
    let leads =
        |curator: &mut Driver, client: &str| curator.call("curator.leads", with(client, "/latch"));
    for client in ["a", "b"] {
        let mut lock = with(client, "/lock");
        lock["wait_ms"] = json!(10_000);
        assert_eq!(curator.call("curator.lock", lock), Ok(json!(true)));
        curator
            .call("curator.latch", with(client, "/latch"))
            .unwrap();
        // A latch joins the queue behind the call, so the first one must be in it before the second is made.
        eventually(SOON, || same(&leads(&mut curator, "a")?, &json!(true))).unwrap();
    }
    assert_eq!(leads(&mut curator, "b"), Ok(json!(false)));
    // Over a kill one of them leads, and after it resigned the other does.
    server.start_again();
    eventually(SOON, || {
        let (a, b) = (leads(&mut curator, "a")?, leads(&mut curator, "b")?);
        if (a == json!(true)) ^ (b == json!(true)) {
            Ok(())
        } else {
            Err(format!("{a} {b}"))
        }
    })
    .unwrap();
    let (first, second) = match leads(&mut curator, "a").unwrap() {
        Value::Bool(true) => ("a", "b"),
        _ => ("b", "a"),
    };
    curator
        .call("curator.resign", with(first, "/latch"))
        .unwrap();
    eventually(SOON, || same(&leads(&mut curator, second)?, &json!(true))).unwrap();
    // A cache stands on recursive watches, made again after a kill.
    let mut made = with("a", "/tree/x");
    made["data"] = json!("1");
    made["mode"] = json!("PERSISTENT");
    curator.call("curator.create", made).unwrap();
    curator.call("curator.cache", with("a", "/tree")).unwrap();
    eventually(SOON, || {
        same(
            &curator.call("curator.cached", with("a", "/tree"))?["/tree/x"],
            &json!("1"),
        )
    })
    .unwrap();
    server.start_again();
    let mut made = with("b", "/tree/y");
    made["data"] = json!("2");
    made["mode"] = json!("EPHEMERAL");
    eventually(SOON, || {
        match curator.call("curator.create", made.clone()) {
            // The answer to an earlier try was lost with its connection.
            Err(error) if error.contains("NodeExists") => Ok(()),
            other => other.map(drop),
        }
    })
    .unwrap();
    eventually(SOON, || {
        same(
            &curator.call("curator.cached", with("a", "/tree"))?["/tree/y"],
            &json!("2"),
        )
    })
    .unwrap();
}

#[test]
fn discovery_goes_both_ways() {
    need_binary!();
    let mut curator = driver!("curator", "zookeeper: discovery");
    let server = Server::start();
    register(&server, "web", "10.1.1.1", 80);
    // Reading wakes the layout.
    eventually(SOON, || {
        same(
            &instances(&mut curator, "curator.instances", &server, "web")?,
            &json!(["10.1.1.1:80"]),
        )
    })
    .unwrap();
    let arguments = json!({
        "addr": server.address("zookeeper").to_string(), "service": "web", "instance": "i-1", "host": "10.1.1.2", "port": 81,
    });
    curator.call("curator.register", arguments.clone()).unwrap();
    let rows = || -> Result<Vec<String>, String> {
        let rows = http::get_json(server.address("consul"), "/v1/health/service/web?passing")?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        let mut all: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "{}:{}",
                    row["Service"]["Address"].as_str().unwrap_or(""),
                    row["Service"]["Port"]
                )
            })
            .collect();
        all.sort();
        Ok(all)
    };
    assert_eq!(rows().unwrap(), ["10.1.1.1:80", "10.1.1.2:81"]);
    curator.call("curator.unregister", arguments).unwrap();
    assert_eq!(rows().unwrap(), ["10.1.1.1:80"]);
    let names = json!({ "addr": server.address("zookeeper").to_string() });
    assert_eq!(curator.call("curator.names", names), Ok(json!(["web"])));
}

#[test]
fn dubbo_s_nodes_are_instances_and_instances_are_its_nodes() {
    need_binary!();
    let mut python = driver!("python", "zookeeper: Dubbo");
    let server = Server::start();
    let addr = server.address("zookeeper").to_string();
    let url = "dubbo%3A%2F%2F10.2.2.2%3A20880%2Fcom.foo.Bar%3Fapplication%3Da%26interface%3Dcom.foo.Bar%26version%3D1.0.0%26weight%3D200";
    for path in [
        "/dubbo",
        "/dubbo/com.foo.Bar",
        "/dubbo/com.foo.Bar/providers",
    ] {
        python
            .call("kazoo.create", json!({ "addr": addr, "path": path }))
            .unwrap();
    }
    let path = format!("/dubbo/com.foo.Bar/providers/{url}");
    let node = json!({ "addr": addr, "path": path, "ephemeral": true });
    python.call("kazoo.create", node).unwrap();
    let service = "providers:com.foo.Bar:1.0.0:";
    let path = format!("/v1/health/service/{}", service.replace(':', "%3A"));
    let rows = http::get_json(server.address("consul"), &path).unwrap();
    assert_eq!(rows[0]["Service"]["Address"], json!("10.2.2.2"), "{rows}");
    assert_eq!(rows[0]["Service"]["Port"], json!(20880));
    assert_eq!(rows[0]["Service"]["Meta"]["application"], json!("a"));
    assert_eq!(rows[0]["Service"]["Weights"]["Passing"], json!(2));
}

/// Everything else that a person does first.
#[test]
fn four_letter_words_answer_whoever_looks() {
    need_binary!();
    let server = Server::start();
    let word = |word: &str| {
        let mut stream = TcpStream::connect(server.address("zookeeper")).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(
        word("srvr").contains("Mode: standalone"),
        "{}",
        word("srvr")
    );
    assert!(word("ruok").contains("is not in the whitelist"));
}
