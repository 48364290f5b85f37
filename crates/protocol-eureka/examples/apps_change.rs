//! What one change costs those who read `/apps`: `cargo run --release -p portolan-protocol-eureka --example apps_change -- 10000 100000`

use std::error::Error;
use std::time::{Duration, Instant};

use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration, ServiceKey,
};
use portolan_listener::{ServerContext, Settings, bind_tcp};
use portolan_registry::{LocalOptions, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failure = Box<dyn Error + Send + Sync>;

async fn register(registry: &Registry, n: usize, port: u16) -> Result<(), Failure> {
    let host = format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
    let facts = Registration::new(
        InstanceKey::new(Protocol::Native, format!("i{n}-{port}")),
        ServiceKey::plain(&format!("app-{}", n / 10)),
        Endpoint::new(Host::new(&host), port),
    );
    let command = Command::Register(Box::new(Register::new(facts)));
    let settled = registry
        .propose(Cause::call(Protocol::Native, None), command)
        .await?;
    settled.outcome.map_err(|refusal| format!("{refusal:?}"))?;
    Ok(())
}

/// The time until the first byte of the answer, and until all of it.
async fn get(
    stream: &mut TcpStream,
    path: &str,
    gzip: bool,
) -> Result<(Duration, Duration, usize), Failure> {
    let packed = if gzip {
        "Accept-Encoding: gzip\r\n"
    } else {
        ""
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n{packed}\r\n"
    );
    let start = Instant::now();
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 1 << 20];
    let (mut head, mut received, mut total, mut first) = (Vec::new(), 0, usize::MAX, None);
    while received < total {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err("the server hung up".into());
        }
        first.get_or_insert_with(|| start.elapsed());
        received += count;
        if total == usize::MAX {
            head.extend_from_slice(&buffer[..count]);
            if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = std::str::from_utf8(&head[..end])?.to_ascii_lowercase();
                let length = text
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|l| l.lines().next());
                total = end + 4 + length.ok_or("no length")?.parse::<usize>()?;
            }
        }
    }
    Ok((first.unwrap_or_default(), start.elapsed(), received))
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) * 10.0
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    println!(
        "instances  path  gzip  first byte after a change (median ms)  CPU of it (ms)  whole answer (median ms)  bytes"
    );
    for count in std::env::args()
        .skip(1)
        .filter_map(|n| n.parse::<usize>().ok())
    {
        let context = ServerContext::new(Settings::default());
        let registry = Registry::local(&LocalOptions::default());
        let port = bind_tcp(&context, Protocol::Eureka, "127.0.0.1:0".parse()?)?;
        let address = port.address;
        portolan_protocol_eureka::serve(&context, port, registry.clone(), &Default::default());
        for n in 0..count {
            register(&registry, n, 80).await?;
        }
        for (path, gzip) in [("/eureka/apps", false), ("/eureka/apps", true)] {
            let mut stream = TcpStream::connect(address).await?;
            get(&mut stream, path, gzip).await?;
            let (mut firsts, mut wholes, mut bytes) = (Vec::new(), Vec::new(), 0);
            let before = cpu();
            for round in 0..20 {
                register(
                    &registry,
                    (round * 977) % count,
                    1000 + round as u16 + if gzip { 100 } else { 0 },
                )
                .await?;
                let (first, whole, received) = get(&mut stream, path, gzip).await?;
                firsts.push(first);
                wholes.push(whole);
                bytes = received;
            }
            let each = (cpu() - before) / 20.0;
            firsts.sort();
            wholes.sort();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "{count}  {path}  {gzip}  {:.2}  {each:.1}  {:.2}  {bytes}",
                ms(firsts[10]),
                ms(wholes[10])
            );
        }
    }
    Ok(())
}
