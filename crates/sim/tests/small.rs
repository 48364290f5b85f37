//! A few seeds, each twice.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use portolan_sim::{Plan, run};

#[test]
fn three_servers_keep_what_they_acknowledged_and_a_seed_repeats() {
    let mut hashes = BTreeSet::new();
    for seed in 1..=3 {
        let plan = Plan {
            crash_leader: seed % 2 == 1,
            ..Plan::new(seed)
        };
        let first = run(&plan).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let second = run(&plan).unwrap_or_else(|why| panic!("seed {seed}, again: {why}"));
        println!("seed {seed}: {first:?}");
        assert_eq!(first, second, "seed {seed}");
        assert!(first.acknowledged > 100, "seed {seed}: {first:?}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 3);
}
