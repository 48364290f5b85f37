//! Lookups: one request again and again over many keep-alive connections, Portolan and the bare server in turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{Connection, request};
use crate::server::{Folder, Server};
use crate::{Options, Table, bare, fill};

/// Connections that ask.
const CONNECTIONS: usize = 50;

/// The health lookup of a service of ten instances over Consul's HTTP API.
pub async fn consul(options: &Options, table: &mut Table) -> Result<()> {
    let folder = Folder::new("consul")?;
    let server = Server::portolan(&options.portolan, &folder.0)?;
    let address = server.port("consul")?;
    fill::send(address, 10, |index| fill::consul(0, index, None)).await?;
    let ask = request("GET", "/v1/health/service/s-0", "", "");
    compare(
        options,
        table,
        "consul health, 10 instances",
        (&server, address),
        ask,
        &folder,
    )
    .await
}

/// All applications over Eureka, as JSON with gzip.
pub async fn eureka(options: &Options, table: &mut Table) -> Result<()> {
    let folder = Folder::new("eureka")?;
    let server = Server::portolan(&options.portolan, &folder.0)?;
    let address = server.port("eureka")?;
    fill::send(address, 10_000, |index| {
        fill::eureka(index / 100, index % 100)
    })
    .await?;
    let fields = "Accept: application/json\r\nAccept-Encoding: gzip\r\n";
    let ask = request("GET", "/eureka/apps", fields, "");
    compare(
        options,
        table,
        "eureka apps, 10,000 instances",
        (&server, address),
        ask,
        &folder,
    )
    .await
}

/// What one round found.
#[derive(Clone, Copy, Debug)]
struct Measured {
    per_second: f64,
    cpu_us: f64,
}

async fn compare(
    options: &Options,
    table: &mut Table,
    name: &str,
    (portolan, address): (&Server, SocketAddr),
    ask: Vec<u8>,
    folder: &Folder,
) -> Result<()> {
    // Some views are made shortly after the last change; the reply that is recorded is a settled one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut connection = Connection::open(address).await?;
    let reply = connection.ask(&ask).await?;
    if reply.status != 200 {
        bail!("{name}: answered {}", reply.status);
    }
    let (length, encoding) = (reply.body.len(), reply.field("content-encoding"));
    println!(
        "{name}: a body of {length} bytes, {}",
        encoding.unwrap_or("not compressed")
    );
    let bare = bare::start(connection.raw(), &folder.0)?;
    let servers = [(portolan, address), (&bare, bare.port("bare")?)];
    let ask: Arc<[u8]> = ask.into();
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        for ((server, address), rounds) in servers.iter().zip(&mut rounds) {
            // The first round warms up.
            let time = Duration::from_secs(if round == 0 { 1 } else { options.seconds });
            let measured = drive(server, *address, &ask, length, time).await?;
            if round > 0 {
                rounds.push(measured);
            }
        }
    }
    let [own, peer] = rounds.map(|rounds| Measured {
        per_second: median(rounds.iter().map(|one| one.per_second)),
        cpu_us: median(rounds.iter().map(|one| one.cpu_us)),
    });
    table.row(
        &format!("{name}: requests/s"),
        format!("{:.0}", own.per_second),
        format!("{:.0}", peer.per_second),
        Some((own.per_second / peer.per_second, 0.7)),
    );
    table.row(
        &format!("{name}: CPU us per request"),
        format!("{:.1}", own.cpu_us),
        format!("{:.1}", peer.cpu_us),
        Some((peer.cpu_us / own.cpu_us, 0.7)),
    );
    Ok(())
}

async fn drive(
    server: &Server,
    address: SocketAddr,
    ask: &Arc<[u8]>,
    length: usize,
    time: Duration,
) -> Result<Measured> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(address).await?);
    }
    let (cpu, begin) = (server.cpu_us()?, Instant::now());
    let workers: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let ask = Arc::clone(ask);
            tokio::spawn(async move {
                let mut count = 0_u64;
                while begin.elapsed() < time {
                    let reply = connection.ask(&ask).await?;
                    if reply.status != 200 || reply.body.len() != length {
                        bail!("answered {} with {} bytes", reply.status, reply.body.len());
                    }
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for worker in workers {
        count += worker.await?.context("a connection under load")?;
    }
    let elapsed = begin.elapsed();
    Ok(Measured {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cpu_us: (server.cpu_us()? - cpu) / count as f64,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
