//! What a front end accepts, a restart reads: thousands of generated requests of each protocol through its own port onto a node, which
//! is killed and started again with the state it had.
//!
//! A run prints its seed; `PORTOLAN_REPLAY_SEED` runs one again, `PORTOLAN_REPLAY_REQUESTS` changes how many there are.

mod consul;
mod dice;
mod etcd;
mod eureka;
mod native;
mod own_service;

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::Protocol;

use crate::corpus::targets::replay::{Call, Node};
use dice::Dice;

/// Requests of one protocol.
const REQUESTS: usize = 10_000;
/// Requests of one node: its log is short enough that a restart takes a moment.
const OF_A_NODE: usize = 1_000;
/// Requests under way at a time.
const AT_ONCE: usize = 16;

/// What is known of a running node, for requests that name things which are there.
#[derive(Debug, Default)]
struct Known {
    sessions: Vec<String>,
    queries: Vec<String>,
    /// Instances with a lease, as the native protocol names them.
    leased: Vec<String>,
    revision: u64,
}

/// A request, and what it is to be counted as.
struct Asked {
    as_what: &'static str,
    call: Call,
}

fn number(variable: &str, default: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Sends generated requests and kills and replays the node again and again. Every kind of request must have been accepted sometimes.
fn replayed(protocol: Protocol, generate: fn(&mut Dice, &Known) -> Asked) {
    let seed = number("PORTOLAN_REPLAY_SEED", 1) as u64;
    let requests = number("PORTOLAN_REPLAY_REQUESTS", REQUESTS);
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    // By kind: sent and accepted.
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut sent = 0;
        while sent < requests {
            // Every other node writes snapshots as it goes, so that both ways back are taken.
            let snapshot_bytes = if (sent / OF_A_NODE).is_multiple_of(2) {
                u64::MAX
            } else {
                128 << 10
            };
            let node = Arc::new(Node::start(snapshot_bytes).await);
            let until = requests.min(sent + OF_A_NODE);
            while sent < until {
                let known = known(&node);
                let mut under_way = tokio::task::JoinSet::new();
                for _ in 0..AT_ONCE.min(until - sent) {
                    let Asked { as_what, call } = generate(&mut dice, &known);
                    let node = node.clone();
                    under_way.spawn(async move { (as_what, node.send(protocol, &call).await) });
                    sent += 1;
                }
                for (as_what, answer) in under_way.join_all().await {
                    let count = counts.entry(as_what).or_default();
                    count.0 += 1;
                    if let Some(answer) = answer {
                        assert!(
                            protocol == Protocol::Etcd || answer.status < 600,
                            "{answer:?}"
                        );
                        count.1 += usize::from(answer.accepted);
                    }
                }
            }
            node.replayed().await;
            Arc::into_inner(node)
                .expect("nobody else holds it")
                .stop()
                .await;
        }
    });
    for (what, (sent, accepted)) in &counts {
        println!("{what}: {accepted} of {sent} accepted");
    }
    let total: usize = counts.values().map(|(sent, _)| sent).sum();
    let accepted: usize = counts.values().map(|(_, accepted)| accepted).sum();
    println!("{accepted} of {total} accepted");
    assert_eq!(total, requests);
    if requests >= REQUESTS {
        let never: Vec<_> = counts
            .iter()
            .filter(|(_, (_, accepted))| *accepted == 0)
            .collect();
        assert!(never.is_empty(), "never accepted: {never:?}");
        assert!(accepted * 3 > total, "a third is accepted at least");
    }
}

fn known(node: &Node) -> Known {
    let state = node.registry().snapshot();
    Known {
        sessions: state
            .sessions()
            .map(|session| session.id.to_string())
            .collect(),
        queries: consul::queries(&state),
        leased: state
            .all_instances()
            .filter(|row| row.lease.is_some())
            .map(|row| row.key.to_string())
            .collect(),
        revision: state.revision().0,
    }
}

#[test]
fn what_consul_accepts_is_replayed() {
    replayed(Protocol::Consul, consul::request);
}

#[test]
fn what_etcd_accepts_is_replayed() {
    replayed(Protocol::Etcd, etcd::request);
}

#[test]
fn what_eureka_accepts_is_replayed() {
    replayed(Protocol::Eureka, eureka::request);
}

#[test]
fn what_the_native_protocol_accepts_is_replayed() {
    replayed(Protocol::Native, native::request);
}
