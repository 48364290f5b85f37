//! What clients do beyond registering: locks, subscriptions, leases that run out, the command line tools.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::server::{Start, signal};
use crate::harness::{Driver, Server, clients, eventually, http, same, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(60);

/// A client program, or the word that it is not there.
macro_rules! driver {
    ($name:literal, $test:literal) => {
        match Driver::start($name) {
            Ok(driver) => driver,
            Err(why) => return tally::skip_test($test, &why, 1),
        }
    };
}

/// Registers an instance through Consul by hand.
fn register(server: &Server, name: &str, host: &str, port: u16) {
    let body =
        json!({ "Name": name, "ID": format!("{name}-{port}"), "Address": host, "Port": port })
            .to_string();
    let reply = http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/service/register",
        Some(&body),
    )
    .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_go_api_takes_a_lock() {
    need_binary!();
    let mut go = driver!("go", "clients: Consul lock");
    let server = Server::start();
    let addr = server.address("consul").to_string();
    for _ in 0..2 {
        let held = go
            .call("consul.lock", json!({ "addr": addr, "key": "locks/one" }))
            .unwrap();
        assert_eq!(held["held"], true);
    }
}

#[test]
fn go_zero_s_subscriber_sees_what_consul_registers() {
    need_binary!();
    let mut go = driver!("go", "clients: go-zero subscriber");
    let server = Start::default()
        .with("--layout")
        .with("go-zero=user.rpc")
        .go();
    let addr = server.address("etcd").to_string();
    let values =
        |go: &mut Driver| go.call("gozero.values", json!({ "addr": addr, "key": "user.rpc" }));
    assert_eq!(values(&mut go).unwrap(), json!([]));
    register(&server, "user.rpc", "10.5.5.5", 9001);
    eventually(SOON, || same(&values(&mut go)?, &json!(["10.5.5.5:9001"]))).unwrap();
    http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/service/deregister/user.rpc-9001",
        None,
    )
    .unwrap();
    eventually(SOON, || same(&values(&mut go)?, &json!([]))).unwrap();
}

#[test]
fn grpc_naming_s_manager_sees_what_consul_registers() {
    need_binary!();
    let mut go = driver!("go", "clients: gRPC naming");
    let server = Start::default().with("--layout").with("grpc=greeter").go();
    let addr = server.address("etcd").to_string();
    let list =
        |go: &mut Driver| go.call("naming.list", json!({ "addr": addr, "target": "greeter" }));
    assert_eq!(list(&mut go).unwrap(), json!([]));
    register(&server, "greeter", "10.5.5.6", 9002);
    eventually(SOON, || same(&list(&mut go)?, &json!(["10.5.5.6:9002"]))).unwrap();
}

#[test]
fn a_lease_that_runs_out_takes_its_instance_along() {
    need_binary!();
    let mut go = driver!("go", "clients: expired lease");
    let server = Server::start();
    let (etcd, consul) = (server.address("etcd").to_string(), server.address("consul"));
    // The process that keeps the lease alive dies with its instance.
    let arguments = json!({ "addr": etcd, "service": "brief", "address": "10.5.5.7:80", "weight": 10, "ttl": 5 });
    go.call("kitex.register", arguments).unwrap();
    let rows = || {
        http::get_json(consul, "/v1/health/service/brief?passing")
            .map(|rows| rows.as_array().map_or(0, Vec::len))
    };
    eventually(SOON, || same(&rows()?, &1)).unwrap();
    // Twice its time.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        assert_eq!(rows().unwrap(), 1, "a lease that is kept alive stays");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(go);
    eventually(SOON, || same(&rows()?, &0)).unwrap();
}

