//! Portolan's real binary: started with a fresh data directory and filled through Consul's HTTP API.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{address, name};

/// Registrations sent before their answers are read, and connections that send them.
const PIPELINED: usize = 50;
const CONNECTIONS: usize = 16;

/// The command that serves DNS on `port` and Consul's HTTP API on `api`.
pub fn serve(portolan: &Path, own: &Path, port: u16, api: u16, threads: usize) -> Command {
    let mut command = Command::new(portolan);
    command.arg("serve").arg("--data-dir").arg(own.join("data"));
    for listen in [
        format!("dns=127.0.0.1:{port}"),
        format!("consul=127.0.0.1:{api}"),
        "etcd=off".into(),
        "eureka=off".into(),
        "native=off".into(),
    ] {
        command.arg("--listen").arg(listen);
    }
    command.arg("--dns-workers").arg(threads.to_string());
    command
}

/// Waits until the HTTP port accepts connections.
pub fn wait(api: u16) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", api)).is_err() {
        if Instant::now() > deadline {
            return Err("portolan did not open its port within 30 s".to_owned());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Registers one instance for each name.
pub fn register(api: u16, names: usize) -> Result<(), String> {
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|first| thread::spawn(move || register_some(api, (first..names).step_by(CONNECTIONS))))
        .collect();
    workers
        .into_iter()
        .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
}

fn register_some(api: u16, names: impl Iterator<Item = usize>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("registering: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", api)).map_err(failed)?;
    let all: Vec<usize> = names.collect();
    for some in all.chunks(PIPELINED) {
        let mut requests = String::new();
        for &index in some {
            let (name, address) = (name(index), address(index));
            let body =
                format!(r#"{{"Name":"{name}","ID":"{name}","Address":"{address}","Port":8080}}"#);
            let length = body.len();
            let _ = write!(
                requests,
                "PUT /v1/agent/service/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
        stream.write_all(requests.as_bytes()).map_err(failed)?;
        let mut replies = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            let text = String::from_utf8_lossy(&replies);
            if let Some(wrong) = text
                .lines()
                .find(|line| line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.1 200"))
            {
                return Err(format!("registering: {wrong}"));
            }
            if text.matches("HTTP/1.1 200").count() == some.len() {
                break;
            }
            match stream.read(&mut buffer).map_err(failed)? {
                0 => return Err("registering: the connection was closed".to_owned()),
                count => replies.extend_from_slice(&buffer[..count]),
            }
        }
    }
    Ok(())
}
