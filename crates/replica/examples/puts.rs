//! How fast puts are: `cargo run --release -p portolan-replica --example puts -- [PROPOSERS] [SECONDS] [DIRECTORY]`.
//!
//! 256-byte values under 100,000 keys, each proposer waiting for its answer. Prints puts per second, the process's CPU per put and the
//! median and 99th percentile of the time to the answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portolan_catalog::{
    Bootstrap, Cause, Command, Endpoint, Host, InstanceKey, Key, Keyspace, NodeFacts, Op, Protocol,
    Put, Registration, ServiceKey, Timestamp, Write,
};
use portolan_registry::Registry;
use portolan_replica::{Directory, Options, Replica};

fn bootstrap() -> Bootstrap {
    let node = NodeFacts::new("n1", Host::new("127.0.0.1"));
    let service = Registration::new(
        InstanceKey::new(Protocol::Portolan, "n1/consul"),
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: Vec::new(),
        layouts: Vec::new(),
    }
}

fn put(number: u64) -> Command {
    let key = Key::from(format!("/registry/key/{:06}", number % 100_000).as_str());
    let put = Put::new(Keyspace::Etcd, key, Bytes::copy_from_slice(&[7; 256]));
    Command::Write(Write::one(Op::Put(Box::new(put))))
}

/// CPU time of this process so far, as the system counts it in ticks of ten milliseconds.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

async fn propose(registry: Registry, first: u64, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    let cause = Arc::new(Cause::call(Protocol::Etcd, None));
    // A generator of its own, so that keys come in no order.
    let mut number = first.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while !stop.load(Ordering::Relaxed) {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        let start = Instant::now();
        if registry.propose(cause.clone(), put(number)).await.is_err() {
            break;
        }
        times.push(start.elapsed());
    }
    times
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let proposers: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let directory = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("portolan-puts"), PathBuf::from);
    let wall = Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_millis() as u64))
    });
    let options = Options::new(Directory::Path(directory), "n1", bootstrap(), wall);
    let begun = Instant::now();
    let (replica, registry) = Replica::start(options).await?;
    let ready = begun.elapsed();
    let stop = Arc::new(AtomicBool::new(false));
    let stats = replica.stats().clone();
    let (before, batches) = (cpu(), stats.batches.get());
    let start = Instant::now();
    let tasks: Vec<_> = (0..proposers)
        .map(|number| tokio::spawn(propose(registry.clone(), number + 1, stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await?);
    }
    let (took, used) = (start.elapsed(), cpu().saturating_sub(before));
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    let batches = (stats.batches.get() - batches).max(1);
    println!(
        "start {ready:?}; {proposers} proposers: {:.0} puts/s, {:.1} us CPU each, p50 {:?}, p99 {:?}, {:.1} commands a batch, {} snapshots",
        times.len() as f64 / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / times.len().max(1) as f64,
        at(50),
        at(99),
        times.len() as f64 / batches as f64,
        stats.snapshots.get(),
    );
    let begun = Instant::now();
    replica.shutdown().await;
    println!("stop {:?}", begun.elapsed());
    Ok(())
}
