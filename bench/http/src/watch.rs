//! Blocking queries: many wait, one service changes every few milliseconds, and only its watchers may hear of it.
//!
//! Every change puts its number into the metadata of one instance. A watcher finds the number in its answer: a new one of its service
//! counts with the time since the change, anything else is an answer nobody should have got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc;

use crate::client::{Connection, Reply, request};
use crate::server::{Folder, Server};
use crate::{Options, Table, fill};

/// Services, watchers of each, and instances of each.
const SERVICES: usize = 100;
const WATCHERS: usize = 50;
/// Time between two changes, and how long changes are made.
const EVERY: Duration = Duration::from_millis(10);
const CHANGES: usize = 500;
/// Connections that make them: one that waits for the disk does not hold up the next.
const WRITERS: usize = 8;
/// How long the last answers may take, and how long a wrong one is waited for.
const SETTLE: Duration = Duration::from_secs(2);

/// One answer: the watcher's service, the number it found, the time.
type Seen = (usize, usize, Instant);

/// Opens the queries, makes the changes, counts.
pub async fn run(options: &Options, table: &mut Table) -> Result<()> {
    let folder = Folder::new("watch")?;
    let server = Server::portolan(&options.portolan, &folder.0)?;
    let address = server.port("consul")?;
    let instances = options.watch_instances;
    fill::send(address, SERVICES * instances, |index| {
        fill::consul(index % SERVICES, index / SERVICES, Some(0))
    })
    .await?;

    let armed = Arc::new(AtomicUsize::new(0));
    let (sender, mut seen) = mpsc::unbounded_channel();
    let begin = Instant::now();
    for service in 0..SERVICES {
        for _ in 0..WATCHERS {
            let connection = Connection::open(address).await?;
            tokio::spawn(watch(
                connection,
                service,
                Arc::clone(&armed),
                sender.clone(),
            ));
        }
    }
    drop(sender);
    while armed.load(Ordering::Relaxed) < SERVICES * WATCHERS {
        if begin.elapsed() > Duration::from_secs(30) || seen.is_closed() {
            bail!("the queries could not be opened");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "blocking queries: {} open after {:.1} s, {:.0} MiB",
        SERVICES * WATCHERS,
        begin.elapsed().as_secs_f64(),
        server.resident_mib("VmRSS")?
    );
    tokio::time::sleep(SETTLE).await;
    let early = seen.len();

    let cpu = server.cpu_us()?;
    let probe = thread::spawn(lateness);
    let changes = change(address).await?;
    tokio::time::sleep(SETTLE).await;
    let cpu = server.cpu_us()? - cpu;
    let late = probe.join().map_err(|_| anyhow!("the probe panicked"))?;
    let mut answers = Vec::new();
    while let Ok(one) = seen.try_recv() {
        answers.push(one?);
    }
    report(&changes, &answers, early, cpu, table);
    percentiles("a sleeping thread woke too late", late, None, table);
    Ok(())
}

/// One watcher, until its connection or the measurement ends.
async fn watch(
    mut connection: Connection,
    service: usize,
    armed: Arc<AtomicUsize>,
    seen: mpsc::UnboundedSender<Result<Seen>>,
) {
    let mut steps = async || -> Result<()> {
        let target = format!("/v1/health/service/s-{service}");
        let reply = connection.ask(&request("GET", &target, "", "")).await?;
        let (mut index, mut first) = (index(&reply)?, true);
        loop {
            let ask = request("GET", &format!("{target}?index={index}&wait=60s"), "", "");
            connection.send(&ask).await?;
            if std::mem::take(&mut first) {
                armed.fetch_add(1, Ordering::Relaxed);
            }
            let reply = connection.receive().await?;
            let now = Instant::now();
            index = self::index(&reply)?;
            let number = version(reply.body).context("an answer without a version")?;
            if seen.send(Ok((service, number, now))).is_err() {
                return Ok(());
            }
        }
    };
    if let Err(error) = steps().await {
        let _ = seen.send(Err(error));
    }
}

fn index(reply: &Reply<'_>) -> Result<u64> {
    if reply.status != 200 {
        bail!("a query was answered {}", reply.status);
    }
    let text = reply.field("x-consul-index").context("no X-Consul-Index")?;
    Ok(text.parse()?)
}

/// The highest number in the metadata of the answer's instances.
fn version(body: &[u8]) -> Option<usize> {
    std::str::from_utf8(body)
        .ok()?
        .split(r#""version":""#)
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.parse().ok())
        .max()
}

/// Makes the changes at their times; number `n`, from 1, is of service `n % SERVICES`. Gives when each was sent and acknowledged.
async fn change(address: SocketAddr) -> Result<Vec<(Instant, Instant)>> {
    let begin = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut connection = Connection::open(address).await?;
        writers.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (1..=CHANGES).filter(|number| number % WRITERS == writer) {
                let due = begin + EVERY * u32::try_from(number)?;
                tokio::time::sleep_until(due.into()).await;
                let ask = fill::consul(number % SERVICES, 0, Some(number));
                let sent = Instant::now();
                let reply = connection.ask(&ask).await?;
                if reply.status != 200 {
                    bail!("a change was answered {}", reply.status);
                }
                times.push((number, (sent, Instant::now())));
            }
            Ok(times)
        }));
    }
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await??);
    }
    all.sort_by_key(|(number, _)| *number);
    println!(
        "blocking queries: {CHANGES} changes in {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    Ok(all.into_iter().map(|(_, times)| times).collect())
}

