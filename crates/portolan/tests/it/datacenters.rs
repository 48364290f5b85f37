//! Two datacenters as processes: each answers for the other from a copy, also while the other cannot be reached.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::start;
use crate::doctor::doctor;
use crate::harness::server::{Server, Start, free_address, signal};
use crate::harness::{eventually, http, same};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);

fn server(name: &str, datacenter: &str, cluster: SocketAddr, other: (&str, SocketAddr)) -> Start {
    start(name, cluster)
        .with("--datacenter")
        .with(datacenter)
        .with("--peer-datacenter")
        .with(format!("{}={}", other.0, other.1))
}

fn put(server: &Server, path: &str, body: &Value) {
    let body = body.to_string();
    let reply = http::call(server.address("consul"), "PUT", path, Some(&body)).unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
}

fn register(server: &Server, name: &str, address: &str) {
    let body = json!({"Name": name, "Address": address, "Port": 80});
    put(server, "/v1/agent/service/register", &body);
}

/// How many instances a server answers, how old it says that is, and whether it knows of a leader there.
fn asked(server: &Server, path: &str) -> Result<(usize, u64, bool), String> {
    let reply = http::call(server.address("consul"), "GET", path, None)?;
    if reply.status != 200 {
        return Err(format!("{path}: {} {}", reply.status, reply.text()));
    }
    let age = reply.header("x-consul-lastcontact").unwrap_or_default();
    Ok((
        reply.json()?.as_array().map_or(0, Vec::len),
        age.parse().map_err(|_| format!("{age:?} is no age"))?,
        reply.header("x-consul-knownleader") == Some("true"),
    ))
}

/// The code and the number of answers for the addresses of a name.
fn dns(server: &Server, name: &str) -> Result<(u8, u16), String> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let told = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(told)?;
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .map_err(told)?;
    socket
        .send_to(&query, server.address("dns"))
        .map_err(told)?;
    let mut answer = [0; 2048];
    match socket.recv(&mut answer).map_err(told)? {
        12.. => Ok((answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]))),
        _ => Err("a short answer".to_owned()),
    }
}

