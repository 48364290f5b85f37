//! An endpoint: it answers with the head that it got, or as the path says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::unique;

/// A server of one's own, in threads of this process.
#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    name: u32,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicU32,
    connections: AtomicU32,
    stopped: AtomicBool,
    /// Connections are taken and closed at once.
    mute: AtomicBool,
}

impl Backend {
    pub fn new() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<State> = Arc::default();
        let name = unique();
        let shared = state.clone();
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if shared.mute.load(Ordering::SeqCst) {
                    continue;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = shared.clone();
                std::thread::spawn(move || {
                    let _gone = serve(&stream, &state, name);
                });
            }
        });
        Backend {
            address,
            name,
            state,
            accepting: Some(accepting),
        }
    }

    pub fn id(&self, service: &str) -> String {
        format!("{service}-{}", self.name)
    }

    /// What its answers begin with.
    pub fn name(&self) -> String {
        format!("b{}", self.name)
    }

    pub fn requests(&self) -> u32 {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Takes connections and closes them at once, or serves again.
    pub fn set_mute(&self, mute: bool) {
        self.state.mute.store(mute, Ordering::SeqCst);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
    }
}

/// Reads requests and answers them until one side is done.
fn serve(stream: &TcpStream, state: &State, name: u32) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            let start = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if head[start..].trim_end().is_empty() {
                break;
            }
        }
        state.requests.fetch_add(1, Ordering::SeqCst);
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.trim().to_owned())
        };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut out = stream;
        let does = |word: &str| path.starts_with(word);
        if does("/early") {
            out.write_all(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfull")?;
            out.shutdown(std::net::Shutdown::Write)?;
            std::io::copy(&mut reader, &mut std::io::sink())?;
            return Ok(());
        }
        if does("/hangup") {
            return Ok(());
        }
        if does("/upgrade") {
            out.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
            )?;
            let mut chunk = [0; 4096];
            loop {
                match reader.read(&mut chunk)? {
                    0 => return Ok(()),
                    count => out.write_all(&chunk[..count])?,
                }
            }
        }
        let (body, trailers) = body(&mut reader, &field)?;
        if does("/slow") {
            std::thread::sleep(Duration::from_millis(1500));
        }
        if does("/pause") {
            std::thread::sleep(Duration::from_millis(300));
        }
        if does("/stream") {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")?;
            std::thread::sleep(Duration::from_millis(300));
            out.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n")?;
            continue;
        }
        if does("/trailers") {
            out.write_all(b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")?;
            continue;
        }
        if does("/garbage") {
            out.write_all(b"this is no HTTP\r\n\r\n")?;
            return Ok(());
        }
        if does("/cut") {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
            return Ok(());
        }
        if does("/hops") {
            out.write_all(b"HTTP/1.1 200 OK\r\nconnection: x-secret, keep-alive\r\nx-secret: 1\r\nkeep-alive: timeout=9\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        if does("/status/") {
            let status = path["/status/".len()..].split('/').next().unwrap_or("200");
            let length = if ["204", "304"].contains(&status) {
                ""
            } else {
                "content-length: 0\r\n"
            };
            write!(out, "HTTP/1.1 {status} As Asked\r\n{length}\r\n")?;
            continue;
        }
        let mut text = format!("b{name} {}\n", head.lines().next().unwrap_or(""));
        for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!("body: {body}\ntrailers: {trailers}\n"));
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            text.len()
        )?;
        if method != "HEAD" {
            out.write_all(text.as_bytes())?;
        }
    }
}

/// Reads a body, and says how long it is and what stands behind it.
fn body(
    reader: &mut BufReader<&TcpStream>,
    field: &dyn Fn(&str) -> Option<String>,
) -> std::io::Result<(u64, String)> {
    if field("transfer-encoding").is_none() {
        let length: u64 = field("content-length").map_or(0, |text| text.parse().unwrap_or(0));
        return Ok((
            std::io::copy(&mut reader.take(length), &mut std::io::sink())?,
            String::new(),
        ));
    }
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        if size > 0 {
            total += std::io::copy(&mut reader.take(size), &mut std::io::sink())?;
            reader.read_line(&mut line)?;
            continue;
        }
        let mut trailers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                return Ok((total, trailers.join(",")));
            }
            trailers.push(line.trim_end().to_owned());
        }
    }
}