fn report(
    changes: &[(Instant, Instant)],
    answers: &[Seen],
    early: usize,
    cpu: f64,
    table: &mut Table,
) {
    let mut heard = vec![0_usize; changes.len() + 1];
    let (mut from_sent, mut from_acknowledged, mut wrong) = (Vec::new(), Vec::new(), early);
    for &(service, number, at) in answers {
        let due = number > 0 && number % SERVICES == service && heard[number] < WATCHERS;
        let Some(&(sent, acknowledged)) = changes.get(number.wrapping_sub(1)).filter(|_| due)
        else {
            wrong += 1;
            continue;
        };
        heard[number] += 1;
        from_sent.push(at.saturating_duration_since(sent));
        from_acknowledged.push(at.saturating_duration_since(acknowledged));
    }
    let count = from_sent.len();
    let missing = changes.len() * WATCHERS - count;
    let acknowledging: Vec<Duration> = changes.iter().map(|(sent, at)| *at - *sent).collect();
    let slowest = acknowledging
        .iter()
        .enumerate()
        .max_by_key(|(_, time)| **time);
    if let Some((number, time)) = slowest {
        println!(
            "blocking queries: slowest was change {} with {} ms",
            number + 1,
            time.as_millis()
        );
    }
    percentiles("sent until acknowledged", acknowledging, None, table);
    percentiles(
        "acknowledged until answered",
        from_acknowledged,
        Some(20.0),
        table,
    );
    percentiles("sent until answered", from_sent, Some(20.0), table);
    table.figure(
        "5,000 queries: answers without a change",
        wrong as f64,
        Some(0.0),
    );
    table.figure(
        "5,000 queries: answers that are missing",
        missing as f64,
        Some(0.0),
    );
    table.figure(
        "5,000 queries: CPU us per answer",
        cpu / count.max(1) as f64,
        None,
    );
}

fn percentiles(name: &str, mut times: Vec<Duration>, goal: Option<f64>, table: &mut Table) {
    times.sort_unstable();
    let last = times.len().saturating_sub(1) as f64;
    for (percent, goal) in [(50, None), (99, goal)] {
        let time = times.get((last * f64::from(percent) / 100.0) as usize);
        let time = time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        table.figure(&format!("5,000 queries: {name}, p{percent} ms"), time, goal);
    }
}

/// How much later than asked a thread wakes that does nothing but sleep: what the machine alone adds to every figure here.
fn lateness() -> Vec<Duration> {
    (0..CHANGES)
        .map(|_| {
            let before = Instant::now();
            thread::sleep(EVERY);
            before.elapsed() - EVERY
        })
        .collect()
}
