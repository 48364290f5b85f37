//! A seed, twice.

#![allow(clippy::unwrap_used)]

use portolan_sim::{Plan, run};

/// In eight seconds of faults instead of thirty: this build is slow.
fn short(seed: u64) -> Plan {
    let mut plan = Plan::with_servers(seed, Some(3));
    plan.heal_ms /= 4;
    for planned in &mut plan.timeline {
        planned.at_ms /= 4;
    }
    plan
}

#[test]
fn a_seed_repeats() {
    assert_eq!(run(&short(1)).outcome, run(&short(1)).outcome);
}

#[test]
fn a_seed_holds_and_another_goes_another_way() {
    let first = run(&short(1));
    println!("{}{first}", first.timeline());
    assert!(first.holds(), "{}{first}", first.timeline());
    assert!(first.outcome.acknowledged > 100, "{first}");
    let other = run(&short(2));
    assert!(other.holds(), "{}{other}", other.timeline());
    assert_ne!(first.outcome.hash, other.outcome.hash);
}
