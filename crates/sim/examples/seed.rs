//! Runs one seed and prints what the servers log: `cargo run -p portolan-sim --example seed -- 7`.

use portolan_sim::{Plan, run};

fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let seed = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let plan = Plan {
        crash_leader: seed % 2 == 1,
        ..Plan::new(seed)
    };
    println!("{:?}", run(&plan));
}
