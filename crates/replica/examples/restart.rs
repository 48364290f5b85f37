//! How long a restart takes: `cargo run --release -p portolan-replica --example restart -- [INSTANCES] [DIRECTORY]`.
//!
//! Registers instances, ten to a service, each with a check and a heartbeat lease, stops, starts again. Prints the times and the resident
//! memory after each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::{StreamExt, stream};
use portolan_catalog::{
    Bootstrap, Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, LeaseId,
    NewCheck, NodeFacts, Protocol, Register, Registration, ServiceKey, Status, Terms, Timestamp,
};
use portolan_registry::WallClock;
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

fn register(number: u32) -> Command {
    let node = NodeFacts::new("n1", Host::new("127.0.0.1")).name;
    let key = InstanceKey::consul(&node, &format!("web-{number}"));
    let host = Host::Ip([10, (number >> 16) as u8, (number >> 8) as u8, number as u8].into());
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain(&format!("service-{}", number / 10)),
        Endpoint::new(host, 8080),
    );
    facts.node = node.clone();
    facts.tags = Arc::from([Arc::from("v1"), Arc::from("primary")]);
    facts.meta = [("version", "1.2.3"), ("zone", "a")].into_iter().collect();
    let mut check = CheckFacts::new(
        CheckKey::new(&node, &format!("service:web-{number}")),
        "ttl",
    );
    check.instance = Some(key.clone());
    facts.lease = Some(LeaseId::Heartbeat(key));
    Command::Register(Box::new(Register {
        terms: Some(Terms::heartbeat(90_000)),
        checks: vec![NewCheck {
            facts: Arc::new(check),
            status: Status::Passing,
            output: Arc::default(),
            reported: true,
        }],
        ..Register::new(facts)
    }))
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse::<u64>().ok());
    (pages.unwrap_or(0) * 4096) >> 20
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let instances: u32 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let directory = arguments.next().map_or_else(
        || std::env::temp_dir().join("portolan-restart"),
        PathBuf::from,
    );
    let options = || {
        let wall: WallClock = Arc::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Timestamp(since.map_or(0, |since| since.as_millis() as u64))
        });
        Options::new(Directory::Path(directory.clone()), "n1", bootstrap(), wall)
    };
    let begun = Instant::now();
    let (replica, registry) = Replica::start(options()).await?;
    println!("start {:?}, {} MiB", begun.elapsed(), resident());
    if registry.snapshot().instance_count() <= 1 {
        let begun = Instant::now();
        stream::iter(0..instances)
            .for_each_concurrent(1000, |number| {
                let registry = registry.clone();
                async move {
                    let cause = Cause::call(Protocol::Consul, None);
                    if let Err(error) = registry.propose(cause, register(number)).await {
                        eprintln!("{error}");
                    }
                }
            })
            .await;
        let stats = replica.stats();
        println!(
            "{instances} registered in {:?}, {} MiB, log {} MiB",
            begun.elapsed(),
            resident(),
            stats.log_bytes.get() >> 20
        );
    }
    let begun = Instant::now();
    replica.shutdown().await;
    println!(
        "stop {:?}, snapshot {} MiB",
        begun.elapsed(),
        replica.stats().snapshot_bytes.get() >> 20
    );
    Ok(())
}
