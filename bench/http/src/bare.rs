//! The other side of the comparison: a hyper server that sends one recorded reply to every request and does nothing else.
//!
//! It runs as a process of its own, this same program with the argument `bare` and a file that holds the reply.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::client::Reply;
use crate::server::Server;

/// Starts the process for a recorded reply.
pub fn start(raw: &[u8], folder: &Path) -> Result<Server> {
    let file = folder.join("reply");
    fs::write(&file, raw).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare").arg(&file);
    Server::start(command, &folder.join("bare.log"))
}

/// What that process does, until it is killed.
pub fn serve(file: &Path) -> Result<()> {
    let raw = fs::read(file)?;
    let reply = Reply::parse(&raw)?.context("a reply was cut short")?;
    let mut fields = HeaderMap::new();
    for (name, value) in reply
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
    {
        let name: HeaderName = name.parse()?;
        // hyper writes these itself.
        if !["date", "content-length", "connection"].contains(&name.as_str()) {
            fields.append(name, HeaderValue::from_str(value.trim())?);
        }
    }
    let body = Bytes::copy_from_slice(reply.body);
    // As many threads as Portolan takes: one per core and at least two.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?
        .block_on(accept(fields, body))
}

async fn accept(fields: HeaderMap, body: Bytes) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening bare {}", listener.local_addr()?);
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (fields, body) = (fields.clone(), body.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                *response.headers_mut() = fields.clone();
                async { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
