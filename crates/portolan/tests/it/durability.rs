//! What was acknowledged is there after `kill -9`, as it was acknowledged, and no watch loses or repeats an event.
//!
//! Eight writers, four over etcd and four over Consul's keys, write while the server is killed again and again. Every acknowledgement
//! is written down with its value and revision; a call that failed may or may not have been done, so its value is remembered as
//! possible and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::etcd::{self, Etcd};
use crate::harness::{Server, http, same};
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_protocol_etcd::wire::mvccpb::event::EventType;

const KEYS: u64 = 16;
/// Acknowledgements wanted between two kills, so that every life of the server does some work.
const PER_LIFE: u64 = 64;

/// What one writer knows of its own keys. No other writer touches them.
#[derive(Debug, Default)]
struct Ledger {
    /// Every acknowledgement: revision, key, value. Consul's plain PUT tells no revision: 0.
    acknowledged: Vec<(u64, String, String)>,
    latest: BTreeMap<String, Latest>,
}

/// Of one key, the last acknowledged revision and value, and the values tried since whose outcome is unknown.
#[derive(Debug, Default)]
struct Latest {
    acknowledged: Option<(u64, String)>,
    unknown: Vec<String>,
}

impl Ledger {
    fn acknowledge(&mut self, revision: u64, key: &str, value: &str) {
        self.acknowledged
            .push((revision, key.to_owned(), value.to_owned()));
        let acknowledged = Some((revision, value.to_owned()));
        self.latest.insert(
            key.to_owned(),
            Latest {
                acknowledged,
                unknown: Vec::new(),
            },
        );
    }

    fn unknown(&mut self, key: &str, value: &str) {
        self.latest
            .entry(key.to_owned())
            .or_default()
            .unknown
            .push(value.to_owned());
    }
}

type Ledgers = Arc<Vec<Mutex<Ledger>>>;

