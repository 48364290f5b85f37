//! A client that hides nothing: bytes in, bytes out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// The whole head.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<String> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    pub fn field(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// A field of the request as the endpoint saw it: it answers with the head that it got.
    pub fn seen(&self, name: &str) -> Vec<String> {
        let lines = self
            .body
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// Which endpoint answered, and the first line of what it was asked.
    pub fn first_line(&self) -> &str {
        self.body.lines().next().unwrap_or_default()
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub fn open(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            held: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.held.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }

    /// The bytes up to and with `end`; none when the connection ended before.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self
                .held
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Some(self.held.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.held.len() < count {
            if !self.more() {
                return None;
            }
        }
        Some(self.held.drain(..count).collect())
    }

    /// Whether the other side has closed the connection, with nothing more to say.
    pub fn is_closed(&mut self) -> bool {
        self.held.is_empty() && !self.more()
    }

    /// The next answer; `bodiless` for one to HEAD.
    pub fn answer(&mut self, bodiless: bool) -> Answer {
        let Some(head) = self.until(b"\r\n\r\n") else {
            return Answer::default();
        };
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or(0),
            head,
            body: String::new(),
        };
        if bodiless || answer.status < 200 || [204, 304].contains(&answer.status) {
            return answer;
        }
        let body = if answer.field("transfer-encoding").is_some() {
            self.chunks()
        } else if let Some(length) = answer.field("content-length") {
            self.exactly(length.parse().unwrap()).unwrap_or_default()
        } else {
            while self.more() {}
            std::mem::take(&mut self.held)
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer
    }

    /// A chunked body, with its trailers behind it as they are.
    fn chunks(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n") else {
                return whole;
            };
            let line = String::from_utf8(line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                while let Some(trailer) = self.until(b"\r\n") {
                    if trailer == b"\r\n" {
                        break;
                    }
                    whole.extend_from_slice(&trailer);
                }
                return whole;
            }
            whole.extend(self.exactly(size).unwrap_or_default());
            self.until(b"\r\n");
        }
    }
}

/// One request on a connection of its own.
pub fn once(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::open(address);
    wire.send(bytes);
    wire.answer(false)
}

/// `GET path` for a host.
pub fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    once(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    )
}
