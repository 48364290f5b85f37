//! A small HTTP/1.1 client that hides nothing: one connection per call, bytes as they came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; an error names what came instead.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            format!(
                "status {}, not JSON ({error}): {}",
                self.status,
                self.text()
            )
        })
    }
}

/// A call with a body of JSON.
pub fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Reply, String> {
    let headers: &[(&str, &str)] = if body.is_some() {
        &[("Content-Type", "application/json")]
    } else {
        &[]
    };
    call_with(address, method, path, headers, body.map(str::as_bytes))
}

/// A call with headers; waits up to 30 seconds.
pub fn call_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Reply, String> {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    let answer = exchange(address, &bytes, Duration::from_secs(30))?;
    parse(&answer, method == "HEAD").ok_or_else(|| {
        format!(
            "{method} {path}: not an HTTP answer: {}",
            String::from_utf8_lossy(&answer)
        )
    })
}

/// GET, which must answer 200, as JSON.
pub fn get_json(address: SocketAddr, path: &str) -> Result<Value, String> {
    let reply = call_with(
        address,
        "GET",
        path,
        &[("Accept", "application/json")],
        None,
    )?;
    if reply.status != 200 {
        return Err(format!("GET {path}: {} {}", reply.status, reply.text()));
    }
    reply.json()
}

/// Sends bytes and reads until the other side closes or `limit` passes; what came until then is the answer.
pub fn exchange(address: SocketAddr, bytes: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|error| format!("cannot connect to {address}: {error}"))?;
    stream
        .set_read_timeout(Some(limit))
        .map_err(|error| error.to_string())?;
    stream
        .set_write_timeout(Some(limit))
        .map_err(|error| error.to_string())?;
    // A server may refuse before it has read everything: what it said is then still to be read.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent.map_err(|error| format!("cannot send: {error}"))?;
        read.map_err(|error| format!("no answer: {error}"))?;
    }
    Ok(answer)
}

fn parse(answer: &[u8], bodiless: bool) -> Option<Reply> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let rest = &answer[end + 4..];
    let chunked = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked")
    });
    let body = if bodiless {
        Vec::new()
    } else if chunked {
        unchunk(rest)?
    } else {
        rest.to_vec()
    };
    Some(Reply {
        status,
        headers,
        body,
    })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(
            std::str::from_utf8(&rest[..end])
                .ok()?
                .split(';')
                .next()?
                .trim(),
            16,
        )
        .ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
