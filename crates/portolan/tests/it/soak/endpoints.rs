//! etcd's own client with three endpoints, while leaders are killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{has_voters, leader, three};
use crate::harness::{Driver, eventually, same, tally};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);
const KILLS: usize = 5;

/// Writes and reads for a while after each kill; then what a watch of the same client saw is compared with what was acknowledged.
#[test]
fn a_client_of_three_endpoints_misses_nothing() {
    need_binary!();
    let mut go = match Driver::start("go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("soak: endpoints", &why, 1),
    };
    let mut servers = three();
    let addresses: Vec<String> = servers
        .iter()
        .map(|server| server.address("etcd").to_string())
        .collect();
    let addr = addresses.join(",");
    let mut call = |op: &str, mut arguments: Value| {
        arguments["addr"] = json!(addr);
        go.call(op, arguments)
    };
    let watch = call("etcd.watch", json!({ "Key": "k/", "Prefix": true })).unwrap();
    let mut acknowledged = BTreeMap::new();
    let (mut number, mut unknown, mut reads) = (0, 0, 0);
    for _ in 0..KILLS {
        for server in &servers {
            eventually(LIMIT, || has_voters(server, 3)).unwrap();
        }
        let at = leader(&mut servers);
        servers[at].kill();
        let killed = Instant::now();
        while killed.elapsed() < Duration::from_secs(3) {
            number += 1;
            let key = format!("k/{number}");
            match call("etcd.put", json!({ "Key": key, "Value": "v" })) {
                Ok(put) => {
                    acknowledged.insert(put["revision"].as_u64().unwrap(), key.clone());
                }
                // Sent and not answered: the client does not repeat a write, with etcd neither.
                Err(why) => {
                    assert!(
                        why.contains("Unavailable") || why.contains("EOF"),
                        "a put fails with {why}"
                    );
                    unknown += 1;
                }
            }
            let found = call("etcd.range", json!({ "Key": key })).expect("no read fails");
            let known = acknowledged.values().next_back() == Some(&key);
            assert!(!known || found["count"] == 1, "{key}: {found}");
            reads += 1;
        }
        servers[at].start_again();
    }
    println!(
        "{} puts acknowledged, {unknown} unknown, {reads} reads, none failed",
        acknowledged.len()
    );
    let found = call("etcd.range", json!({ "Key": "k/", "Prefix": true })).unwrap();
    let there: BTreeMap<u64, String> = found["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["mod"].as_u64().unwrap(),
                record["key"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    for (revision, key) in &acknowledged {
        assert_eq!(there.get(revision), Some(key), "it was acknowledged");
    }
    let expected: Vec<(u64, String)> = there.into_iter().collect();
    eventually(LIMIT, || {
        let seen = call("etcd.events", json!({ "Watch": watch["watch"] }))?;
        let seen: Vec<(u64, String)> = seen["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| {
                (
                    event["mod"].as_u64().unwrap(),
                    event["key"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        same(&seen, &expected)
    })
    .expect("every event once, in order");
}
