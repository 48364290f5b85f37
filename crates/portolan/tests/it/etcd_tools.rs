//! etcd's tools and the clients of its further services, unmodified: snapshots that become real etcds, locks, elections, Patroni.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Driver, RealEtcd, Server, clients, eventually, http, same, server::free_address, tally,
};
use crate::need_binary;

/// Runs etcdctl or etcdutl, which must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    clients::run(program, arguments).unwrap_or_else(|why| panic!("{why}"))
}

/// What a gateway says, without the header.
fn ask(address: std::net::SocketAddr, path: &str, body: &str) -> Value {
    let reply = http::call(address, "POST", &format!("/v3/{path}"), Some(body)).unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json().unwrap()
}

/// Everything that a restored etcd must have: keys with all their numbers, the revision, leases with their keys.
fn everything(address: std::net::SocketAddr) -> Value {
    let range = ask(address, "kv/range", r#"{"key":"AA==","range_end":"AA=="}"#);
    let mut leases = Vec::new();
    for id in ["4711", "-5"] {
        let body = json!({ "ID": id, "keys": true }).to_string();
        let lease = ask(address, "lease/timetolive", &body);
        let mut keys = lease["keys"].as_array().cloned().unwrap_or_default();
        keys.sort_by_key(ToString::to_string);
        leases.push(json!([lease["grantedTTL"], keys]));
    }
    json!({
        "kvs": range["kvs"],
        "count": range["count"],
        "revision": range["header"]["revision"],
        "leases": leases,
    })
}

#[test]
fn a_snapshot_becomes_a_real_etcd() {
    need_binary!();
    for program in ["etcdctl", "etcdutl", "etcd"] {
        if let Err(why) = clients::program(program) {
            return tally::skip_test("etcd_tools: snapshot", &why, 1);
        }
    }
    let server = Server::start();
    let address = server.address("etcd");
    for (id, ttl) in [("4711", "600"), ("-5", "60000")] {
        ask(
            address,
            "lease/grant",
            &json!({ "ID": id, "TTL": ttl }).to_string(),
        );
    }
    // Enough for branches in the file, values longer than a page, versions, deleted keys, and keys under leases.
    for number in 0..600_u32 {
        let key = format!("{:08x}", number.wrapping_mul(2_654_435_761));
        let value = "QUJD".repeat(if number % 97 == 0 {
            5000
        } else {
            number as usize % 50
        });
        let lease = if number % 5 == 0 { "4711" } else { "0" };
        let put = json!({ "key": key, "value": value, "lease": lease });
        ask(address, "kv/put", &put.to_string());
        if number % 7 == 0 {
            ask(address, "kv/put", &put.to_string());
        }
        if number % 11 == 0 {
            ask(
                address,
                "kv/deleterange",
                &json!({ "key": key }).to_string(),
            );
        }
    }
    let two = r#"{"success":[{"request_put":{"key":"Yg==","lease":"-5"}},{"request_put":{"key":"YQ=="}}]}"#;
    ask(address, "kv/txn", two);
    let expected = everything(address);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.db").display().to_string();
    let endpoints = format!("--endpoints={address}");
    run("etcdctl", &[&endpoints, "snapshot", "save", &file]);
    let status = run("etcdutl", &["snapshot", "status", &file, "-w", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        status["totalKey"].to_string(),
        text(&expected["count"]),
        "{status}"
    );
    let data = folder.path().join("data");
    let peer = format!("http://{}", free_address());
    let shown = data.display().to_string();
    let cluster = format!("peer={peer}");
    run(
        "etcdutl",
        &[
            "snapshot",
            "restore",
            &file,
            "--name",
            "peer",
            "--data-dir",
            &shown,
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            &peer,
        ],
    );
    let etcd = RealEtcd::on(&clients::program("etcd").unwrap(), &data, &peer).unwrap();
    etcd.ready().unwrap();
    same(&everything(etcd.address()), &expected).unwrap();
    // It goes on where this server was.
    let next = ask(etcd.address(), "kv/put", r#"{"key":"YQ=="}"#);
    let revision: i64 = text(&expected["revision"]).parse().unwrap();
    assert_eq!(
        next["header"]["revision"],
        json!((revision + 1).to_string())
    );
    // Two digests of one state are one; a change makes another; defragmenting makes none.
    let hash = || ask(address, "maintenance/hashkv", "{}")["hash"].clone();
    let before = hash();
    ask(address, "maintenance/defragment", "{}");
    assert_eq!(hash(), before);
    ask(address, "kv/put", r#"{"key":"YQ==","value":"YQ=="}"#);
    assert_ne!(hash(), before);
    let then = json!({ "revision": expected["revision"] }).to_string();
    assert_eq!(ask(address, "maintenance/hashkv", &then)["hash"], before);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn jetcd_s_lock_and_election_clients() {
    need_binary!();
    if let Err(why) = clients::program("jetcd") {
        return tally::skip_test("etcd_tools: jetcd", &why, 1);
    }
    let server = Server::start();
    let said = run("jetcd", &["locks", &server.address("etcd").to_string()]);
    assert_eq!(said.trim(), "lock election");
}

/// etcdctl's own recipes, and this server's Lock service in the same queue.
#[test]
fn etcdctl_s_lock_and_elect() {
    need_binary!();
    if let Err(why) = clients::program("etcdctl") {
        return tally::skip_test("etcd_tools: etcdctl lock", &why, 1);
    }
    let server = Server::start();
    let address = server.address("etcd");
    let endpoints = format!("--endpoints={address}");
    let said = run(
        "etcdctl",
        &[
            &endpoints,
            "lock",
            "jobs",
            "--",
            "sh",
            "-c",
            "echo $ETCD_LOCK_KEY",
        ],
    );
    assert!(said.starts_with("jobs/"), "{said}");
    let held = ask(address, "lock/lock", r#"{"name":"am9icw=="}"#);
    let mut waiting = Command::new(clients::program("etcdctl").unwrap())
        .args([&endpoints, "lock", "jobs", "echo", "mine"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Everything from `jobs/` to before `jobs0`.
    let queue = r#"{"key":"am9icy8=","range_end":"am9iczA=","count_only":true}"#;
    eventually(Duration::from_secs(30), || {
        same(&ask(address, "kv/range", queue)["count"], &json!("2"))
    })
    .unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    ask(
        address,
        "lock/unlock",
        &json!({ "key": held["key"] }).to_string(),
    );
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mine\n");
    let mut leader = Command::new(clients::program("etcdctl").unwrap())
        .args([&endpoints, "elect", "seat", "somebody"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let found = eventually(Duration::from_secs(30), || {
        let body = Some(r#"{"name":"c2VhdA=="}"#);
        http::call(address, "POST", "/v3/election/leader", body)?
            .json()
            .and_then(|leader| {
                let value = leader["kv"]["value"].clone();
                same(&value, &json!("c29tZWJvZHk="))
            })
    });
    leader.kill().unwrap();
    leader.wait().unwrap();
    found.unwrap();
}

/// Patroni's own client of the gateway, with everything that two members do from bootstrap to failover.
#[test]
fn patroni_s_etcd3_client() {
    need_binary!();
    let mut python = match Driver::start("python") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("etcd_tools: Patroni", &why, 1),
    };
    let server = Server::start();
    let addr = server.address("etcd").to_string();
    let said = python
        .call("patroni.etcd3", json!({ "addr": addr }))
        .unwrap();
    let expected = json!({
        "empty": true,
        "initialized": [true, false],
        "locked": [true, false],
        "updated": true,
        "seen": ["one", 42, ["one"]],
        "released": true,
        "woken": [true, true],
        "free": true,
        "taken": [true, "two"],
        "failover": "one",
        "deleted": true,
    });
    assert_eq!(said, expected);
}
