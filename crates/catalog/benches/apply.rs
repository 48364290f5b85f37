//! Microseconds per applied command, and bytes per row, at a given size of the catalog.
//!
//! `cargo bench -p portolan-catalog --bench apply [-- leased|heartbeat|agent|derived]`

// A bench reads the clock; the catalog does not.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use portolan_catalog::layout::{Form, LayoutState};
use portolan_catalog::*;

const ROWS: u32 = 100_000;
const BATCH: u32 = 100;

struct Bench {
    state: State,
    cause: Arc<Cause>,
    published: Vec<State>,
}

impl Bench {
    fn new() -> Bench {
        let state = State::default();
        Bench {
            state,
            cause: Arc::new(Cause::call(Protocol::Native, None)),
            published: Vec::new(),
        }
    }

    /// Applies commands in batches, keeping the last state as a reader would, and prints the time of each.
    fn run(&mut self, name: &str, commands: impl Iterator<Item = Command>) {
        let commands: Vec<Entry> = commands
            .map(|command| Entry {
                at: Timestamp(1),
                cause: self.cause.clone(),
                command,
            })
            .collect();
        let before = resident();
        let start = Instant::now();
        for chunk in commands.chunks(BATCH as usize) {
            for entry in chunk {
                black_box(self.state.apply(entry).settled.outcome.is_ok());
            }
            self.published = vec![self.state.clone()];
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / commands.len() as f64;
        let bytes = resident().saturating_sub(before) as f64 / commands.len() as f64;
        println!("{name:42} {each:7.2} us each  {bytes:7.0} bytes each");
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}

/// A number that visits all of 0..ROWS in an order without pattern.
fn scattered(i: u32) -> u32 {
    (i.wrapping_mul(2_654_435_761)) % ROWS
}

fn put(i: u32, lease: Option<LeaseId>) -> Command {
    let key = format!("bench/key/{:08}", scattered(i));
    let put = Put {
        lease,
        ..Put::new(
            Keyspace::Etcd,
            key.as_str().into(),
            Bytes::from(vec![b'x'; 64]),
        )
    };
    Command::Write(Write::one(Op::Put(Box::new(put))))
}

fn grant(i: u32) -> Command {
    Command::Grant {
        lease: LeaseId::Etcd(i64::from(i)),
        terms: Some(Terms::strict(60_000)),
        session: None,
    }
}

fn register(i: u32) -> Command {
    let service = format!("service-{}", i % 1000);
    let id = format!("{service}-{i}");
    let host = Host::Ip([10, (i >> 16) as u8, (i >> 8) as u8, i as u8].into());
    let key = InstanceKey::eureka(&service, &id);
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain(&service),
        Endpoint::new(host, 8080),
    );
    facts.meta = [("zone", "z1"), ("version", "1.2.3")].into_iter().collect();
    facts.lease = Some(LeaseId::Heartbeat(key));
    Command::Register(Box::new(Register {
        terms: Some(Terms::heartbeat(90_000)),
        ..Register::new(facts)
    }))
}

/// An instance of an agent with its TTL check, as Consul's clients register them.
fn agent(i: u32) -> Command {
    let node = NodeName::new("n1");
    let service = format!("service-{}", i % 1000);
    let id = format!("{service}-{i}");
    let key = InstanceKey::consul(&node, &id);
    let host = Host::Ip([10, (i >> 16) as u8, (i >> 8) as u8, i as u8].into());
    let mut facts = Registration::new(key, ServiceKey::plain(&service), Endpoint::new(host, 8080));
    facts.node = node;
    facts.meta = [("zone", "z1"), ("version", "1.2.3")].into_iter().collect();
    Command::Register(Box::new(Register::new(facts)))
}

/// A section by its name: bytes are right when it runs alone, since memory that another one freed is taken again.
fn section(name: &str) {
    let mut bench = Bench::new();
    match name {
        "leased" => {
            bench.run("grant", (0..ROWS).map(grant));
            bench.run(
                "put of a new key with its own lease",
                (0..ROWS).map(|i| put(i, Some(LeaseId::Etcd(i64::from(i))))),
            );
            bench.run(
                "put of a present key",
                (0..ROWS).map(|i| put(i.wrapping_mul(7), None)),
            );
        }
        "heartbeat" => {
            bench.run("register", (0..ROWS).map(register));
            bench.run("register the same facts", (0..ROWS).map(register));
        }
        "agent" => {
            let put_node = Command::PutNode {
                node: Arc::new(NodeFacts::new("n1", Host::new("10.0.0.1"))),
                terms: None,
                expect: None,
            };
            bench.run("node", [put_node].into_iter());
            bench.run("register on a node", (0..ROWS).map(agent));
        }
        "derived" => {
            let awake = LayoutState {
                mode: layout::Mode::Awake,
                ..LayoutState::asleep(Form::Kitex)
            };
            let set = Command::SetLayout {
                layout: "kitex".into(),
                state: Some(awake),
            };
            bench.run("awake", [set].into_iter());
            bench.run("register with a derived record", (0..ROWS).map(register));
        }
        _ => {}
    }
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let all = ["leased", "heartbeat", "agent", "derived"];
    let any = all.iter().any(|name| asked.iter().any(|a| a == name));
    for name in all {
        if !any || asked.iter().any(|a| a == name) {
            section(name);
        }
    }
}
