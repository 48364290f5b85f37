//! A server on a machine of a network.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::http;
use crate::harness::network::Network;

/// How long one call may take.
pub(super) const CALL: Duration = Duration::from_secs(3);

/// A process on a machine; ended when dropped.
pub(super) struct Machine {
    child: Child,
    pub(super) address: Ipv4Addr,
    log: PathBuf,
}

impl Machine {
    /// Starts a program on machine `at`; what it says goes into a file of `folder`.
    pub(super) fn start(
        network: &Network,
        at: usize,
        program: &Path,
        words: &[String],
        variables: &[(&str, &str)],
        folder: &Path,
    ) -> Machine {
        let log = folder.join(format!("machine-{at}.log"));
        let out = File::create(&log).unwrap();
        let child = network
            .command(at, program)
            .args(words)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Machine {
            child,
            address: network.address(at),
            log,
        }
    }

    pub(super) fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// The last lines it said.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// A call that takes at most [`CALL`]: status and body.
    pub(super) fn ask(
        &self,
        port: u16,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), String> {
        ask(self.port(port), method, path, body, CALL)
    }

    /// GET, which must answer 200, as JSON.
    pub(super) fn json(&self, port: u16, path: &str) -> Result<Value, String> {
        let (status, body) = self.ask(port, "GET", path, "")?;
        match status {
            200 => serde_json::from_str(&body).map_err(|error| error.to_string()),
            status => Err(format!("{path}: {status} {body}")),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A call that takes at most `limit`: status and body.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
    limit: Duration,
) -> Result<(u16, String), String> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let start = Instant::now();
    let answer = http::exchange(address, request.as_bytes(), limit)?;
    let text = String::from_utf8_lossy(&answer);
    let whole = text
        .split_once("\r\n\r\n")
        .and_then(|(head, body)| Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned())));
    whole.ok_or_else(|| format!("{path}: no answer in {:?}", start.elapsed()))
}
