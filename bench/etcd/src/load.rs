//! The rows: what is done to a server, and what is measured of it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Result,
    lean::{Lean, Streaming},
    server::{self, At, Server},
    wire::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, PutRequest, PutResponse,
        RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse,
        kv_client::KvClient, lease_client::LeaseClient, watch_request::RequestUnion,
    },
};

/// Bytes of a value.
const VALUE: usize = 256;
/// Keys that puts and ranges choose from.
const KEYS: u64 = 100_000;

/// One measurement.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub per_second: f64,
    pub cpu_us: f64,
    pub median_ms: f64,
    pub rss_mib: f64,
}

impl Row {
    /// The middle of several rounds, figure by figure.
    pub fn middle(rounds: &[Row]) -> Row {
        let of = |figure: fn(&Row) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Row {
            per_second: of(|row| row.per_second),
            cpu_us: of(|row| row.cpu_us),
            median_ms: of(|row| row.median_ms),
            rss_mib: of(|row| row.rss_mib),
        }
    }
}

type Run = for<'a> fn(&'a Server, Duration) -> Pin<Box<dyn Future<Output = Result<Row>> + 'a>>;

pub struct Definition {
    pub name: &'static str,
    /// Servers of a cluster.
    pub members: usize,
    pub reach: &'static str,
    pub run: Run,
}

pub static ROWS: &[Definition] = &[
    Definition {
        name: "put-1",
        members: 1,
        reach: "0.45x CPU",
        run: |server, time| Box::pin(puts(server, time, 1, 1)),
    },
    Definition {
        name: "put-100",
        members: 1,
        reach: "3x per second, 0.3x CPU",
        run: |server, time| Box::pin(puts(server, time, 10, 100)),
    },
    Definition {
        name: "put-1000",
        members: 1,
        reach: "3x per second, 0.3x CPU",
        run: |server, time| Box::pin(puts(server, time, 50, 1000)),
    },
    Definition {
        name: "range-serializable",
        members: 1,
        reach: "1.4x per second, 0.65x CPU",
        run: |server, time| Box::pin(ranges(server, time, true)),
    },
    Definition {
        name: "range-linearizable",
        members: 1,
        reach: "1.4x per second, 0.65x CPU",
        run: |server, time| Box::pin(ranges(server, time, false)),
    },
    Definition {
        name: "leases",
        members: 1,
        reach: "2.5x per second, 0.35x RSS",
        run: |server, _| Box::pin(leases(server)),
    },
    Definition {
        name: "fan-out",
        members: 1,
        reach: "0.35x median",
        run: |server, _| Box::pin(fan_out(server, 10, 1, 100)),
    },
    Definition {
        name: "fan-out-streams",
        members: 1,
        reach: "0.25x median",
        run: |server, _| Box::pin(fan_out(server, 10, 100, 1)),
    },
    Definition {
        name: "fan-out-connections",
        members: 1,
        reach: "0.25x median",
        run: |server, _| Box::pin(fan_out(server, 1000, 1, 1)),
    },
    Definition {
        name: "keep-alive",
        members: 1,
        reach: "0.5x CPU",
        run: |server, time| Box::pin(keep_alives(server, time)),
    },
    Definition {
        name: "three-put-1",
        members: 3,
        reach: "1.2x per second, 0.5x CPU",
        run: |server, time| Box::pin(puts(server, time, 1, 1)),
    },
    Definition {
        name: "three-put-100",
        members: 3,
        reach: "2x per second, 0.5x CPU",
        run: |server, time| Box::pin(puts(server, time, 12, 100)),
    },
    Definition {
        name: "three-put-1000",
        members: 3,
        reach: "3x per second, 0.5x CPU",
        run: |server, time| Box::pin(puts(server, time, 48, 1000)),
    },
    Definition {
        name: "three-range-serializable",
        members: 3,
        reach: "2x per second",
        run: |server, time| Box::pin(ranges(server, time, true)),
    },
    Definition {
        name: "three-range-linearizable",
        members: 3,
        reach: "2x per second",
        run: |server, time| Box::pin(ranges(server, time, false)),
    },
    Definition {
        name: "go-put-1",
        members: 1,
        reach: "0.5x CPU",
        run: |server, time| Box::pin(go(server, time, "put", 1)),
    },
    Definition {
        name: "go-put-100",
        members: 1,
        reach: "0.3x CPU",
        run: |server, time| Box::pin(go(server, time, "put", 100)),
    },
    Definition {
        name: "go-put-1000",
        members: 1,
        reach: "0.3x CPU",
        run: |server, time| Box::pin(go(server, time, "put", 1000)),
    },
    Definition {
        name: "go-range-linearizable",
        members: 1,
        reach: "0.4x CPU",
        run: |server, time| Box::pin(go(server, time, "range-linearizable", 100)),
    },
    Definition {
        name: "go-range-serializable",
        members: 1,
        reach: "0.35x CPU",
        run: |server, time| Box::pin(go(server, time, "range-serializable", 100)),
    },
    Definition {
        name: "go-keep-alive",
        members: 1,
        reach: "0.4x CPU",
        run: |server, time| Box::pin(go(server, time, "keep-alive", 64)),
    },
];

