//! A seed, twice.

#![allow(clippy::unwrap_used)]

use portolan_sim::{Fault, Plan, Planned, Who, run};

/// In eight seconds of faults instead of thirty: this build is slow.
fn short(seed: u64) -> Plan {
    let mut plan = Plan::with_servers(seed, Some(3));
    plan.heal_ms /= 4;
    for planned in &mut plan.timeline {
        planned.at_ms /= 4;
    }
    plan
}

/// In one process, after other runs: what the process did before is not to be seen in a trace.
#[test]
fn a_seed_repeats_after_another() {
    let mut plan = short(2);
    // A server that ends drops what it was at, and others wait for it.
    plan.timeline = (0..3)
        .map(|round| Planned {
            at_ms: 2_000 + 1_500 * round,
            fault: Fault::Kill {
                who: Who::Leader,
                gone_ms: 800,
            },
        })
        .collect();
    (plan.heal_ms, plan.writers, plan.holders) = (6_500, 12, 0);
    let first = run(&plan).outcome.hash;
    let mut other = short(3);
    (other.timeline, other.heal_ms, other.holders) = (Vec::new(), 900, 0);
    let _between = run(&other);
    assert_eq!(run(&plan).outcome.hash, first);
}

/// Set for a process that only tells what a seed leaves.
const TELL: &str = "PORTOLAN_SIM_TELL";

/// In processes of their own, since a process has random keys and addresses.
#[test]
fn a_seed_repeats() {
    if std::env::var_os(TELL).is_some() {
        println!("trace {:016x}", run(&short(1)).outcome.hash);
        return;
    }
    let told = || {
        let own = std::env::current_exe().unwrap();
        let output = std::process::Command::new(own)
            .args(["--exact", "a_seed_repeats", "--nocapture"])
            .env(TELL, "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("trace "))
            .map(str::to_owned);
        line.unwrap_or_else(|| panic!("no trace: {text}"))
    };
    assert_eq!(told(), told());
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

/// A server that is cut off has not applied what was registered elsewhere: that there is nothing to remove is not its to say.
#[test]
fn a_removal_at_a_server_that_is_cut_off_is_not_said_to_be_done() {
    let mut plan = Plan::with_servers(130, Some(3));
    let cuts = (0..3).map(|round| Planned {
        at_ms: 2_000 + 3_500 * round,
        fault: Fault::Isolated {
            who: Who::Follower,
            clients: false,
            ms: 2_500,
        },
    });
    plan.timeline = cuts.collect();
    plan.heal_ms = 12_000;
    (plan.writers, plan.holders, plan.registrars, plan.loss) = (1, 1, 40, 0);
    let report = run(&plan);
    assert!(report.holds(), "{}{report}", report.timeline());
}

/// A server more joins, one is lost with its disk and comes back empty, leadership goes from one to another, and the newcomer leaves.
#[test]
fn members_change_and_nothing_is_lost() {
    let mut plan = Plan::with_servers(11, Some(3));
    let faults = [
        (1_500, Fault::Newcomer { ms: 7_000 }),
        (3_000, Fault::Transfer),
        (
            4_000,
            Fault::Replaced {
                who: Who::Follower,
                gone_ms: 500,
            },
        ),
    ];
    let planned = faults.map(|(at_ms, fault)| Planned { at_ms, fault });
    plan.timeline = planned.to_vec();
    plan.heal_ms = 9_000;
    (plan.holders, plan.loss) = (0, 0);
    let report = run(&plan);
    assert!(report.holds(), "{}{report}", report.timeline());
    let text = report.timeline();
    for words in ["leadership is handed over", "server 4 has left"] {
        assert!(text.contains(words), "{text}");
    }
}

/// A server that lost its disk and finds the new one full begins when there is space; one that has something goes on meanwhile.
#[test]
fn a_server_that_has_nothing_waits_for_space() {
    let mut plan = Plan::with_servers(12, Some(3));
    let (one, other) = (Who::Server(1), Who::Server(2));
    let faults = [
        (
            2_000,
            Fault::Replaced {
                who: one,
                gone_ms: 500,
            },
        ),
        (
            2_100,
            Fault::FullDisk {
                who: one,
                ms: 2_500,
            },
        ),
        (
            5_500,
            Fault::FullDisk {
                who: other,
                ms: 2_500,
            },
        ),
        (
            6_000,
            Fault::Kill {
                who: Who::Leader,
                gone_ms: 100,
            },
        ),
        (6_500, Fault::Restart { who: other }),
    ];
    let planned = faults.map(|(at_ms, fault)| Planned { at_ms, fault });
    plan.timeline = planned.to_vec();
    plan.heal_ms = 9_000;
    (plan.holders, plan.loss, plan.agents) = (0, 0, 0);
    let report = run(&plan);
    assert!(report.holds(), "{}{report}", report.timeline());
    assert!(report.timeline().contains("has no space to begin"));
}
