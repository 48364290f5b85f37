//! `/apps` of many instances, gzip JSON, against a bare hyper server sending the same bytes, both over 50 connections:
//! `cargo run --profile ci -p portolan-protocol-eureka --example apps_throughput -- [instances] [seconds]`

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, Settings, bind_tcp};
use portolan_registry::{LocalOptions, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn Error + Send + Sync>;

const REQUEST: &str = "GET /eureka/apps HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\r\n";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let instances: usize = args.next().map_or(Ok(10_000), |a| a.parse())?;
    let seconds: u64 = args.next().map_or(Ok(3), |a| a.parse())?;
    let context = ServerContext::new(Settings::default());
    let registry = Registry::local(&LocalOptions::default());
    let port = bind_tcp(&context, Protocol::Eureka, "127.0.0.1:0".parse()?)?;
    let ours = port.address;
    portolan_protocol_eureka::serve(&context, port, registry, &Default::default());
    fill(ours, instances).await?;
    let body = Connection::open(ours).await?.get().await?;
    println!("{instances} instances, {} bytes packed", body.len());
    let bare = bare(Bytes::from(body)).await?;
    for _ in 0..3 {
        let theirs = run(bare, seconds).await?;
        let mine = run(ours, seconds).await?;
        let ratio = mine as f64 / theirs as f64;
        println!(
            "bare hyper {}/s, eureka {}/s, ratio {ratio:.2}",
            theirs / seconds,
            mine / seconds
        );
    }
    Ok(())
}

async fn fill(address: SocketAddr, instances: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(address).await?;
    for n in 0..instances {
        let (app, ip) = (
            n / 10,
            format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
        );
        let body = format!(
            r#"{{"instance":{{"instanceId":"h{n}:app-{app}:8080","hostName":"h{n}","app":"APP-{app}","ipAddr":"{ip}","vipAddress":"app-{app}","port":8080,"homePageUrl":"http://h{n}:8080/","dataCenterInfo":{{"name":"MyOwn"}},"metadata":{{"zone":"z{}"}}}}}}"#,
            n % 3
        );
        let request = format!(
            "POST /eureka/apps/APP-{app} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.exchange(&request).await?;
    }
    Ok(())
}

async fn bare(body: Bytes) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(move |_| {
                    let answer = http::Response::builder()
                        .header("content-type", "application/json")
                        .header("content-encoding", "gzip")
                        .body(Full::new(body.clone()));
                    std::future::ready(Ok::<_, Infallible>(answer.unwrap_or_default()))
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn run(address: SocketAddr, seconds: u64) -> Result<u64, Failure> {
    let count = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut connection = Connection::open(address).await?;
        let count = count.clone();
        clients.spawn(async move {
            while connection.get().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = count.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(count.load(Ordering::Relaxed) - before)
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; 256 << 10];
        Ok(Connection { stream, buffer })
    }

    async fn get(&mut self) -> Result<Vec<u8>, Failure> {
        self.exchange(REQUEST).await
    }

    async fn exchange(&mut self, request: &str) -> Result<Vec<u8>, Failure> {
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let mut total = usize::MAX;
        while answer.len() < total {
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Err("the server hung up".into());
            }
            answer.extend_from_slice(&self.buffer[..count]);
            if total == usize::MAX
                && let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
                let length = head
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|l| l.lines().next());
                total = end + 4 + length.map_or(Ok(0), str::parse)?;
                answer.drain(..end + 4);
                total -= end + 4;
            }
        }
        Ok(answer)
    }
}