#[test]
fn a_datacenter_answers_for_another_with_the_age_of_what_it_knows_also_when_the_link_is_cut() {
    need_binary!();
    let (at_one, at_two) = (free_address(), free_address());
    let mut one = server("n1", "dc1", at_one, ("dc2", at_two)).go();
    let unknown = || http::call(one.address("consul"), "GET", "/v1/kv/k?dc=dc9", None);
    let unknown = unknown().unwrap();
    assert_eq!(
        (unknown.status, &*unknown.text()),
        (500, "No path to datacenter")
    );
    let early = http::call(one.address("consul"), "GET", "/v1/kv/k?dc=dc2", None).unwrap();
    assert_eq!(early.status, 500, "{}", early.text());
    let two = server("n2", "dc2", at_two, ("dc1", at_one)).go();
    register(&two, "web", "10.2.0.1");
    register(&one, "api", "10.1.0.1");
    let web = "/v1/health/service/web?dc=dc2";
    let current = |server: &Server, path: &str| {
        let (found, age, leader) = asked(server, path)?;
        same(&(found, leader), &(1, true))?;
        (age <= 3000)
            .then_some(())
            .ok_or_else(|| format!("{age} ms old"))
    };
    eventually(LIMIT, || current(&one, web)).unwrap();
    eventually(LIMIT, || current(&two, "/v1/catalog/service/api?dc=DC1")).unwrap();
    assert_eq!(
        asked(&one, "/v1/catalog/service/web").unwrap().0,
        0,
        "not ours"
    );
    for (server, names) in [(&one, ["dc1", "dc2"]), (&two, ["dc2", "dc1"])] {
        let listed = http::get_json(server.address("consul"), "/v1/catalog/datacenters");
        assert_eq!(listed.unwrap(), json!(names));
    }
    let members = http::get_json(one.address("consul"), "/v1/agent/members?wan=1").unwrap();
    let names: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["Name"])
        .collect();
    assert_eq!(names, ["n1.dc1", "n2.dc2"]);

    for name in [
        "web.service.dc2.consul",
        "web.service.dc2.dc.consul",
        "n2.node.dc2.consul",
    ] {
        assert_eq!(dns(&one, name).unwrap(), (0, 1), "{name}");
    }
    for name in ["web.service.consul", "web.service.dc9.consul"] {
        assert_eq!(dns(&one, name).unwrap(), (3, 0), "{name}");
    }

    // What is written goes on to the leader there, and wakes who waits for it here.
    let before = http::call(one.address("consul"), "GET", "/v1/kv/k?dc=dc2", None).unwrap();
    let index = before.header("x-consul-index").unwrap().to_owned();
    std::thread::scope(|threads| {
        let path = format!("/v1/kv/k?dc=dc2&wait=20s&index={index}");
        let address = one.address("consul");
        let waiting = threads.spawn(move || http::get_json(address, &path));
        put(&one, "/v1/kv/k?dc=dc2", &json!("v"));
        let woken = waiting.join().unwrap().unwrap();
        assert_eq!(woken[0]["Key"], "k", "{woken}");
    });
    let there = http::get_json(two.address("consul"), "/v1/kv/k").unwrap();
    assert_eq!(there[0]["Key"], "k", "{there}");

    // A prepared query goes on elsewhere when nothing is found here.
    let query = json!({"Name": "web", "Service": {"Service": "web", "Failover": {"NearestN": 1, "Datacenters": ["dc9", "dc2"]}}});
    let made = http::call(
        one.address("consul"),
        "POST",
        "/v1/query",
        Some(&query.to_string()),
    );
    assert_eq!(made.unwrap().status, 200);
    let found = http::get_json(one.address("consul"), "/v1/query/web/execute").unwrap();
    assert_eq!(
        (&found["Datacenter"], &found["Failovers"]),
        (&json!("dc2"), &json!(1))
    );
    assert_eq!(found["Nodes"][0]["Node"]["Datacenter"], "dc2", "{found}");
    assert_eq!(dns(&one, "web.query.consul").unwrap(), (0, 1));

    // The link is cut: nothing comes from there any more.
    signal(two.pid(), Signal::STOP);
    eventually(LIMIT, || {
        let (found, age, leader) = asked(&one, web)?;
        same(&(found, leader), &(1, false))?;
        (age > 3000)
            .then_some(())
            .ok_or_else(|| format!("{age} ms old"))
    })
    .unwrap();
    assert_eq!(dns(&one, "web.service.dc2.consul").unwrap(), (0, 1));
    let refused = http::call(one.address("consul"), "PUT", "/v1/kv/k?dc=dc2", Some("w"));
    assert_eq!(refused.unwrap().status, 500);
    let strict = http::call(
        one.address("consul"),
        "GET",
        "/v1/kv/k?dc=dc2&consistent",
        None,
    );
    assert_eq!(strict.unwrap().status, 500);
    let metrics = http::call(one.address("native"), "GET", "/metrics", None).unwrap();
    let metrics = metrics.text();
    let line = metrics
        .lines()
        .find(|line| line.contains("datacenter_connected{"));
    assert!(
        line.is_some_and(|line| line.contains("dc2") && line.ends_with(" 0.0")),
        "{line:?}"
    );
    let (code, said, _) = doctor(&one, &[]);
    let cut = said.contains("datacenter dc2 was last heard of ");
    assert!(code == Some(1) && cut, "{code:?} {said}");
    // What is known is on the disk, too.
    one.kill();
    one.start_again();
    eventually(LIMIT, || same(&asked(&one, web)?.0, &1)).unwrap();

    signal(two.pid(), Signal::CONT);
    register(&two, "late", "10.2.0.2");
    let healed = Instant::now();
    eventually(LIMIT, || current(&one, "/v1/health/service/late?dc=dc2")).unwrap();
    let took = healed.elapsed();
    assert!(took <= Duration::from_secs(5), "{took:?}");
}
