//! `portolan prove`: seeds hold, and leave the same trace in this build and in the binary's.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use portolan_sim::{Plan, run};

use crate::harness::server;
use crate::need_binary;

/// Seeds of one change.
const SEEDS: u64 = 200;
/// They are run in parts, of which none is begun after this time: a slow machine runs fewer.
const TIME: Duration = Duration::from_secs(75);
const PART: u64 = 20;

fn prove(arguments: &[&str]) -> Output {
    let binary = server::binary().expect("PORTOLAN_BIN");
    let output = Command::new(binary).arg("prove").args(arguments).output();
    output.expect("the binary runs")
}

#[test]
fn seeds_hold() {
    need_binary!();
    let began = Instant::now();
    let (mut seed, part) = (1, PART.to_string());
    while seed <= SEEDS && (seed == 1 || began.elapsed() < TIME) {
        let output = prove(&[
            "--seed",
            &seed.to_string(),
            "--seeds",
            &part,
            "--jobs",
            "2",
            "--twice-of",
            "10",
        ]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            told.matches("all checkers pass").count() as u64 >= PART,
            "{told}"
        );
        seed += PART;
    }
    let took = began.elapsed().as_secs_f64();
    println!("{} seeds of {SEEDS} in {took:.1} s", seed - 1);
}

#[test]
fn a_seed_leaves_the_same_trace_in_every_build() {
    need_binary!();
    let output = prove(&["--seed", "3"]);
    let told = String::from_utf8_lossy(&output.stdout);
    let hash = run(&Plan::new(3)).outcome.hash;
    assert!(
        told.contains(&format!("trace {hash:016x}")),
        "here it is {hash:016x}: {told}"
    );
    assert!(
        told.contains("all faults end"),
        "the timeline is told: {told}"
    );
}

#[test]
fn a_cluster_of_five_and_a_server_alone_can_be_asked_for() {
    need_binary!();
    for servers in ["1", "5"] {
        let output = prove(&["--seed", "4", "--servers", servers]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        assert!(told.contains(&format!("{servers} servers")), "{told}");
    }
}