#[test]
fn etcdctl_s_everyday_commands() {
    need_binary!();
    if let Err(why) = clients::program("etcdctl") {
        return tally::skip_test("clients: etcdctl", &why, 1);
    }
    let server = Server::start();
    let endpoints = format!("--endpoints={}", server.address("etcd"));
    let run = |arguments: &[&str]| {
        clients::run("etcdctl", &[&[endpoints.as_str()], arguments].concat())
            .unwrap_or_else(|why| panic!("{why}"))
    };
    assert_eq!(run(&["put", "a/1", "one"]).trim(), "OK");
    run(&["put", "a/2", "two"]);
    assert_eq!(
        run(&["get", "--prefix", "a/", "--print-value-only"]),
        "one\ntwo\n"
    );
    assert_eq!(
        run(&["get", "a/1", "--rev=2", "--print-value-only"]).trim(),
        "one"
    );
    assert_eq!(run(&["del", "a/1"]).trim(), "1");
    assert!(run(&["endpoint", "status"]).contains("3."));
    assert!(run(&["endpoint", "health", "-w", "json"]).contains("true"));
    assert!(run(&["member", "list"]).contains("started"));
    assert!(run(&["lease", "list"]).contains("found 0 leases"));
    run(&["compaction", "3"]);
    let refused = clients::run("etcdctl", &[&endpoints, "get", "a/1", "--rev=2"]).unwrap_err();
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
}

