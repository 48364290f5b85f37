//! The binary beside a real etcd: one random history to both, every answer and every watch event the same.
//!
//! `PORTOLAN_TEST_SEED` and `PORTOLAN_TEST_OPERATIONS` choose another history; 20,000 operations of a fixed one by default.

#[allow(
    dead_code,
    unused_imports,
    reason = "the falsehoods that it must notice are told in the front end's own tests"
)]
#[path = "../../../protocol-etcd/tests/it/differential/mod.rs"]
mod differential;

/// The generator of random histories, for others too.
pub use differential::random::Random;
use differential::{Plan, run};

use crate::harness::{
    RealEtcd, Server, clients, etcd,
    tally::{Table, skip_test},
};
use crate::need_binary;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_binary_answers_like_etcd() {
    need_binary!();
    let binary = match clients::program("etcd") {
        Ok(binary) => binary,
        Err(reason) => return skip_test("etcd_differential", &reason, 1),
    };
    let plan = Plan {
        seed: number("PORTOLAN_TEST_SEED", 3),
        operations: number("PORTOLAN_TEST_OPERATIONS", 20_000) as usize,
        mutation: None,
    };
    let peer = RealEtcd::start(&binary).unwrap();
    let server = Server::start();
    let ours = format!("http://{}", server.address("etcd"));
    let outcome = etcd::runtime().block_on(async {
        differential::until_ready(&peer.url).await?;
        run(&peer.url, &ours, plan.clone()).await
    });
    let mut table = Table::new("etcd_differential");
    let said = outcome.map(|report| println!("seed {}: no difference in {report:?}", plan.seed));
    table.cell(
        &format!("seed {}, {} operations", plan.seed, plan.operations),
        "etcd 3.7",
        said,
    );
    table.finish();
}
