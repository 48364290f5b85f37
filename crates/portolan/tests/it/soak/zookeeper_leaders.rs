//! ZooKeeper's clients with three servers, while leaders are killed: sessions, watches, ephemerals, and what Curator builds of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{has_voters, leader, three};
use crate::harness::{Driver, Server, eventually, same, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(60);
const KILLS: usize = 8;

/// The addresses of all, as ZooKeeper's clients take them.
fn hosts(servers: &[Server]) -> String {
    let all = servers.iter().map(|server| server.address("zookeeper"));
    let all: Vec<String> = all.map(|address| address.to_string()).collect();
    all.join(",")
}

/// Exactly one of the two latches leads.
fn one_leads(curator: &mut Driver, addr: &str) -> Result<(), String> {
    let mut leads =
        |client: &str| curator.call("curator.leads", json!({ "addr": addr, "client": client }));
    match (leads("a")? == json!(true), leads("b")? == json!(true)) {
        (true, false) | (false, true) => Ok(()),
        both => Err(format!("{both:?}")),
    }
}

#[test]
fn sessions_outlive_leaders() {
    need_binary!();
    let started = Driver::start("python")
        .and_then(|python| Ok((python, Driver::start("python")?, Driver::start("curator")?)));
    let (mut python, mut dying, mut curator) = match started {
        Ok(all) => all,
        Err(why) => return tally::skip_test("soak: ZooKeeper's leaders", &why, 1),
    };
    let mut servers = three();
    let addr = hosts(&servers);
    let with = |path: &str| json!({ "addr": addr, "path": path });
    python.call("kazoo.watch", with("/w")).unwrap();
    let own = json!({ "addr": addr, "path": "/w/here", "ephemeral": true });
    python.call("kazoo.create", own).unwrap();
    let session = python
        .call("kazoo.session", json!({ "addr": addr }))
        .unwrap();
    let other = json!({ "addr": addr, "path": "/w/dying", "ephemeral": true });
    dying.call("kazoo.create", other).unwrap();
    for client in ["a", "b"] {
        let latch = json!({ "addr": addr, "client": client, "path": "/latch" });
        curator.call("curator.latch", latch).unwrap();
    }
    eventually(SOON, || one_leads(&mut curator, &addr)).unwrap();
    let lock = |client: &str, wait: u64, keep: bool| json!({ "addr": addr, "client": client, "path": "/lock", "wait_ms": wait, "keep": keep });
    let held = curator.call("curator.lock", lock("a", 10_000, true));
    assert_eq!(held, Ok(json!(true)));
    let mut slowest = Duration::ZERO;
    for round in 0..KILLS {
        for server in &servers {
            eventually(SOON, || has_voters(server, 3)).unwrap();
        }
        let at = leader(&mut servers);
        servers[at].kill();
        let killed = Instant::now();
        let data = format!("{round}");
        let set = json!({ "addr": addr, "path": "/w", "data": data });
        eventually(SOON, || python.call("kazoo.set", set.clone())).unwrap();
        slowest = slowest.max(killed.elapsed());
        eventually(SOON, || {
            let told = python.call("kazoo.told", with("/w"))?;
            let last = |of: &str| told[of].as_array().and_then(|all| all.last().cloned());
            same(&last("data"), &Some(json!(data)))?;
            // Every value was told once and in its order; one whose answer was lost may have been written twice.
            let mut seen: Vec<&Value> = told["data"].as_array().into_iter().flatten().collect();
            seen.dedup();
            same(&seen.len(), &(round + 2))
        })
        .unwrap();
        let now = python.call("kazoo.session", json!({ "addr": addr }));
        assert_eq!(now.as_ref(), Ok(&session), "the same session");
        assert_eq!(
            python.call("kazoo.exists", with("/w/here")),
            Ok(json!(true))
        );
        if round < KILLS - 2 {
            assert_eq!(
                dying.call("kazoo.exists", with("/w/dying")),
                Ok(json!(true))
            );
        }
        eventually(SOON, || one_leads(&mut curator, &addr)).unwrap();
        // The lock is held through it all.
        let taken = eventually(SOON, || curator.call("curator.lock", lock("b", 500, false)));
        assert_eq!(taken, Ok(json!(false)), "the lock of a session that lives");
        if round == KILLS - 3 {
            // From here on nobody keeps that session.
            dying = Driver::start("python").unwrap();
        }
        servers[at].start_again();
    }
    eventually(SOON, || {
        let here = python.call("kazoo.children", with("/w"))?;
        same(&here, &json!(["here"]))
    })
    .unwrap();
    drop(dying);
    println!(
        "{KILLS} leaders killed: one session, each change told, the lock held; the slowest write {slowest:?} after a kill"
    );
}
