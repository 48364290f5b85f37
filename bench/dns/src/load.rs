//! Driving one server with `dnsperf`, and the arithmetic.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::data::name;
use crate::server::Server;

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Answers in a second.
    pub per_second: f64,
    /// Processor time of the server for one answer, in microseconds.
    pub cpu_us: f64,
    /// Queries without an answer.
    pub lost: u64,
}

/// Writes the questions, each name once, in an order that is random and always the same.
pub fn write_queries(folder: &Path, names: usize) -> Result<PathBuf, String> {
    let mut order: Vec<usize> = (0..names).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..order.len()).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        order.swap(at, (seed % (at as u64 + 1)) as usize);
    }
    let mut text = String::new();
    for index in order {
        let _ = writeln!(text, "{}.service.consul A", name(index));
    }
    let path = folder.join("queries");
    fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// Asks one server for some seconds and takes its processor time.
pub fn drive(
    server: &Server,
    queries: &Path,
    clients: u32,
    seconds: u32,
) -> Result<Measured, String> {
    let before = server.cpu_us()?;
    let output = Command::new("dnsperf")
        .args(["-s", "127.0.0.1", "-p", &server.port.to_string(), "-d"])
        .arg(queries)
        .args([
            "-c",
            &clients.to_string(),
            "-T",
            "1",
            "-q",
            "200",
            "-t",
            "2",
        ])
        .args(["-l", &seconds.to_string()])
        .output()
        .map_err(|error| format!("cannot run dnsperf: {error}"))?;
    let spent = server.cpu_us()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |label: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .map(str::trim)
    };
    let first =
        |label: &str| -> Option<f64> { field(label)?.split_whitespace().next()?.parse().ok() };
    let (Some(answered), Some(per_second)) =
        (first("Queries completed:"), first("Queries per second:"))
    else {
        return Err(format!(
            "dnsperf said nothing of use about {}:\n{text}{}",
            server.kind.name(),
            String::from_utf8_lossy(&output.stderr)
        ));
    };
    let codes = field("Response codes:").unwrap_or_default();
    if !codes.starts_with("NOERROR") || codes.contains(',') {
        return Err(format!(
            "{} did not answer every name: {codes}",
            server.kind.name()
        ));
    }
    Ok(Measured {
        per_second,
        cpu_us: spent / answered,
        lost: first("Queries lost:").unwrap_or_default() as u64,
    })
}

/// The middle measurement by processor time.
pub fn median(rounds: &[Measured]) -> Measured {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
