//! One name server after the other under `dnsperf`, in turns, with the same names: answers per second and processor time per answer.
//!
//! Portolan, Knot and NSD each run as a process of our own on a loopback port, with as many threads as the machine has cores, and are
//! asked for the A records of 1,000 and of 100,000 names in random order. The rounds are interleaved, so that a noisy neighbour
//! disturbs all alike; medians are shown. Processor time is the time of the server's processes (user and system), not of `dnsperf`.
//!
//! Start reading at [`main`]; `server` starts the servers, `load` drives one and counts.

mod data;
mod fill;
mod load;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use load::Measured;
use server::{Kind, Server};

/// What can be chosen on the command line.
#[derive(Debug)]
struct Options {
    names: Vec<usize>,
    rounds: usize,
    seconds: u32,
    clients: u32,
    threads: usize,
    servers: Vec<Kind>,
    portolan: PathBuf,
}

const USAGE: &str = "\
usage: portolan-bench-dns [option value]...
  --names 1000,100000       how many names; one measurement for each
  --rounds 3                measurements of each server, interleaved
  --seconds 5               length of one measurement
  --clients 16              sockets that dnsperf asks from
  --threads CORES           threads or processes of each server
  --servers portolan,knot,nsd
  --portolan PATH           the binary, or the example `names` of the crate (default: target/release/portolan)";

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut options = Options {
        names: vec![1_000, 100_000],
        rounds: 3,
        seconds: 5,
        clients: 16,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        servers: vec![Kind::Portolan, Kind::Knot, Kind::Nsd],
        portolan: target.join("release/portolan"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{name} {value:?}: not a number\n{USAGE}"))
        };
        match name.as_str() {
            "--names" => {
                let counts: Result<_, _> = value.split(',').map(str::parse).collect();
                options.names = counts.map_err(|_| format!("--names {value:?}: not numbers"))?;
            }
            "--rounds" => options.rounds = number()? as usize,
            "--seconds" => options.seconds = number()?,
            "--clients" => options.clients = number()?,
            "--threads" => options.threads = number()? as usize,
            "--servers" => {
                options.servers = value
                    .split(',')
                    .map(Kind::parse)
                    .collect::<Result<_, _>>()?
            }
            "--portolan" => options.portolan = value.into(),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    println!(
        "{} threads each, {} client sockets, {} rounds of {} s",
        options.threads, options.clients, options.rounds, options.seconds
    );
    println!(
        "{:>8}  {:<10} {:>12} {:>10} {:>10} {:>8}",
        "names", "server", "answers/s", "CPU us", "lost", "MiB"
    );
    for &names in &options.names {
        let folder = Folder::new(names)?;
        let queries = load::write_queries(&folder.0, names)?;
        let mut servers = Vec::new();
        for &kind in &options.servers {
            servers.push(Server::start(
                kind,
                &folder.0,
                names,
                options.threads,
                &options.portolan,
            )?);
        }
        let mut results: Vec<Vec<Measured>> = vec![Vec::new(); servers.len()];
        for round in 0..=options.rounds {
            for (server, results) in servers.iter().zip(&mut results) {
                // The first round warms up: pages are touched, answers prepared.
                let seconds = if round == 0 { 2 } else { options.seconds };
                let measured = load::drive(server, &queries, options.clients, seconds)?;
                if round > 0 {
                    results.push(measured);
                }
            }
        }
        let medians: Vec<Measured> = results.iter().map(|rounds| load::median(rounds)).collect();
        for (server, median) in servers.iter().zip(&medians) {
            println!(
                "{names:>8}  {:<10} {:>12.0} {:>10.2} {:>10} {:>8.0}",
                server.kind.name(),
                median.per_second,
                median.cpu_us,
                median.lost,
                server.resident_mib()
            );
        }
        if let Some(own) = servers
            .iter()
            .position(|server| server.kind == Kind::Portolan)
        {
            for (server, median) in servers
                .iter()
                .zip(&medians)
                .filter(|(server, _)| server.kind != Kind::Portolan)
            {
                let ratio = medians[own].cpu_us / median.cpu_us;
                println!(
                    "{names:>8}  CPU per answer: {ratio:.2} x {}",
                    server.kind.name()
                );
            }
        }
    }
    Ok(())
}

/// A folder for one run, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(names: usize) -> Result<Self, String> {
        let path =
            std::env::temp_dir().join(format!("portolan-bench-dns-{}-{names}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
