//! What all tests here need: options, a few commands, comparing states.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{
    Batch, Bootstrap, Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, Key,
    Keyspace, LeaseId, NodeFacts, Op, Protocol, Put, Register, Registration, Revision, ServiceKey,
    Settled, State, Terms, Timestamp, Write,
};
use portolan_environment::Environment;
use portolan_registry::{Registry, Selector, Unavailable, WallClock};
use portolan_replica::space::SpaceOptions;
use portolan_replica::{Directory, Options, Replica, StartError};

pub(crate) fn bootstrap() -> Bootstrap {
    let node = NodeFacts::new("n1", Host::new("127.0.0.1"));
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, "n1/consul"),
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    service.node = node.name.clone();
    let check = CheckFacts::new(
        CheckKey::new(&node.name, "serfHealth"),
        "Serf Health Status",
    );
    Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: Vec::new(),
    }
}

/// A wall clock that moves a millisecond at each look.
pub(crate) fn wall() -> WallClock {
    let time = std::sync::atomic::AtomicU64::new(1_700_000_000_000);
    Arc::new(move || Timestamp(time.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
}

pub(crate) fn options(directory: Directory) -> Options {
    let mut options = Options::new(directory, "n1", bootstrap(), wall());
    options.space = SpaceOptions {
        segment_bytes: 64 << 10,
        first_segment_bytes: 32 << 10,
        reserve_bytes: 16 << 10,
        margin_bytes: 4 << 10,
    };
    options.fatal = Box::new(|error| eprintln!("fatal: {error}"));
    let mut number = 41;
    options.random = Box::new(move || {
        number += 1;
        number
    });
    options
}

pub(crate) async fn start(directory: Directory) -> Result<(Replica, Registry), StartError> {
    Replica::start(options(directory)).await
}

pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Command {
    let put = Put::new(Keyspace::Etcd, Key::from(key), value.into());
    Command::Write(Write::one(Op::Put(Box::new(put))))
}

pub(crate) fn register(name: &str, host: &str) -> Command {
    let key = InstanceKey::new(Protocol::Eureka, format!("{name}/{host}"));
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain(name),
        Endpoint::new(Host::new(host), 80),
    );
    facts.lease = Some(LeaseId::Heartbeat(key));
    Command::Register(Box::new(Register {
        terms: Some(Terms::heartbeat(90_000)),
        ..Register::new(facts)
    }))
}

pub(crate) async fn propose(registry: &Registry, command: Command) -> Result<Settled, Unavailable> {
    registry
        .propose(Cause::call(Protocol::Etcd, None), command)
        .await
}

pub(crate) fn value(state: &State, key: &str) -> Option<Bytes> {
    state
        .record(Keyspace::Etcd, key.as_bytes())
        .map(|record| record.bytes())
}

/// Equal in everything a reader can ask for, leases included.
pub(crate) fn assert_same(one: &State, other: &State) {
    assert_eq!(one.revision(), other.revision());
    assert_eq!(one.last_at(), other.last_at());
    assert!(one.same_rows(other), "rows differ");
    assert_eq!(one.marks(), other.marks());
    assert!(one.leases().eq(other.leases()), "leases differ");
}

/// The whole history, as a reader finds it in memory and in files.
pub(crate) fn batches(registry: &Registry) -> Vec<Arc<Batch>> {
    let history = registry.history();
    let (mut after, until) = (history.floor().max(Revision::FIRST), history.through());
    let mut found = Vec::new();
    while after < until {
        let piece = registry
            .batches(&[Selector::Everything], after, until, 100)
            .unwrap();
        found.extend(piece.batches);
        after = piece.through;
    }
    found
}

/// Waits for something that happens in another thread, at most ten seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within ten seconds");
}

/// Everything in one thread, so that log lines go to one place and time stands still while there is work.
#[derive(Debug)]
pub(crate) struct One;

impl Environment for One {
    fn fill(&self, bytes: &mut [u8]) {
        // Different each time, so that servers do not all want to lead at once.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for byte in bytes {
            *byte = (NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 56) as u8;
        }
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }
}
