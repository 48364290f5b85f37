//! Many agents over real connections: how long one change takes until the last of them has it.

use std::net::SocketAddr;
use std::time::Instant;

use portolan_catalog::Revision;
use portolan_cluster::Tcp;
use portolan_cluster::frame::{Hello, Role};
use portolan_cluster::members::{About, Response};
use portolan_cluster::message;
use portolan_cluster::transport::{self, bind};
use portolan_environment::{Answer, Channel, Peer, Transport};

use super::*;
use crate::{FeedServer, Joined};

/// Says which cluster this is.
struct Meets;

impl Peer for Meets {
    fn answer(&self, _: u64, _: Vec<u8>) -> Answer<'_> {
        let about = About {
            cluster: 1,
            ..About::default()
        };
        let met = Response::Met {
            about: Box::new(about),
            others: Vec::new(),
        };
        Box::pin(async move { Ok(message::encode(&met)) })
    }
}

fn tcp(role: Role, node: u64, cluster: u64) -> Tcp {
    Tcp::new(transport::Options {
        hello: Hello {
            role,
            cluster,
            node,
            name: format!("n{node}"),
            ..Hello::default()
        },
        tls: None,
        connections: 4096,
        follows: None,
    })
}

async fn start_one(at: usize, server: SocketAddr) -> (Agent, Registry) {
    let tcp = tcp(Role::Agent, at as u64 + 2, 0);
    let adopting = tcp.clone();
    let adopt = Box::new(move |cluster| {
        if adopting.cluster() != cluster {
            adopting.adopt(cluster);
        }
    });
    let joined = Joined::new(Arc::new(tcp), adopt, vec![server.to_string()]);
    let node = NodeFacts::new(&format!("a{at}"), Host::new("10.0.0.9"));
    let directory = Directory::Disk(Arc::new(MemoryDisk::new()));
    let options = Options::new(directory, node, Arc::new(joined), wall());
    Agent::start(options).await.unwrap()
}

/// The revision that it led to. On a machine that has no time for it the outcome may be unknown; the same twice does no harm here.
async fn decided(registry: &Registry, command: Command) -> Revision {
    loop {
        match registry.propose(client(), command.clone()).await {
            Ok(settled) => {
                settled.outcome.unwrap();
                return settled.revision;
            }
            Err(Unavailable::Unknown | Unavailable::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// With `PORTOLAN_AGENTS=200` it is the figure that is promised, in an optimised build; without, a few show that it works at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_every_agent_over_its_own_connection() {
    let agents: usize = std::env::var("PORTOLAN_AGENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let registry = Registry::local(&portolan_registry::LocalOptions::default());
    for id in 0..1000 {
        let Command::Register(mut register) = register(&format!("web-{id}"), 80) else {
            unreachable!()
        };
        let mut facts = (*register.facts).clone();
        facts.node = NodeName::new("n1");
        facts.key = InstanceKey::consul(&facts.node, &format!("web-{id}"));
        register.facts = Arc::new(facts);
        register.checks.clear();
        decided(&registry, Command::Register(register)).await;
    }
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tcp(Role::Server, 1, 1);
    server.serve(Channel::Feed, Arc::new(FeedServer::new(registry.clone())));
    server.serve(Channel::Members, Arc::new(Meets));
    server.listen(listener);
    let mut started = Vec::new();
    for at in 0..agents {
        started.push(start_one(at, address).await);
    }
    let mut took = Vec::new();
    for round in 0..100_u16 {
        let begun = Instant::now();
        let Command::Register(mut register) = register("web-0", 1000 + round) else {
            unreachable!()
        };
        let mut facts = (*register.facts).clone();
        facts.node = NodeName::new("n1");
        facts.key = InstanceKey::consul(&facts.node, "web-0");
        register.facts = Arc::new(facts);
        register.checks.clear();
        let revision = decided(&registry, Command::Register(register)).await;
        while started
            .iter()
            .any(|(_, registry)| registry.read(|state| state.revision() < revision))
        {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    println!(
        "one change to {agents} agents: p50 {:?}, p99 {:?}",
        took[50], took[98]
    );
    assert!(took[98] < Duration::from_secs(5), "{:?}", took[98]);
}
