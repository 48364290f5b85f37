//! Portolan and a real etcd under one load in one run.
//!
//! Each row is measured on one server and then on the other, `--rounds` times in turn, both with a data directory on the same disk and with
//! every write synced. What counts is the ratio, and the server's own CPU time per operation: rates swing with whatever else the machine
//! does. The load generator shares the machine with the server, and costs both the same.

mod lean;
mod load;
mod server;
mod wire;

use std::{collections::BTreeMap, env, path::PathBuf, time::Duration};

use load::Row;
use server::{Kind, Server};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What was asked for on the command line.
struct Options {
    seconds: Duration,
    rounds: usize,
    only: Vec<String>,
    portolan: PathBuf,
    etcd: Option<PathBuf>,
}

const USAGE: &str = "usage: portolan-bench-etcd [--seconds 10] [--rounds 3] [--only ROW,ROW] [--portolan BINARY] [--etcd BINARY|none]
rows: put-1 put-100 put-1000 range-serializable range-linearizable leases fan-out fan-out-streams fan-out-connections keep-alive
three-put-1 three-put-100 three-put-1000 three-range-serializable three-range-linearizable
go-put-1 go-put-100 go-put-1000 go-range-linearizable go-range-serializable go-keep-alive";

fn options() -> Result<Options> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut options = Options {
        seconds: Duration::from_secs(10),
        rounds: 3,
        only: Vec::new(),
        portolan: root.join("target/release/portolan"),
        etcd: None,
    };
    let mut arguments = env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match flag.as_str() {
            "--seconds" => options.seconds = Duration::from_secs_f64(value()?.parse()?),
            "--rounds" => options.rounds = value()?.parse()?,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--portolan" => options.portolan = value()?.into(),
            "--etcd" => options.etcd = Some(value()?.into()),
            _ => return Err(format!("unknown argument {flag:?}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let options = options()?;
    let etcd = match &options.etcd {
        Some(binary) => Some(binary.clone()).filter(|binary| binary.as_os_str() != "none"),
        None => server::build_etcd()?,
    };
    let mut kinds = vec![Kind::Portolan(options.portolan.clone())];
    match etcd {
        Some(binary) => kinds.insert(0, Kind::Etcd(binary)),
        None => println!("skipped: there is no etcd to compare with (no go, or --etcd none)"),
    }
    println!(
        "{:<20} {:>9} {:>12} {:>12} {:>12} {:>11}  ",
        "row", "server", "per second", "CPU us/op", "median ms", "RSS MiB"
    );
    let rows: Vec<_> = load::ROWS
        .iter()
        .filter(|row| options.only.is_empty() || options.only.iter().any(|name| name == row.name))
        .collect();
    if rows.iter().any(|row| row.name.starts_with("go-")) {
        server::build_go_load()?;
    }
    for row in rows {
        let mut rounds: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
        for _ in 0..options.rounds {
            for kind in &kinds {
                let server = Server::start(kind, row.members).await?;
                let measured = (row.run)(&server, options.seconds).await?;
                rounds.entry(kind.name()).or_default().push(measured);
                server.stop().await?;
            }
        }
        let middle: BTreeMap<&str, Row> = rounds
            .into_iter()
            .map(|(name, rounds)| (name, Row::middle(&rounds)))
            .collect();
        for kind in &kinds {
            let measured = &middle[kind.name()];
            println!(
                "{:<20} {:>9} {:>12.0} {:>12.1} {:>12.3} {:>11.1}",
                row.name,
                kind.name(),
                measured.per_second,
                measured.cpu_us,
                measured.median_ms,
                measured.rss_mib
            );
        }
        if let (Some(etcd), Some(ours)) = (middle.get("etcd"), middle.get("portolan")) {
            let ratio = |ours: f64, theirs: f64| {
                if theirs > 0.0 {
                    format!("{:.2}x", ours / theirs)
                } else {
                    "-".to_owned()
                }
            };
            println!(
                "{:<20} {:>9} {:>12} {:>12} {:>12} {:>11}  to reach: {}",
                "",
                "ratio",
                ratio(ours.per_second, etcd.per_second),
                ratio(ours.cpu_us, etcd.cpu_us),
                ratio(ours.median_ms, etcd.median_ms),
                ratio(ours.rss_mib, etcd.rss_mib),
                row.reach
            );
        }
    }
    Ok(())
}
