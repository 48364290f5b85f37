//! etcd's own client, jetcd and etcdctl with three endpoints, while leaders are killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{has_voters, leader, three};
use crate::harness::{Driver, Server, clients, eventually, same, tally};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);
const KILLS: usize = 5;

/// The addresses of all, as etcd's clients take them.
fn endpoints(servers: &[Server]) -> String {
    let all = servers.iter().map(|server| server.address("etcd"));
    let all: Vec<String> = all.map(|address| address.to_string()).collect();
    all.join(",")
}

/// Kills the leader, goes on with `meanwhile` for three seconds, starts it again; five times.
fn kill_leaders(servers: &mut [Server], mut meanwhile: impl FnMut()) {
    for _ in 0..KILLS {
        for server in servers.iter() {
            eventually(LIMIT, || has_voters(server, 3)).unwrap();
        }
        let at = leader(servers);
        servers[at].kill();
        let killed = Instant::now();
        while killed.elapsed() < Duration::from_secs(3) {
            meanwhile();
        }
        servers[at].start_again();
    }
}

/// Whether a failed write is one that may have happened: sent and not answered, which clients do not repeat, with etcd neither.
fn assert_unknown(why: &str) {
    let may = [
        "Unavailable",
        "UNAVAILABLE",
        "EOF",
        "timed out",
        "leader changed",
    ];
    assert!(
        may.iter().any(|part| why.contains(part)),
        "a put fails with {why}"
    );
}

/// Writes and reads for a while after each kill; then what a watch of the same client saw is compared with what was acknowledged.
#[test]
fn a_client_of_three_endpoints_misses_nothing() {
    need_binary!();
    let mut go = match Driver::start("go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("soak: endpoints", &why, 1),
    };
    let mut servers = three();
    let addr = endpoints(&servers);
    let mut call = |op: &str, mut arguments: Value| {
        arguments["addr"] = json!(addr);
        go.call(op, arguments)
    };
    let watch = call("etcd.watch", json!({ "Key": "k/", "Prefix": true })).unwrap();
    let mut acknowledged = BTreeMap::new();
    let (mut number, mut unknown, mut reads) = (0, 0, 0);
    kill_leaders(&mut servers, || {
        number += 1;
        let key = format!("k/{number}");
        match call("etcd.put", json!({ "Key": key, "Value": "v" })) {
            Ok(put) => {
                acknowledged.insert(put["revision"].as_u64().unwrap(), key.clone());
            }
            Err(why) => {
                assert_unknown(&why);
                unknown += 1;
            }
        }
        let found = call("etcd.range", json!({ "Key": key })).expect("no read fails");
        let known = acknowledged.values().next_back() == Some(&key);
        assert!(!known || found["count"] == 1, "{key}: {found}");
        reads += 1;
    });
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

/// The same for jetcd, which writes and reads by itself meanwhile and says what it saw.
#[test]
fn jetcd_misses_nothing() {
    need_binary!();
    let command = match clients::command("jetcd") {
        Ok(command) => command,
        Err(why) => return tally::skip_test("soak: endpoints, jetcd", &why, 1),
    };
    let mut servers = three();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .args(["endpoints", &endpoints(&servers)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    let all = std::thread::spawn(move || {
        let mut all = first;
        output.read_to_string(&mut all).unwrap();
        all
    });
    kill_leaders(&mut servers, || {
        std::thread::sleep(Duration::from_millis(100));
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let all = all.join().unwrap();
    let (mut puts, mut events, mut unknown) = (Vec::new(), Vec::new(), 0);
    for line in all.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("put"), Some(revision), Some(key)) => {
                puts.push((revision.parse::<u64>().unwrap(), key));
            }
            (Some("event"), Some(revision), Some(key)) => {
                events.push((revision.parse::<u64>().unwrap(), key));
            }
            (Some("unknown"), _, Some(why)) => {
                assert_unknown(why);
                unknown += 1;
            }
            (Some("end"), None, None) => {}
            _ => panic!("{line}"),
        }
    }
    println!(
        "{} puts acknowledged, {unknown} unknown, no read failed",
        puts.len()
    );
    assert!(
        events.is_sorted_by(|a, b| a.0 < b.0),
        "every event once, in order"
    );
    let extra = events.iter().filter(|event| !puts.contains(event)).count();
    assert!(extra <= unknown, "{extra} events of puts that were refused");
    for put in &puts {
        assert!(events.contains(put), "no event of {put:?}");
    }
}

/// The same for etcdctl: a process for each call, and one that watches.
#[test]
fn etcdctl_misses_nothing() {
    need_binary!();
    let program = match clients::program("etcdctl") {
        Ok(program) => program,
        Err(why) => return tally::skip_test("soak: endpoints, etcdctl", &why, 1),
    };
    let mut servers = three();
    let to = format!("--endpoints={}", endpoints(&servers));
    let mut watch = Command::new(&program)
        .args([&to, "watch", "--prefix", "c/", "--write-out=fields"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let saw = seen.clone();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(key) = line.strip_prefix("\"Key\" : ") {
                saw.lock().unwrap().push(key.trim_matches('"').to_owned());
            }
        }
    });
    // It watches from the moment in which it shows a first event.
    let begin = || {
        clients::run("etcdctl", &[&to, "put", "c/begin", "v"])?;
        match seen.lock().unwrap().is_empty() {
            true => Err("it does not watch yet".to_owned()),
            false => Ok(()),
        }
    };
    eventually(LIMIT, begin).unwrap();
    let (mut number, mut unknown, mut acknowledged) = (0, Vec::new(), Vec::new());
    kill_leaders(&mut servers, || {
        number += 1;
        let key = format!("c/{number}");
        match clients::run("etcdctl", &[&to, "put", &key, "v"]) {
            Ok(_) => acknowledged.push(key.clone()),
            Err(why) => {
                assert_unknown(&why);
                unknown.push(key.clone());
            }
        }
        let found = clients::run("etcdctl", &[&to, "get", &key]).expect("no read fails");
        let known = acknowledged.last() == Some(&key);
        assert!(!known || found.contains(&key), "{key}: {found}");
    });
    println!(
        "{} puts acknowledged, {} unknown, {number} reads, none failed",
        acknowledged.len(),
        unknown.len()
    );
    let numbered = || {
        let mut keys = seen.lock().unwrap().clone();
        keys.retain(|key| key != "c/begin" && !unknown.contains(key));
        same(&keys, &acknowledged)
    };
    eventually(LIMIT, numbered).expect("every event once, in order");
    watch.kill().unwrap();
    watch.wait().unwrap();
    reader.join().unwrap();
}
