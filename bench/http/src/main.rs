//! Portolan's Consul and Eureka ports: lookups beside a bare hyper server, the weight and the restart of many instances, and blocking queries.
//!
//! Lookups are measured in interleaved rounds against a server that sends the same bytes and does nothing else, so that a noisy neighbour
//! disturbs both alike; medians are shown. Processor time is the server's, user and system.
//!
//! Start reading at [`main`]; `load` measures lookups, `restart` memory and starts, `watch` blocking queries.

mod bare;
mod client;
mod fill;
mod load;
mod restart;
mod server;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

/// What can be chosen on the command line.
#[derive(Debug)]
pub struct Options {
    parts: Vec<String>,
    /// Measured rounds of each server.
    pub rounds: usize,
    /// Length of a round.
    pub seconds: u64,
    /// How many instances are weighed.
    pub instances: usize,
    /// Instances of each watched service.
    pub watch_instances: usize,
    /// The binary.
    pub portolan: PathBuf,
}

const PARTS: &str = "consul,eureka,restart,watch";

const USAGE: &str = "\
usage: portolan-bench-http [option value]...
  --parts consul,eureka,restart,watch
  --rounds 5              measurements of each server, interleaved
  --seconds 3             length of one measurement
  --instances 100000      instances that are weighed
  --watch-instances 10    instances of each watched service
  --portolan PATH         the binary (default: $PORTOLAN_BIN, else target/release/portolan)";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = if arguments.next_if_eq("bare").is_some() {
        arguments
            .next()
            .context("which file?")
            .and_then(|file| bare::serve(Path::new(&file)))
    } else {
        options(arguments).and_then(|options| measure(&options))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut options = Options {
        parts: PARTS.split(',').map(str::to_owned).collect(),
        rounds: 5,
        seconds: 3,
        instances: 100_000,
        watch_instances: 10,
        portolan: std::env::var_os("PORTOLAN_BIN")
            .map_or_else(|| target.join("release/portolan"), PathBuf::from),
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        let number = || -> Result<usize> {
            match value.parse() {
                Ok(0) | Err(_) => bail!("{name} {value:?}: not a number above 0\n{USAGE}"),
                Ok(number) => Ok(number),
            }
        };
        match name.as_str() {
            "--parts" => {
                options.parts = value.split(',').map(str::to_owned).collect();
                if let Some(odd) = options
                    .parts
                    .iter()
                    .find(|part| !PARTS.split(',').any(|known| known == *part))
                {
                    bail!("no part {odd:?}; there is: {PARTS}");
                }
            }
            "--rounds" => options.rounds = number()?,
            "--seconds" => options.seconds = number()? as u64,
            "--instances" => options.instances = number()?,
            "--watch-instances" => options.watch_instances = number()?,
            "--portolan" => options.portolan = value.into(),
            _ => bail!(USAGE),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    // Five thousand connections need as many files, here and in the server, which inherits the limit.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).context("cannot raise the limit of open files")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut table = Table::default();
    for part in &options.parts {
        runtime
            .block_on(async {
                match part.as_str() {
                    "consul" => load::consul(options, &mut table).await,
                    "eureka" => load::eureka(options, &mut table).await,
                    "restart" => restart::run(options, &mut table).await,
                    _ => watch::run(options, &mut table).await,
                }
            })
            .with_context(|| part.clone())?;
    }
    table.print();
    Ok(())
}

/// The figures, one row each.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 6]>);

impl Table {
    /// A comparison; the ratio is above 1 where Portolan is better and has a least value.
    pub fn row(&mut self, name: &str, own: String, bare: String, ratio: Option<(f64, f64)>) {
        let (ratio, goal, met) = match ratio {
            Some((ratio, least)) => (
                format!("{ratio:.2}x"),
                format!(">= {least}x"),
                met(ratio >= least),
            ),
            None => Default::default(),
        };
        self.0.push([name.to_owned(), own, bare, ratio, goal, met]);
    }

    /// A figure of Portolan alone, perhaps with a value it should not exceed.
    pub fn figure(&mut self, name: &str, own: f64, most: Option<f64>) {
        let own_text = if own.fract() == 0.0 || own >= 1000.0 {
            format!("{own:.0}")
        } else {
            format!("{own:.2}")
        };
        let (goal, met) = most.map_or_else(Default::default, |most| {
            (format!("<= {most}"), met(own <= most))
        });
        self.0.push([
            name.to_owned(),
            own_text,
            String::new(),
            String::new(),
            goal,
            met,
        ]);
    }

    fn print(&self) {
        let heads = ["", "portolan", "bare hyper", "ratio", "goal", ""].map(str::to_owned);
        println!();
        for [name, own, bare, ratio, goal, met] in std::iter::once(&heads).chain(&self.0) {
            let line = format!("{name:<52} {own:>10} {bare:>11} {ratio:>7} {goal:>9} {met}");
            println!("{}", line.trim_end());
        }
    }
}

fn met(is: bool) -> String {
    if is { "met" } else { "NOT MET" }.to_owned()
}
