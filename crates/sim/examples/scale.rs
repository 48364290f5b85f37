//! What five servers have to do for 1,000,000 instances of 10,000 agents: `cargo xtask soak scale`, or
//! `cargo run --profile ci -p portolan-sim --example scale -- [AGENTS [INSTANCES [SECONDS [CHANGES]]]]`.

use std::process::ExitCode;
use std::time::Instant;

use portolan_sim::scale::{Handled, Size, scale};

fn tell(what: &str, handled: &[Handled], seconds: f64) {
    println!("{what}, {seconds:.1} virtual seconds:");
    println!("| server | entries | commands | channel | requests | bytes in | bytes out |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for one in handled {
        let leads = if one.leads { " (leads)" } else { "" };
        for (channel, traffic) in &one.traffic {
            println!(
                "| {}{leads} | {} | {} | {channel:?} | {} | {} | {} |",
                one.server,
                one.entries,
                one.commands,
                traffic.requests,
                traffic.bytes_in,
                traffic.bytes_out
            );
        }
    }
}

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let mut number = |otherwise| numbers.next().and_then(Result::ok).unwrap_or(otherwise);
    let size = Size {
        servers: 5,
        agents: number(10_000),
        instances: number(1_000_000),
        seconds: number(20),
        changes: number(5),
    };
    println!("{size:?}");
    let began = Instant::now();
    let scaled = scale(&size, |far| {
        eprintln!("{:>7.1} s  {far}", began.elapsed().as_secs_f64());
    });
    match scaled {
        Ok(scaled) => {
            let seconds = |ms: u64| ms as f64 / 1000.0;
            tell("registering", &scaled.loading, seconds(scaled.loading_ms));
            tell("steady", &scaled.steady, size.seconds as f64);
            println!(
                "{} instances at every server; {} renewals, {} of them not answered; {} entries reached agents; {:.0} s of real time",
                scaled.instances,
                scaled.renewals.0 + scaled.renewals.1,
                scaled.renewals.1,
                scaled.followed,
                began.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}