#[derive(Debug, Clone)]
struct Run {
    ledgers: Ledgers,
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

async fn write_etcd(address: SocketAddr, writer: usize, run: Run) {
    let mut count = 0u64;
    while !run.over.load(Ordering::Relaxed) {
        let Ok(client) = Etcd::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !run.over.load(Ordering::Relaxed) {
            count += 1;
            let (key, value) = (
                format!("durable/{writer}/{}", count % KEYS),
                format!("{writer}-{count}"),
            );
            match client.put(&key, value.as_bytes()).await {
                Ok(revision) => {
                    run.ledgers[writer]
                        .lock()
                        .unwrap()
                        .acknowledge(revision as u64, &key, &value);
                    run.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => {
                    assert!(etcd::is_unknown(&status), "a put was refused: {status:?}");
                    run.ledgers[writer].lock().unwrap().unknown(&key, &value);
                    break;
                }
            }
        }
    }
}

/// Even writers use a transaction, which tells the revision; odd ones the plain PUT.
fn write_consul(address: SocketAddr, writer: usize, run: &Run) {
    let mut count = 0u64;
    while !run.over.load(Ordering::Relaxed) {
        count += 1;
        let (key, value) = (
            format!("durable/{writer}/{}", count % KEYS),
            format!("{writer}-{count}"),
        );
        let answer = if writer.is_multiple_of(2) {
            let body =
                json!([{ "KV": { "Verb": "set", "Key": key, "Value": base64(value.as_bytes()) } }])
                    .to_string();
            http::call(address, "PUT", "/v1/txn", Some(&body)).and_then(|reply| {
                same(&reply.status, &200).map_err(|why| format!("{why}: {}", reply.text()))?;
                reply.json()?["Results"][0]["KV"]["ModifyIndex"]
                    .as_u64()
                    .ok_or_else(|| format!("no ModifyIndex in {}", reply.text()))
            })
        } else {
            http::call(address, "PUT", &format!("/v1/kv/{key}"), Some(&value)).and_then(|reply| {
                if reply.text().trim() == "true" {
                    Ok(0)
                } else {
                    Err(format!("{} {}", reply.status, reply.text()))
                }
            })
        };
        match answer {
            Ok(revision) => {
                run.ledgers[writer]
                    .lock()
                    .unwrap()
                    .acknowledge(revision, &key, &value);
                run.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                run.ledgers[writer].lock().unwrap().unknown(&key, &value);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = u32::from_be_bytes([
            0,
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ]);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

type Seen = Vec<(i64, String, String)>;

/// Follows every key of the writers, taking the stream up again where it broke, until told that it is over.
async fn follow(address: SocketAddr, from: i64, seen: Arc<Mutex<Seen>>, over: Arc<AtomicBool>) {
    let mut next = from;
    while !over.load(Ordering::Relaxed) {
        let _: Result<(), String> = async {
            let client = Etcd::for_streams(address).await?;
            let create = pb::WatchCreateRequest {
                key: "durable/".into(),
                range_end: etcd::end_of("durable/"),
                start_revision: next,
                ..Default::default()
            };
            let request = pb::WatchRequest {
                request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
            };
            // The request side stays open for as long as the watch lives.
            let (keep, requests) = tokio::sync::mpsc::channel(1);
            keep.send(request)
                .await
                .map_err(|error| error.to_string())?;
            let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
            let mut stream = client
                .watch()
                .watch(requests)
                .await
                .map_err(|error| error.to_string())?
                .into_inner();
            while let Some(response) = stream.message().await.map_err(|error| error.to_string())? {
                assert!(
                    !response.canceled,
                    "the watch from {next} was cancelled: {response:?}"
                );
                let mut seen = seen.lock().unwrap();
                for event in response.events {
                    assert_eq!(event.r#type(), EventType::Put, "nobody deletes");
                    let kv = event.kv.expect("an event has a key");
                    next = next.max(kv.mod_revision + 1);
                    seen.push((kv.mod_revision, text(&kv.key), text(&kv.value)));
                }
            }
            Ok(())
        }
        .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    need_binary!();
    let kills: u32 = if std::env::var("PORTOLAN_SLOW").is_ok_and(|value| value == "1") {
        500
    } else {
        50
    };
    let mut server = Server::start();
    let (etcd_address, consul_address) = (server.address("etcd"), server.address("consul"));
    let run = Run {
        ledgers: Arc::new((0..8).map(|_| Mutex::default()).collect()),
        acknowledged: Arc::default(),
        over: Arc::default(),
    };
    let runtime = etcd::runtime();
    let followers_over = Arc::new(AtomicBool::new(false));
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let follower = runtime.spawn(follow(
        etcd_address,
        1,
        Arc::clone(&seen),
        Arc::clone(&followers_over),
    ));
    let etcd_writers: Vec<_> = (0..4)
        .map(|writer| runtime.spawn(write_etcd(etcd_address, writer, run.clone())))
        .collect();
    let consul_writers: Vec<_> = (4..8)
        .map(|writer| {
            let run = run.clone();
            std::thread::spawn(move || write_consul(consul_address, writer, &run))
        })
        .collect();

    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let wanted = run.acknowledged.load(Ordering::Relaxed) + PER_LIFE + u64::from(kill * 7 % 50);
        let deadline = Instant::now() + Duration::from_secs(120);
        while run.acknowledged.load(Ordering::Relaxed) < wanted {
            assert!(
                Instant::now() < deadline,
                "after kill {kill} the writers got too little acknowledged for 120 s"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(server.start_again());
    }
    run.over.store(true, Ordering::Relaxed);
    for writer in etcd_writers {
        runtime.block_on(writer).expect("a writer");
    }
    for writer in consul_writers {
        writer.join().expect("a writer");
    }

    let (revision, values) = runtime.block_on(async {
        let client = Etcd::connect(etcd_address).await.expect("a connection");
        client.prefix("durable/").await.expect("the keys")
    });
    let last = values.iter().map(|kv| kv.mod_revision).max().unwrap_or(0);
    // The whole history again from its beginning, as a fresh watcher is told it.
    let history: Arc<Mutex<Seen>> = Arc::default();
    let fresh_over = Arc::new(AtomicBool::new(false));
    let fresh = runtime.spawn(follow(
        etcd_address,
        1,
        Arc::clone(&history),
        Arc::clone(&fresh_over),
    ));
    for (who, events) in [
        ("the watcher that lived through it all", &seen),
        ("a fresh watcher", &history),
    ] {
        let deadline = Instant::now() + Duration::from_secs(120);
        while events
            .lock()
            .unwrap()
            .last()
            .is_none_or(|(revision, ..)| *revision < last)
        {
            assert!(
                Instant::now() < deadline,
                "{who} never saw revision {last}; its last is {:?}",
                events.lock().unwrap().last()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    followers_over.store(true, Ordering::Relaxed);
    fresh_over.store(true, Ordering::Relaxed);
    follower.abort();
    fresh.abort();
    let (seen, history) = (
        seen.lock().unwrap().clone(),
        history.lock().unwrap().clone(),
    );

    compare_watchers(&seen, &history);
    let by_revision: BTreeMap<i64, (String, String)> = history
        .iter()
        .map(|(revision, key, value)| (*revision, (key.clone(), value.clone())))
        .collect();
    assert_eq!(
        by_revision.len(),
        history.len(),
        "two events share a revision"
    );

    let mut used = BTreeSet::new();
    for (writer, ledger) in run.ledgers.iter().enumerate() {
        let ledger = ledger.lock().unwrap();
        assert!(
            !ledger.acknowledged.is_empty(),
            "writer {writer} got nothing acknowledged"
        );
        for (revision, key, value) in &ledger.acknowledged {
            if *revision != 0 {
                assert!(
                    used.insert(*revision),
                    "revision {revision} was given to two writes"
                );
            }
            if writer < 4 {
                assert_eq!(
                    by_revision.get(&(*revision as i64)),
                    Some(&(key.clone(), value.clone())),
                    "acknowledged at {revision}, not in the history so"
                );
            }
        }
        for (key, latest) in &ledger.latest {
            check_latest(writer, key, latest, &values, consul_address);
        }
    }
    println!(
        "{kills} kills, {} acknowledged, {} watch events, revision {revision}, slowest start {slowest:?}",
        run.acknowledged.load(Ordering::Relaxed),
        seen.len()
    );
}

fn compare_watchers(seen: &Seen, history: &Seen) {
    for (at, (ours, theirs)) in seen.iter().zip(history).enumerate() {
        assert_eq!(
            ours, theirs,
            "event {at} differs: the watcher that lived through the kills saw the first, history has the second"
        );
    }
    assert_eq!(
        seen.len(),
        history.len(),
        "the watcher that lived through the kills missed or repeated events at the end"
    );
}

fn check_latest(
    writer: usize,
    key: &str,
    latest: &Latest,
    values: &[portolan_protocol_etcd::wire::mvccpb::KeyValue],
    consul: SocketAddr,
) {
    let (acknowledged, unknown) = (latest.acknowledged.as_ref(), &latest.unknown);
    let (value, revision) = if writer < 4 {
        let found = values.iter().find(|kv| kv.key == key.as_bytes());
        (
            found.map(|kv| text(&kv.value)),
            found.map_or(0, |kv| kv.mod_revision as u64),
        )
    } else {
        let reply = http::call(consul, "GET", &format!("/v1/kv/{key}"), None).expect("a read");
        if reply.status == 404 {
            (None, 0)
        } else {
            let row = reply.json().expect("a row")[0].clone();
            let encoded = row["Value"].as_str().unwrap_or_default().to_owned();
            let known = acknowledged
                .map(|(_, value)| value)
                .into_iter()
                .chain(unknown)
                .find(|value| base64(value.as_bytes()) == encoded);
            (
                Some(known.cloned().unwrap_or(format!("base64 {encoded}"))),
                row["ModifyIndex"].as_u64().unwrap_or(0),
            )
        }
    };
    let possible = value.as_ref().is_some_and(|value| unknown.contains(value));
    match acknowledged {
        Some((_, expected)) if value.as_ref() == Some(expected) => {
            if let Some((at, _)) = acknowledged.filter(|(at, _)| *at != 0) {
                assert_eq!(
                    revision, *at,
                    "{key} has the acknowledged value at another revision"
                );
            }
        }
        None if value.is_none() => {}
        _ => assert!(
            possible,
            "{key} holds {value:?}; acknowledged was {acknowledged:?}, possible since then {unknown:?}"
        ),
    }
}

#[test]
fn a_restart_keeps_leases_and_what_hangs_on_them() {
    need_binary!();
    let mut server = Server::start();
    let runtime = etcd::runtime();
    let address = server.address("etcd");
    let lease = runtime.block_on(async {
        let client = Etcd::connect(address).await.unwrap();
        let granted = client
            .lease()
            .lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 0 })
            .await
            .unwrap()
            .into_inner();
        assert!(granted.id > 0, "a lease has a positive id");
        let put = pb::PutRequest {
            key: "leased".into(),
            value: "v".into(),
            lease: granted.id,
            ..Default::default()
        };
        client.kv().put(put).await.unwrap();
        granted.id
    });
    server.start_again();
    runtime.block_on(async {
        let client = Etcd::connect(address).await.unwrap();
        let left = client
            .lease()
            .lease_time_to_live(pb::LeaseTimeToLiveRequest {
                id: lease,
                keys: true,
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!((left.granted_ttl, left.keys.len()), (100, 1), "{left:?}");
        assert!(
            (95..=100).contains(&left.ttl),
            "a lease starts afresh after a restart: {left:?}"
        );
        client
            .lease()
            .lease_revoke(pb::LeaseRevokeRequest { id: lease })
            .await
            .unwrap();
        assert!(client.get("leased").await.unwrap().is_none());
    });
}

#[test]
fn the_revision_survives_a_restart_with_nothing_to_do() {
    need_binary!();
    let mut server = Server::start();
    let runtime = etcd::runtime();
    let address = server.address("etcd");
    let revision = |runtime: &tokio::runtime::Runtime| {
        runtime.block_on(async {
            Etcd::connect(address)
                .await
                .unwrap()
                .prefix("x")
                .await
                .unwrap()
                .0
        })
    };
    assert_eq!(revision(&runtime), 1, "an empty catalog is at 1");
    runtime.block_on(async {
        Etcd::connect(address)
            .await
            .unwrap()
            .put("x", b"1")
            .await
            .unwrap()
    });
    for _ in 0..3 {
        server.start_again();
        assert_eq!(revision(&runtime), 2, "a restart moved the revision");
    }
}
