//! The binary beside a real ZooKeeper: one random history to both, every answer, every stat and every notification the same.
//!
//! `PORTOLAN_TEST_SEED` and `PORTOLAN_TEST_OPERATIONS` choose another history.

mod client;
mod generate;
mod peer;

use std::net::SocketAddr;

use client::{Side, said};
use generate::{Generator, Step};
use peer::RealZooKeeper;
use portolan_protocol_zookeeper::wire::Opcode;

use crate::harness::{
    Server, clients,
    tally::{Table, skip_test},
};
use crate::need_binary;

/// Sessions on each side.
const SESSIONS: usize = 3;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What was heard of one step, without what is told once here and several times there: that a node was set which the same transaction had
/// created or set before.
fn once(heard: &[String], step: &Step) -> Vec<String> {
    let mut told = std::collections::HashSet::new();
    let news = |line: &&String| {
        let words: Vec<&str> = line.split(' ').collect();
        let [
            "session",
            session,
            "is",
            "told",
            kind @ ("1" | "3"),
            path,
            ..,
        ] = words[..]
        else {
            return true;
        };
        told.insert((session.to_owned(), path.to_owned())) || kind == "1"
    };
    let mut news: Vec<String> = heard.iter().filter(news).cloned().collect();
    // Of several nodes that one transaction changes, whichever changed first is told first here.
    if matches!(step, Step::Ask(ask) if ask.opcode == Opcode::Multi) {
        news.sort_unstable();
    }
    news
}

/// Plays one history to both; how many steps were compared, or the first difference with what led to it.
fn play(ours: SocketAddr, peer: SocketAddr, seed: u64, operations: usize) -> Result<usize, String> {
    let mut sides = [
        Side::connect(peer, SESSIONS)?,
        Side::connect(ours, SESSIONS)?,
    ];
    let mut generator = Generator::new(seed);
    let mut history: Vec<String> = Vec::new();
    for index in 0..operations {
        let (session, step) = generator.next(SESSIONS);
        history.push(format!("{index} session {session}: {step:?}"));
        let mut heard = Vec::new();
        for side in &mut sides {
            let heard_here = match &step {
                Step::Ask(ask) => side.ask(session, ask, index as u64 + 1),
                Step::Reopen => side.reopen(session, index as u64 + 1),
                Step::Reconnect => side.reconnect(session),
            };
            heard.push(heard_here.map_err(|why| {
                let last = history.len().saturating_sub(25);
                format!("seed {seed}: {why}\n{}", history[last..].join("\n"))
            })?);
        }
        if once(&heard[0], &step) != once(&heard[1], &step) {
            let last = history.len().saturating_sub(25);
            return Err(format!(
                "seed {seed}, step {index}:\nZooKeeper said\n{}\nPortolan said\n{}\nafter\n{}",
                said(&heard[0]),
                said(&heard[1]),
                history[last..].join("\n")
            ));
        }
    }
    Ok(operations)
}

/// Compares histories of so many operations, and says so in a table.
pub fn compare(name: &str, seeds: std::ops::Range<u64>, operations: usize) {
    need_binary!();
    let command = match clients::command("zookeeper") {
        Ok(command) => command,
        Err(reason) => return skip_test(name, &reason, 1),
    };
    let mut table = Table::new("zookeeper_differential");
    for seed in seeds {
        // Both begin empty.
        let server = Server::start();
        let peer = RealZooKeeper::start(&command).unwrap();
        let outcome = play(server.address("zookeeper"), peer.address, seed, operations);
        let outcome = outcome.map(|steps| println!("seed {seed}: no difference in {steps} steps"));
        table.cell(
            &format!("seed {seed}, {operations} operations"),
            "ZooKeeper 3.9",
            outcome,
        );
    }
    table.finish();
}

#[test]
fn the_binary_answers_like_zookeeper() {
    let seed = number("PORTOLAN_TEST_SEED", 1);
    let operations = number("PORTOLAN_TEST_OPERATIONS", 2_000) as usize;
    compare("zookeeper_differential", seed..seed + 1, operations);
}
