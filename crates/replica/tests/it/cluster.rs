//! Replicas over real sockets: forwarding, joining, dying, handing over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::stored::LEVEL;
use portolan_catalog::{Command, LeaseId, Refusal, Settled, State, Terms};
use portolan_cluster::frame::{Hello, Role};
use portolan_cluster::transport::{self, Tcp, bind};
use portolan_registry::{MemberChange, Registry, Renewed};
use portolan_replica::disk::MemoryDisk;
use portolan_replica::{Cluster, Directory, Membership, Replica, place};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::support::{assert_same, options, propose, put, value};

const CLUSTER: u64 = 77;
const LIMIT: Duration = Duration::from_secs(20);

struct Server {
    node: u64,
    address: SocketAddr,
    disk: MemoryDisk,
    tcp: Tcp,
    replica: Replica,
    registry: Registry,
}

async fn listener(at: Option<SocketAddr>) -> TcpListener {
    let address = at.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    bind(address).await.unwrap()
}

async fn start(
    node: u64,
    disk: MemoryDisk,
    listener: TcpListener,
    members: BTreeMap<u64, String>,
    join: Vec<String>,
) -> Server {
    let address = listener.local_addr().unwrap();
    let name = format!("n{node}");
    let tcp = Tcp::new(transport::Options {
        hello: Hello {
            role: Role::Server,
            level: u32::from(LEVEL),
            cluster: CLUSTER,
            node,
            name: name.clone(),
            datacenter: "dc1".to_owned(),
        },
        tls: None,
        connections: 64,
        follows: None,
    });
    tcp.listen(listener);
    let mut options = options(Directory::Disk(Arc::new(disk.clone())));
    options.node_name = name;
    options.cluster = Some(Cluster {
        cluster_id: CLUSTER,
        node_id: node,
        members,
    });
    options.transport = Arc::new(tcp.clone());
    options.member = Membership {
        address: address.to_string(),
        join,
        dead_after: Duration::from_secs(1),
        rejoin: false,
        displaced: None,
    };
    let (replica, registry) = Replica::start(options).await.unwrap();
    Server {
        node,
        address,
        disk,
        tcp,
        replica,
        registry,
    }
}

async fn found(count: u64) -> Vec<Server> {
    let mut listeners = Vec::new();
    let mut members = BTreeMap::new();
    for node in 1..=count {
        let listener = listener(None).await;
        let address = listener.local_addr().unwrap().to_string();
        members.insert(node, place(&address, &format!("n{node}")));
        listeners.push((node, listener));
    }
    let mut servers = Vec::new();
    for (node, listener) in listeners {
        let disk = MemoryDisk::new();
        servers.push(start(node, disk, listener, members.clone(), Vec::new()).await);
    }
    until(|| servers.iter().any(|server| server.registry.leads())).await;
    servers
}

/// Proposes until it is decided and known: what was on its way to a leader that died has no answer.
async fn settled(registry: &Registry, command: Command) -> Settled {
    let begun = Instant::now();
    loop {
        match propose(registry, command.clone()).await {
            Ok(settled) => return settled,
            Err(why) => assert!(begun.elapsed() < LIMIT, "{why:?}"),
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "it does not come to be");
        sleep(Duration::from_millis(5)).await;
    }
}

fn leads(servers: &[Server]) -> usize {
    let at = servers.iter().position(|server| server.registry.leads());
    at.expect("a leader")
}

/// As a process that dies: its sockets close, nothing is said.
fn kill(server: Server) -> (u64, SocketAddr, MemoryDisk) {
    server.tcp.close();
    let Server {
        node,
        address,
        disk,
        replica,
        ..
    } = server;
    drop(replica);
    (node, address, disk)
}

