//! What takes too long for every change: `cargo xtask soak NAME` runs one of these, `cargo xtask test` none.

mod dubbo;
mod endpoints;
mod etcd_auth;
mod etcdctl;
mod eureka_peers;
mod gateway;
mod kafka;
mod kazoo_suite;
mod leaders;
mod leases;
mod nacos;
mod patroni;
mod silence;
mod spring_nacos;
mod xds;
mod zookeeper_leaders;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Driver, Server, tally};
use crate::need_binary;

/// What Patroni, Vault and Nomad count on: alive at 1.9 TTL, gone by two TTLs and a second, and a renewal gives both TTLs again.
#[test]
fn sessions_live_for_two_ttls_after_their_last_renewal() {
    need_binary!();
    let mut python = match Driver::start("python") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("soak: session times", &why, 1),
    };
    let server = Server::start();
    let addr = server.address("consul").to_string();
    let mut call = |op: &str, mut arguments: serde_json::Value| {
        arguments["addr"] = json!(addr);
        python.call(op, arguments).unwrap()
    };
    let start = Instant::now();
    let leader = call(
        "consul.session",
        json!({ "name": "leader", "ttl": 10, "behavior": "delete" }),
    );
    let renewed = call("consul.session", json!({ "name": "renewed", "ttl": 10 }));
    let held = call(
        "consul.acquire",
        json!({ "key": "leader", "value": "a", "session": leader }),
    );
    assert_eq!(held, true);
    let until = |seconds: u64| {
        std::thread::sleep(
            (start + Duration::from_secs(seconds)).saturating_duration_since(Instant::now()),
        );
    };
    until(3);
    // What is printed stays the TTL.
    assert_eq!(
        call("consul.session_renew", json!({ "session": renewed })),
        "10s"
    );
    until(19);
    for session in [&leader, &renewed] {
        assert_eq!(
            call("consul.session_alive", json!({ "session": session })),
            true,
            "at 1.9 TTL"
        );
    }
    assert_eq!(call("consul.holder", json!({ "key": "leader" })), leader);
    until(21);
    assert_eq!(
        call("consul.session_alive", json!({ "session": leader })),
        false,
        "by 2 TTL and a second"
    );
    assert_eq!(
        call("consul.holder", json!({ "key": "leader" })),
        serde_json::Value::Null
    );
    until(22);
    assert_eq!(
        call("consul.session_alive", json!({ "session": renewed })),
        true,
        "1.9 TTL after its renewal"
    );
    until(24);
    assert_eq!(
        call("consul.session_alive", json!({ "session": renewed })),
        false
    );
}

/// As the short run that every change makes, over histories of 5,000 operations each, so that each begins anew.
#[test]
fn twenty_thousand_operations_are_answered_like_zookeeper() {
    crate::zookeeper_differential::compare("soak: ZooKeeper", 11..15, 5_000);
}

/// Three servers lose their leader fifty times while they are written to at every one.
#[test]
fn fifty_leaders_are_killed() {
    need_binary!();
    let resumed = crate::cluster::kill_leaders(50);
    let (p50, slowest) = (resumed[25], resumed[49]);
    println!("writes resumed after p50 {p50:?}, slowest {slowest:?}: {resumed:?}");
    assert!(p50 <= Duration::from_millis(500), "{resumed:?}");
    assert!(slowest <= Duration::from_secs(3), "{resumed:?}");
}
