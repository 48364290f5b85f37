//! Runs of the differential check.
//!
//! `PORTOLAN_DIFFERENTIAL_LEFT` and `_RIGHT` name two empty servers (`http://127.0.0.1:2379`), `_SEED` and `_OPERATIONS` the history. The
//! left one is believed: a real etcd, or any other server that claims to be one. Without a right one it is a server of our own in memory.

use super::{
    differential::{Kind, Mutation, Plan, run},
    support::Server,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_named_from_outside_answer_alike() {
    let Ok(left) = std::env::var("PORTOLAN_DIFFERENTIAL_LEFT") else {
        println!("skipped: PORTOLAN_DIFFERENTIAL_LEFT names no server to compare with");
        return;
    };
    let right = match std::env::var("PORTOLAN_DIFFERENTIAL_RIGHT") {
        Ok(right) => right,
        Err(_) => Server::start().await.url,
    };
    super::differential::until_ready(&left)
        .await
        .expect("a server to compare with");
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let plan = Plan {
        seed: number("PORTOLAN_DIFFERENTIAL_SEED", 1),
        operations: number("PORTOLAN_DIFFERENTIAL_OPERATIONS", 20_000) as usize,
        mutation: None,
    };
    match run(&left, &right, plan.clone()).await {
        Ok(report) => println!("seed {}: no difference in {report:?}", plan.seed),
        Err(difference) => panic!("{difference}"),
    }
}

/// Also says that a run is a function of its seed: two servers of the same kind cannot differ by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_answers_like_another_of_its_kind() {
    let (left, right) = (Server::start().await, Server::start().await);
    let report = run(
        &left.url,
        &right.url,
        Plan {
            seed: 7,
            operations: 1500,
            mutation: None,
        },
    )
    .await
    .expect("no difference");
    assert!(
        report.events > 100 && report.watchers > 20 && report.errors > 50 && report.compactions > 2,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_falsehood_is_noticed() {
    for (seed, kind) in (1..).zip(Kind::ALL) {
        let (left, right) = (Server::start().await, Server::start().await);
        let plan = Plan {
            seed,
            operations: 3000,
            mutation: Some(Mutation::new(kind, 2)),
        };
        let difference = run(&left.url, &right.url, plan).await;
        assert!(
            difference.is_err(),
            "{kind:?} was not noticed: {difference:?}"
        );
    }
}
