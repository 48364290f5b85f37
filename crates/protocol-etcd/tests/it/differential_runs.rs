//! Runs of the differential check.
//!
//! `PORTOLAN_DIFFERENTIAL_LEFT` and `_RIGHT` name two empty servers (`http://127.0.0.1:2379`), `_SEED` and `_OPERATIONS` the history.
//! The left one is believed: a real etcd, or any other server that claims to be one.

use super::differential::{Mutation, Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_named_from_outside_answer_alike() {
    let (Ok(left), Ok(right)) = (std::env::var("PORTOLAN_DIFFERENTIAL_LEFT"), std::env::var("PORTOLAN_DIFFERENTIAL_RIGHT")) else {
        println!("skipped: PORTOLAN_DIFFERENTIAL_LEFT and PORTOLAN_DIFFERENTIAL_RIGHT name no servers");
        return;
    };
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let mutation = std::env::var("PORTOLAN_DIFFERENTIAL_MUTATION").ok().map(|name| {
        let kind = super::differential::Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name);
        Mutation::new(kind.unwrap_or_else(|| panic!("no mutation {name:?}")), 3)
    });
    let plan = Plan { seed: number("PORTOLAN_DIFFERENTIAL_SEED", 1), operations: number("PORTOLAN_DIFFERENTIAL_OPERATIONS", 20_000) as usize, mutation };
    match run(&left, &right, plan.clone()).await {
        Ok(report) => println!("seed {}: no difference in {report:?}", plan.seed),
        Err(difference) => panic!("{difference}"),
    }
}
