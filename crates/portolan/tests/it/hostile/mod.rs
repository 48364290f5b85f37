//! Hostile input, protocol by protocol: the answer is the protocol's own error or a closed connection, the process stays up, and a
//! normal client beside it notices nothing.

mod bodies;
pub mod bystander;
mod names;
mod streams;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

use bystander::Bystander;

use crate::harness::{Server, http};

/// How long the server may keep a connection that never becomes a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a normal client beside it, and the verdict at the end: same process, no panic, no unhappy client.
#[derive(Debug)]
struct Siege {
    server: Server,
    bystander: Bystander,
    pid: u32,
}

impl Siege {
    fn begin() -> Siege {
        let server = Server::start();
        let bystander = Bystander::start(&server);
        Siege {
            pid: server.pid(),
            bystander,
            server,
        }
    }

    fn address(&self, protocol: &str) -> SocketAddr {
        self.server.address(protocol)
    }

    fn end(mut self) {
        let calls = self
            .bystander
            .stop()
            .unwrap_or_else(|why| panic!("the normal client: {why}"));
        assert!(calls > 0, "the normal client never got through a round");
        assert!(
            self.server.is_up(),
            "the process ended; it said:\n{}",
            self.server.said()
        );
        assert_eq!(self.server.pid(), self.pid, "another process");
        let metrics = http::call(self.address("native"), "GET", "/metrics", None)
            .expect("metrics")
            .text();
        for line in metrics
            .lines()
            .filter(|line| line.starts_with("portolan_panics_total"))
        {
            assert!(
                line.ends_with(" 0"),
                "{line}; the server said:\n{}",
                self.server.said()
            );
        }
    }
}

/// The status of an HTTP answer to raw bytes; `None` when the connection was closed without one.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

/// Sends raw bytes to an HTTP port: anything but a success or a hang will do.
fn refuses(address: SocketAddr, what: &str, bytes: &[u8]) {
    match http::exchange(address, bytes, PATIENCE) {
        Ok(answer) => {
            let status = status_of(&answer);
            assert!(
                status.is_none_or(|status| status >= 400),
                "{what} at {address} was answered {status:?}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        // Closed in our face is an answer too; silence is not.
        Err(why) => assert!(
            !why.contains("timed out") && !why.contains("temporarily unavailable"),
            "{what} at {address}: {why}"
        ),
    }
}