fn key(number: u64) -> Bytes {
    format!("key/{:012}", number % KEYS).into()
}

/// A quick generator, one per client.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Bytes that nothing can compress.
fn value(seed: u64) -> Bytes {
    let mut state = seed;
    let words = (0..VALUE / 8).map(|_| {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
}

/// Runs `clients` of `operation` for a while, after a second that does not count, and measures.
async fn measure<F, N>(
    server: &Server,
    time: Duration,
    (connections, at): (usize, At),
    clients: usize,
    operation: F,
) -> Result<Row>
where
    F: Fn(Lean, u64) -> N + Clone + Send + 'static,
    N: Future<Output = Result<()>> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let lean = server.lean(connections, at).await?;
    for client in 0..clients {
        let (connection, done, operation) = (
            lean[client % connections].clone(),
            done.clone(),
            operation.clone(),
        );
        tasks.spawn(async move {
            let mut random = client as u64 + 1;
            loop {
                if let Err(error) = operation(connection.clone(), next(&mut random)).await {
                    return error;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut row = None;
    tokio::select! {
        failed = tasks.join_next() => {
            if let Some(failed) = failed {
                return Err(failed?);
            }
        }
        measured = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (before, cpu, began) = (done.load(Ordering::Relaxed), server.cpu()?, Instant::now());
            tokio::time::sleep(time).await;
            let (count, cpu, took) = (done.load(Ordering::Relaxed) - before, server.cpu()? - cpu, began.elapsed());
            Ok::<Row, Box<dyn std::error::Error + Send + Sync>>(Row {
                per_second: count as f64 / took.as_secs_f64(),
                cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
                median_ms: clients as f64 * took.as_secs_f64() * 1e3 / count as f64,
                rss_mib: server.rss_mib()?,
            })
        } => row = Some(measured?),
    }
    tasks.abort_all();
    row.ok_or_else(|| "no client ran".into())
}

async fn puts(server: &Server, time: Duration, connections: usize, clients: usize) -> Result<Row> {
    let put = Arc::new(server.uri("KV/Put")?);
    let operation = move |connection: Lean, random| {
        let request = PutRequest {
            key: key(random),
            value: value(random),
            ..Default::default()
        };
        let put = put.clone();
        async move {
            let _: PutResponse = connection.call(&put, &request).await?;
            Ok(())
        }
    };
    measure(server, time, (connections, At::All), clients, operation).await
}

async fn ranges(server: &Server, time: Duration, serializable: bool) -> Result<Row> {
    const FILLED: u64 = 1000;
    let mut kv = KvClient::new(server.channel().await?);
    for number in 0..FILLED {
        kv.put(PutRequest {
            key: key(number),
            value: value(number),
            ..Default::default()
        })
        .await?;
    }
    let range = Arc::new(server.uri("KV/Range")?);
    let operation = move |connection: Lean, random| {
        let range = range.clone();
        async move {
            let request = RangeRequest {
                key: key(random % FILLED),
                serializable,
                ..Default::default()
            };
            let answer: RangeResponse = connection.call(&range, &request).await?;
            if answer.count == 1 {
                Ok(())
            } else {
                Err("a key is missing".into())
            }
        }
    };
    // A follower may be a moment behind.
    tokio::time::sleep(Duration::from_millis(500)).await;
    measure(server, time, (10, At::Followers), 100, operation).await
}

/// A hundred thousand registrations: each a lease of its own, and a key under it.
async fn leases(server: &Server) -> Result<Row> {
    const MANY: u64 = 100_000;
    const CLIENTS: usize = 100;
    let turn = Arc::new(AtomicU64::new(0));
    let lean = server.lean(10, At::All).await?;
    let (grant, put) = (server.uri("Lease/LeaseGrant")?, server.uri("KV/Put")?);
    let (cpu, began) = (server.cpu()?, Instant::now());
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let (connection, turn) = (lean[client % lean.len()].clone(), turn.clone());
        let (grant, put) = (grant.clone(), put.clone());
        tasks.spawn(async move {
            loop {
                let number = turn.fetch_add(1, Ordering::Relaxed);
                if number >= MANY {
                    return Ok::<(), Box<dyn std::error::Error + Send + Sync>>(());
                }
                let wanted = LeaseGrantRequest { ttl: 3600, id: 0 };
                let granted: LeaseGrantResponse = connection.call(&grant, &wanted).await?;
                let value = format!(
                    "10.{}.{}.{}:8080",
                    number >> 16,
                    number >> 8 & 255,
                    number & 255
                );
                let request = PutRequest {
                    key: key(number),
                    value: value.into(),
                    lease: granted.id,
                    ..Default::default()
                };
                let _: PutResponse = connection.call(&put, &request).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let took = began.elapsed();
    // What was only in flight has settled by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(Row {
        per_second: MANY as f64 / took.as_secs_f64(),
        cpu_us: (server.cpu()? - cpu).as_secs_f64() * 1e6 / MANY as f64,
        median_ms: CLIENTS as f64 * took.as_secs_f64() * 1e3 / MANY as f64,
        rss_mib: server.rss_mib()?,
    })
}

/// One key, watched by some watchers on each of some streams on each of some connections; two hundred changes one after the other: how
/// long until the last watcher has its event.
async fn fan_out(
    server: &Server,
    connections: usize,
    streams: usize,
    watchers: usize,
) -> Result<Row> {
    const CHANGES: usize = 200;
    let all = (connections * streams * watchers) as u64;
    let heard = Arc::new((AtomicU64::new(0), Notify::new()));
    let mut tasks = JoinSet::new();
    let (watch, put) = (server.uri("Watch/Watch")?, server.uri("KV/Put")?);
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            key: "watched".into(),
            ..Default::default()
        })),
    };
    let opened = server.lean(connections, At::All).await?;
    for lean in opened.iter().flat_map(|lean| vec![lean; streams]) {
        let mut answers = Streaming::open(lean, &watch, &vec![create.clone(); watchers]).await?;
        let mut created = 0;
        while created < watchers {
            let more = answers
                .next(|answer: WatchResponse| created += usize::from(answer.created))
                .await?;
            if !more {
                return Err("a watcher was not created".into());
            }
        }
        let heard = heard.clone();
        tasks.spawn(async move {
            let mut events = 0;
            let count = |answer: WatchResponse| answer.events.len() as u64;
            while let Ok(true) = answers.next(|answer| events += count(answer)).await {
                let now = std::mem::take(&mut events);
                let before = heard.0.fetch_add(now, Ordering::Relaxed);
                if (before + now) % all < now {
                    heard.1.notify_one();
                }
            }
        });
    }
    let writer = server.lean(1, At::All).await?.remove(0);
    let cpu = server.cpu()?;
    let mut took = Vec::new();
    for change in 0..CHANGES {
        let began = Instant::now();
        let request = PutRequest {
            key: "watched".into(),
            value: change.to_string().into(),
            ..Default::default()
        };
        let _: PutResponse = writer.call(&put, &request).await?;
        tokio::time::timeout(Duration::from_secs(20), heard.1.notified()).await?;
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort();
    let median = took[CHANGES / 2];
    Ok(Row {
        per_second: 1.0 / median.as_secs_f64(),
        cpu_us: (server.cpu()? - cpu).as_secs_f64() * 1e6 / CHANGES as f64,
        median_ms: median.as_secs_f64() * 1e3,
        rss_mib: server.rss_mib()?,
    })
}

/// The load of etcd's own Go client, on sixteen connections.
async fn go(server: &Server, time: Duration, row: &str, clients: usize) -> Result<Row> {
    let mut load = server::go_load(server.port(), row, clients, time)?;
    let mut lines = BufReader::new(load.stdout.take().ok_or("no output")?).lines();
    let mut said = async |word: &str| -> Result<String> {
        let line = lines.next_line().await?.ok_or("the Go load ended early")?;
        let rest = line.strip_prefix(word).ok_or_else(|| line.clone())?;
        Ok(rest.trim().to_owned())
    };
    said("begin").await?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    let count = said("end").await?.parse::<f64>()?;
    let (cpu, took) = (server.cpu()? - cpu, began.elapsed().as_secs_f64());
    Ok(Row {
        per_second: count / took,
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        median_ms: clients as f64 * took * 1e3 / count,
        rss_mib: server.rss_mib()?,
    })
}

/// Sixty-four streams, each renewing a lease of its own as fast as it is answered.
async fn keep_alives(server: &Server, time: Duration) -> Result<Row> {
    const STREAMS: usize = 64;
    let done = Arc::new(AtomicU64::new(0));
    // A client has a connection of its own, and one stream on it for all of its leases.
    let channels = server.channels(STREAMS).await?;
    let mut tasks = JoinSet::new();
    for stream in 0..STREAMS {
        let (channel, done) = (channels[stream % channels.len()].clone(), done.clone());
        let mut lease = LeaseClient::new(channel);
        let id = lease
            .lease_grant(LeaseGrantRequest { ttl: 3600, id: 0 })
            .await?
            .into_inner()
            .id;
        tasks.spawn(async move {
            let (requests, receiver) = mpsc::channel(4);
            requests.send(LeaseKeepAliveRequest { id }).await?;
            let mut answers = lease
                .lease_keep_alive(ReceiverStream::new(receiver))
                .await?
                .into_inner();
            loop {
                let answer = answers.message().await?.ok_or("the stream ended")?;
                if answer.ttl != 3600 {
                    return Err::<(), Box<dyn std::error::Error + Send + Sync>>(
                        format!("renewed to {}", answer.ttl).into(),
                    );
                }
                done.fetch_add(1, Ordering::Relaxed);
                requests.send(LeaseKeepAliveRequest { id }).await?;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, cpu, began) = (done.load(Ordering::Relaxed), server.cpu()?, Instant::now());
    tokio::time::sleep(time).await;
    let (count, cpu, took) = (
        done.load(Ordering::Relaxed) - before,
        server.cpu()? - cpu,
        began.elapsed(),
    );
    if let Some(ended) = tasks.try_join_next() {
        ended??;
    }
    tasks.abort_all();
    Ok(Row {
        per_second: count as f64 / took.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
        median_ms: STREAMS as f64 * took.as_secs_f64() * 1e3 / count as f64,
        rss_mib: server.rss_mib()?,
    })
}