#[test]
fn etcd3_of_python_and_npm_share_keys() {
    need_binary!();
    let mut python = driver!("python", "clients: etcd3 of Python");
    let mut node = driver!("node", "clients: etcd3 of npm");
    let server = Server::start();
    let addr = server.address("etcd").to_string();
    python
        .call(
            "etcd.put",
            json!({ "addr": addr, "key": "shared/python", "value": "1" }),
        )
        .unwrap();
    node.call(
        "etcd.put",
        json!({ "addr": addr, "key": "shared/npm", "value": "2" }),
    )
    .unwrap();
    for driver in [&mut python, &mut node] {
        let found = driver
            .call("etcd.range", json!({ "addr": addr, "key": "shared/" }))
            .unwrap();
        let mut keys: Vec<String> = found["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        assert_eq!(keys, ["shared/npm", "shared/python"]);
    }
}

#[test]
fn netflix_s_client_keeps_its_hash_code_through_many_changes() {
    need_binary!();
    let mut java = driver!("java", "clients: Eureka hash code");
    let server = Server::start();
    let url = format!("http://{}/eureka/", server.address("eureka"));
    let read = |java: &mut Driver| java.call("eureka.read", json!({ "addr": url, "app": "many" }));
    assert_eq!(read(&mut java).unwrap()["rows"], json!([]));
    for port in 1..=40 {
        register(&server, "many", "10.5.6.1", port);
    }
    eventually(SOON, || {
        same(
            &read(&mut java)?["rows"].as_array().map(Vec::len),
            &Some(40),
        )
    })
    .unwrap();
    for port in 1..=40 {
        let path = format!("/v1/agent/service/deregister/many-{port}");
        if port % 2 == 0 {
            http::call(server.address("consul"), "PUT", &path, None).unwrap();
        } else {
            http::call(
                server.address("consul"),
                "PUT",
                &format!("/v1/agent/service/maintenance/many-{port}?enable=true"),
                None,
            )
            .unwrap();
        }
    }
    eventually(SOON, || {
        let seen = read(&mut java)?;
        let out = seen["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|row| row["status"] == "OUT_OF_SERVICE")
            .count();
        same(
            &(seen["rows"].as_array().map_or(0, Vec::len), out),
            &(20, 20),
        )?;
        // The server's own consul service is in no other protocol; what the client counts is what it was told.
        same(&seen["hashcode"], &json!("OUT_OF_SERVICE_20_"))
    })
    .unwrap();
}

/// Each version of etcd's own Go client, with put, get, watch, lease, transaction, lock and election; 3.5.0 sends an `:authority` that is none.
fn etcd_go(version: &str) {
    need_binary!();
    let client = format!("etcd-go-{version}");
    if let Err(why) = clients::program(&client) {
        return tally::skip_test(&format!("clients: etcd's Go client {version}"), &why, 1);
    }
    let server = Server::start();
    let said = clients::run(&client, &[&server.address("etcd").to_string()])
        .unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(said, "put\nget\nwatch\nlease\ntxn\nlock\nelection\n");
}

#[test]
fn etcd_s_go_client_3_4() {
    etcd_go("3.4");
}

#[test]
fn etcd_s_go_client_3_5_0() {
    etcd_go("3.5.0");
}

#[test]
fn etcd_s_go_client_3_5() {
    etcd_go("3.5");
}

#[test]
fn etcd_s_go_client_3_6() {
    etcd_go("3.6");
}

#[test]
fn etcd_s_go_client_3_7() {
    etcd_go("3.7");
}

/// 50 bodies each that no port takes, through the HTTP client of one language: every one has to read its answer.
fn refused(driver: Result<Driver, String>, name: &str) {
    need_binary!();
    let mut driver = match driver {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test(&format!("clients: refusals to {name}"), &why, 1),
    };
    let server = Server::start();
    let rows = [
        ("consul", "/v1/kv/b", 600_000, "localhost", "413"),
        ("consul", "/v1/kv/b", 600_000, "evil.example.com", "403"),
        ("consul", "/v1/nothing", 600_000, "localhost", "404"),
        (
            "consul",
            "/v1/health/service/web",
            600_000,
            "localhost",
            "405",
        ),
        ("eureka", "/eureka/apps", 5_000_000, "localhost", "413"),
        ("native", "/v1/nothing", 5_000_000, "localhost", "413"),
        ("etcd", "/v3/nothing", 600_000, "localhost", "404"),
    ];
    for (protocol, path, size, host, status) in rows {
        let arguments = json!({
            "addr": server.address(protocol).to_string(),
            "path": path, "size": size, "host": host, "times": 50,
        });
        let statuses = driver
            .call("http.refused", arguments)
            .unwrap_or_else(|why| panic!("{protocol} {path}: {why}"));
        assert_eq!(statuses, json!({ status: 50 }), "{protocol} {path}");
    }
}

#[test]
fn refusals_reach_go() {
    refused(Driver::start("go"), "Go");
}

#[test]
fn refusals_reach_python() {
    refused(Driver::start("python"), "Python");
}

#[test]
fn refusals_reach_node() {
    refused(Driver::start("node"), "Node");
}

/// nginx in front, with what `proxy_pass http://NAME` makes of the Host header.
#[test]
fn nginx_proxies_by_the_name_of_its_upstream() {
    need_binary!();
    let nginx = match clients::program("nginx") {
        Ok(nginx) => nginx,
        Err(why) => return tally::skip_test("clients: nginx", &why, 1),
    };
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    // nginx cannot say which port it took: look for a free one, and for another should somebody be faster.
    let proxied = (0..5).find_map(|_| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap();
        drop(free);
        let text = format!(
            "daemon off; pid {at}/pid; error_log stderr; worker_processes 1; events {{}}\n\
             http {{\n\
             access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             upstream consul_backend {{ server {}; }}\n\
             server {{ listen {port}; location / {{ proxy_pass http://consul_backend; }} }}\n\
             }}\n",
            server.address("consul"),
        );
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, text).unwrap();
        let child = std::process::Command::new(&nginx)
            .arg("-c")
            .arg(&configuration)
            .arg("-p")
            .arg(folder.path())
            .spawn()
            .unwrap();
        let mut child = Ended(child);
        let up = eventually(Duration::from_secs(10), || {
            if let Ok(Some(status)) = child.0.try_wait() {
                return Ok(Err(format!("nginx ended: {status}")));
            }
            http::call(port, "GET", "/v1/status/leader", None).map(Ok)
        });
        match up {
            Ok(Ok(reply)) => Some((child, port, reply)),
            _ => None,
        }
    });
    let (_child, port, reply) = proxied.expect("nginx serves");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let put = http::call(port, "PUT", "/v1/kv/proxied", Some("value")).unwrap();
    assert_eq!((put.status, put.text().trim()), (200, "true"));
    let got = http::call(port, "GET", "/v1/kv/proxied?raw", None).unwrap();
    assert_eq!(got.text(), "value");
}

/// A process that ends with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // The quick way out, by which nginx takes its workers along.
        signal(self.0.id(), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}