async fn stop(servers: Vec<Server>) {
    for server in servers {
        server.replica.shutdown().await;
        server.tcp.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_answers_when_it_has_applied_and_everybody_reads_what_was_acknowledged() {
    let servers = found(3).await;
    let follower = (leads(&servers) + 1) % 3;
    for number in 0..20 {
        let key = format!("k{number}");
        let asked = &servers[(follower + number) % 3].registry;
        let settled = propose(asked, put(&key, "v")).await.unwrap();
        assert!(settled.outcome.is_ok());
        assert!(value(&asked.snapshot(), &key).is_some(), "applied here");
        assert!(asked.snapshot().revision() >= settled.revision);
        for server in &servers {
            let state = server.registry.linearized().await.unwrap();
            assert!(value(&state, &key).is_some(), "{key} at {}", server.node);
        }
    }
    // Many at once go in few batches, and each gets its own answer.
    let registry = &servers[follower].registry;
    let many = (0..500).map(|number| propose(registry, put(&format!("m{number}"), "v")));
    let answers = futures_util::future::join_all(many).await;
    let mut revisions: Vec<u64> = answers.into_iter().map(|a| a.unwrap().revision.0).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 500);
    // A refusal is an answer as well.
    let revoke = Command::Revoke {
        lease: LeaseId::Etcd(99),
    };
    let settled = propose(registry, revoke).await.unwrap();
    assert_eq!(settled.outcome, Err(Refusal::NoLease));
    let lease = LeaseId::Etcd(5);
    let grant = Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(60_000)),
        session: None,
    };
    propose(registry, grant).await.unwrap();
    let minute = Duration::from_secs(60);
    assert_eq!(registry.renew(&lease).await, Ok(Renewed::For(minute)));
    let unknown = registry.renew(&LeaseId::Etcd(6)).await;
    assert_eq!(unknown, Ok(Renewed::Unknown));
    let (left, since) = registry.lease_time(&lease).await.unwrap().unwrap();
    assert!(left > minute / 2 && since < minute / 2);
    assert!(registry.last_contact().unwrap() < Duration::from_secs(1));
    let members = registry.members();
    assert_eq!(members.iter().filter(|member| member.voter).count(), 3);
    let names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    // All have said that they know the level, and have applied that as well, which moves no revision.
    until(|| {
        let at = |server: &Server| {
            let state = server.registry.snapshot();
            (state.level(), state.revision(), state.last_at())
        };
        let first = at(&servers[0]);
        first.0 == LEVEL && servers.iter().all(|server| at(server) == first)
    })
    .await;
    let states: Vec<Arc<State>> = servers.iter().map(|s| s.registry.snapshot()).collect();
    assert_same(&states[0], &states[1]);
    assert_same(&states[0], &states[2]);
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_at_once_and_a_stopped_one_hands_over() {
    let mut servers = found(3).await;
    settled(&servers[0].registry, put("before", "v")).await;
    let dead = kill(servers.remove(leads(&servers)));
    let begun = Instant::now();
    settled(&servers[0].registry, put("after", "v")).await;
    settled(&servers[1].registry, put("after", "w")).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    // It comes back with what it had, and catches up.
    let (node, address, disk) = dead;
    let listener = listener(Some(address)).await;
    servers.push(start(node, disk, listener, BTreeMap::new(), Vec::new()).await);
    let back = &servers[2].registry;
    until(|| value(&back.snapshot(), "after").is_some()).await;
    until(|| servers.iter().any(|server| server.registry.leads())).await;
    let old = leads(&servers);
    let begun = Instant::now();
    servers[old].replica.hand_over().await;
    settled(&servers[old].registry, put("handed", "v")).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    until(|| !servers[old].registry.leads()).await;
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_joins_learns_votes_takes_a_dead_ones_place_and_leaves() {
    let mut servers = found(3).await;
    for number in 0..200 {
        let value = vec![b'v'; 1000];
        propose(&servers[0].registry, put(&format!("k{number}"), value))
            .await
            .unwrap();
    }
    let join = vec![servers[1].address.to_string()];
    let fourth = listener(None).await;
    servers.push(start(4, MemoryDisk::new(), fourth, BTreeMap::new(), join).await);
    let voters = |server: &Server| {
        let members = server.registry.members();
        members.iter().filter(|member| member.voter).count()
    };
    until(|| voters(&servers[3]) == 4).await;
    until(|| value(&servers[3].registry.snapshot(), "k199").is_some()).await;
    // One of the four dies: the new one has taken its place.
    let follower = servers.iter().position(|server| !server.registry.leads());
    let dead = kill(servers.remove(follower.unwrap()));
    until(|| servers.iter().all(|server| voters(server) == 3)).await;
    // It comes back, asks to be taken in again, and is.
    let (node, address, disk) = dead;
    let listener = listener(Some(address)).await;
    servers.push(start(node, disk, listener, BTreeMap::new(), Vec::new()).await);
    until(|| voters(&servers[3]) == 4).await;
    // A clean leave of whoever leads.
    until(|| servers.iter().any(|server| server.registry.leads())).await;
    let at = leads(&servers);
    let leaver = servers.remove(at);
    let begun = Instant::now();
    // On a busy machine it may have to be confirmed as the leader first.
    while let Err(why) = leaver.registry.change_members(MemberChange::Leave).await {
        assert!(begun.elapsed() < LIMIT, "{why:?}");
        sleep(Duration::from_millis(50)).await;
    }
    leaver.replica.left().await;
    until(|| servers.iter().all(|server| voters(server) == 3)).await;
    settled(&servers[0].registry, put("last", "v")).await;
    stop(vec![leaver]).await;
    stop(servers).await;
}
