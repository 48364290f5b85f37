//! A small HTTP/1.1 client: one keep-alive connection, one request at a time, the reply's bytes as they came.
//!
//! Small on purpose: the load shares the machine with the server, and what it does not spend the server can.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A reply; it lives until the next request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// Status line and fields.
    pub head: &'a str,
    /// The body, without any decoding.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Takes a reply apart; `None` if bytes are missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        let status: u16 = head
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| anyhow!("not a status line: {head:?}"))?;
        let reply = Self {
            status,
            head,
            body: &[],
        };
        let length: usize = match reply.field("content-length") {
            Some(text) => text.parse()?,
            None if status == 204 => 0,
            None => bail!("a reply without content-length: {head:?}"),
        };
        let start = end + 4;
        Ok(bytes
            .get(start..start + length)
            .map(|body| Self { body, ..reply }))
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends one request and reads the whole reply.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.send(request).await?;
        self.receive().await
    }

    /// Sends one request.
    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads one whole reply.
    pub async fn receive(&mut self) -> Result<Reply<'_>> {
        self.buffer.clear();
        let mut wanted = 1;
        loop {
            self.buffer.reserve(wanted.max(4096));
            while self.buffer.len() < wanted {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the server closed the connection");
                }
            }
            match Self::total(&self.buffer)? {
                Some(total) if self.buffer.len() >= total => break,
                // A long body is read without looking at its head again and again.
                Some(total) => wanted = total,
                None => wanted = self.buffer.len() + 1,
            }
        }
        Reply::parse(&self.buffer)?.context("a reply was cut short")
    }

    /// The length of head and body; `None` while the head is not complete.
    fn total(bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let reply = Reply {
            status: 0,
            head: std::str::from_utf8(&bytes[..end])?,
            body: &[],
        };
        let length: usize = reply.field("content-length").map_or(Ok(0), str::parse)?;
        Ok(Some(end + 4 + length))
    }

    /// Everything of the last reply, head and body.
    pub fn raw(&self) -> &[u8] {
        &self.buffer
    }
}

/// The bytes of a request; `fields` are whole lines, each with its line end.
pub fn request(method: &str, target: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = if method == "GET" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n{body}")
        .into_bytes()
}
