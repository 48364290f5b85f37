//! Runs one seed, or several, with what the servers log when `RUST_LOG` says so: `cargo run -p portolan-sim --example seed -- 7 [COUNT [SERVERS [agents]]]`.

use std::process::ExitCode;

use portolan_sim::{Plan, run};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let first = numbers.next().and_then(Result::ok).unwrap_or(1);
    let count = numbers.next().and_then(Result::ok).unwrap_or(1);
    let servers = numbers.next().and_then(Result::ok);
    let agents = std::env::args().any(|argument| argument == "agents");
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
    let mut failed = 0;
    for seed in first..first + count {
        let plan = Plan::with_servers(seed, servers);
        let report = run(&match agents {
            true => plan.with_agents(),
            false => plan,
        });
        if count == 1 || !report.holds() {
            print!("{}", report.timeline());
        }
        println!("{report}");
        failed += u8::from(!report.holds());
    }
    ExitCode::from(failed.min(1))
}
