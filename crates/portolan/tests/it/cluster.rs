//! Three servers as processes: found, joined, written to anywhere, killed and stopped under load.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portolan_protocol_etcd::wire::etcdserverpb as pb;

use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, Server, Start, free_address};
use crate::harness::{eureka, eventually, http, same};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);

/// A server of its own name with a cluster port of its own.
pub(crate) fn start(name: &str, cluster: SocketAddr) -> Start {
    Start::default()
        .with("--node-name")
        .with(name)
        .with("--cluster-listen")
        .with(cluster.to_string())
}

/// Three servers that know each other by one of them, started at once.
pub(crate) fn three() -> Vec<Server> {
    let ports: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
    let first = ports[0].to_string();
    let starting: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(at, port)| {
            let server = start(&format!("n{}", at + 1), *port);
            let server = match at {
                0 => server.with("--bootstrap-expect").with("3"),
                _ => server.with("--join").with(first.clone()),
            };
            std::thread::spawn(move || server.go())
        })
        .collect();
    let servers: Vec<Server> = starting
        .into_iter()
        .map(|server| server.join().expect("a server"))
        .collect();
    for server in &servers {
        eventually(LIMIT, || has_voters(server, 3)).unwrap();
    }
    servers
}

pub(crate) fn has_voters(server: &Server, voters: usize) -> Result<(), String> {
    let peers = http::get_json(server.address("consul"), "/v1/status/peers")?;
    same(&peers.as_array().map_or(0, Vec::len), &voters)?;
    let leader = http::get_json(server.address("consul"), "/v1/status/leader")?;
    match leader.as_str() {
        Some(leader) if !leader.is_empty() => Ok(()),
        _ => Err("no leader".to_owned()),
    }
}

/// Which of the running servers leads.
pub(crate) fn leader(servers: &mut [Server]) -> usize {
    let look = || {
        for (at, server) in servers.iter_mut().enumerate() {
            if !server.is_up() {
                continue;
            }
            let members = http::get_json(server.address("native"), "/v1/members")?;
            let own = format!("n{}", at + 1);
            let leads = members["members"].as_array().is_some_and(|members| {
                let leads = |m: &serde_json::Value| m["role"] == "leader" && m["name"] == *own;
                members.iter().any(leads)
            });
            if leads {
                return Ok(at);
            }
        }
        Err("nobody leads".to_owned())
    };
    eventually(LIMIT, look).unwrap()
}

/// The addresses that DNS gives for a service.
fn dns(address: SocketAddr, service: &str) -> Result<usize, String> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [service, "service", "consul"] {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let _limit = socket.set_read_timeout(Some(Duration::from_secs(2)));
    socket
        .send_to(&query, address)
        .map_err(|error| error.to_string())?;
    let mut answer = [0; 2048];
    let length = socket
        .recv(&mut answer)
        .map_err(|error| error.to_string())?;
    match length {
        12.. => Ok(usize::from(u16::from_be_bytes([answer[6], answer[7]]))),
        _ => Err("a short answer".to_owned()),
    }
}

fn register(server: &Server, name: &str) {
    let body = format!(r#"{{"Name":"{name}","Address":"10.1.2.3","Port":80}}"#);
    let address = server.address("consul");
    let reply = http::call(address, "PUT", "/v1/agent/service/register", Some(&body)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Everything a service is seen through at one server.
pub(crate) fn sees(server: &Server, name: &str) -> Result<(), String> {
    let path = format!("/v1/health/service/{name}");
    let rows = http::get_json(server.address("consul"), &path)?;
    same(&rows.as_array().map_or(0, Vec::len), &1)?;
    same(&dns(server.address("dns"), name)?, &1)?;
    same(&eureka::app(server.address("eureka"), name)?.len(), &1)
}

#[test]
fn what_is_written_at_one_server_is_seen_at_every_server_in_every_protocol() {
    need_binary!();
    let mut servers = three();
    let leads = leader(&mut servers);
    let follower = &servers[(leads + 1) % 3];
    register(follower, "web");
    for server in &servers {
        eventually(LIMIT, || sees(server, "web")).unwrap();
    }
    let address = |at: usize| servers[at].address("etcd");
    let addresses = [address(0), address(1), address(2)];
    etcd::runtime().block_on(async {
        let mut clients = Vec::new();
        for address in addresses {
            clients.push(Etcd::connect(address).await.unwrap());
        }
        // Written at each, read at each: linearizable, so at once.
        for (at, client) in clients.iter().enumerate() {
            let key = format!("key/{at}");
            let revision = client.put(&key, b"v").await.unwrap();
            for other in &clients {
                let found = other.get(&key).await.unwrap().unwrap();
                assert_eq!(found.mod_revision, revision);
            }
        }
        let mut cluster = pb::cluster_client::ClusterClient::new(clients[leads].channel.clone());
        let request = pb::MemberListRequest { linearizable: true };
        let members = cluster.member_list(request).await.unwrap().into_inner();
        let mut names: Vec<&str> = members.members.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["n1", "n2", "n3"]);
        for client in &clients {
            let channel = client.channel.clone();
            let mut maintenance = pb::maintenance_client::MaintenanceClient::new(channel);
            let status = maintenance.status(pb::StatusRequest {}).await.unwrap();
            let status = status.into_inner();
            assert!(members.members.iter().any(|m| m.id == status.leader));
        }
    });
    // The client URLs of all are known to all, a moment after the start.
    let urls = || {
        let members = http::get_json(servers[0].address("native"), "/v1/members")?;
        let known = members["members"].as_array().map_or(0, |members| {
            let known = members
                .iter()
                .filter(|m| m["addresses"]["etcd"].is_string());
            known.count()
        });
        same(&known, &3)
    };
    eventually(LIMIT, urls).unwrap();
}

#[test]
fn a_server_that_was_alone_becomes_the_first_of_three() {
    need_binary!();
    let ports: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
    let mut servers = vec![start("n1", ports[0]).go()];
    register(&servers[0], "before");
    for at in 1..3 {
        let joined = start(&format!("n{}", at + 1), ports[at]);
        servers.push(joined.with("--join").with(ports[0].to_string()).go());
    }
    for server in &servers {
        eventually(LIMIT, || has_voters(server, 3)).unwrap();
        eventually(LIMIT, || sees(server, "before")).unwrap();
    }
    // The one that was first is not needed any more.
    servers[0].kill();
    register(&servers[1], "after");
    for server in &servers[1..] {
        eventually(LIMIT, || sees(server, "after")).unwrap();
    }
    servers[0].start_again();
    eventually(LIMIT, || sees(&servers[0], "after")).unwrap();
    // A clean leave: the others have two votes then, and the process ends by itself.
    let native = servers[2].address("native");
    let leave = || {
        let reply = http::call(native, "POST", "/v1/cluster", Some(r#"{"change":"leave"}"#))?;
        match reply.status {
            200 => Ok(()),
            _ => Err(reply.text()),
        }
    };
    // Refused until the leader has heard of the one that came back: two of two would be one too few.
    eventually(LIMIT, leave).unwrap();
    assert!(servers[2].wait_end(LIMIT).unwrap().success());
    for server in &servers[..2] {
        eventually(LIMIT, || has_voters(server, 2)).unwrap();
    }
    // Its node goes with it, everywhere.
    let nodes = || {
        let nodes = http::get_json(servers[0].address("consul"), "/v1/catalog/nodes")?;
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = nodes
            .iter()
            .filter_map(|node| node["Node"].as_str())
            .collect();
        same(&names, &vec!["n1", "n2"])
    };
    eventually(LIMIT, nodes).unwrap();
    // Its directory has left for good: a start by mistake does not bring it back.
    let output = Command::new(server::binary().unwrap())
        .args(["serve", "--node-name", "n3", "--cluster-listen"])
        .arg(ports[2].to_string())
        .arg("--data-dir")
        .arg(servers[2].data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has left its cluster: pass --join"), "{said}");
    let output = Command::new(server::binary().unwrap())
        .arg("doctor")
        .arg(servers[2].data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("it has left its cluster"), "{said}");
    // With --join, among its arguments since its first start, it does.
    servers[2].start_again();
    for server in &servers {
        eventually(LIMIT, || has_voters(server, 3)).unwrap();
    }
}

/// What writers saw.
#[derive(Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    /// Keys that were acknowledged, and their revisions.
    acknowledged: Mutex<BTreeMap<String, i64>>,
    /// When each writer's writes were acknowledged.
    times: Mutex<Vec<(usize, Instant)>>,
    failed_reads: Mutex<Vec<String>>,
}

impl Load {
    /// Writes at one server until told to stop; a new connection after each failure.
    pub(crate) async fn write(self: Arc<Self>, writer: usize, address: SocketAddr) {
        let mut number = 0;
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(etcd) = &client else {
                match Etcd::connect(address).await {
                    Ok(connected) => client = Some(connected),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                continue;
            };
            number += 1;
            let key = format!("load/{writer}/{number}");
            match etcd.put(&key, b"v").await {
                Ok(revision) => {
                    self.acknowledged.lock().unwrap().insert(key, revision);
                    self.times.lock().unwrap().push((writer, Instant::now()));
                }
                Err(_) => client = None,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the writers end.
    pub(crate) fn finish(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How long after `moment` each of the writers was acknowledged again.
    fn resumed(&self, moment: Instant, writers: &[usize]) -> Option<Duration> {
        let times = self.times.lock().unwrap();
        let first = |writer: usize| {
            let mut after = times.iter().filter(|(w, at)| *w == writer && *at > moment);
            after.next().map(|(_, at)| at.duration_since(moment))
        };
        let all: Option<Vec<Duration>> = writers.iter().map(|writer| first(*writer)).collect();
        all?.into_iter().max()
    }

    /// The longest time without an acknowledgement at one of the writers, from `begin` on.
    pub(crate) fn longest_gap(&self, begin: Instant, writers: &[usize]) -> Duration {
        let times = self.times.lock().unwrap();
        let gap = |writer: usize| {
            let of = times.iter().filter(|(w, at)| *w == writer && *at >= begin);
            let at: Vec<Instant> = of.map(|(_, at)| *at).collect();
            at.windows(2).map(|two| two[1].duration_since(two[0])).max()
        };
        writers
            .iter()
            .filter_map(|writer| gap(*writer))
            .max()
            .unwrap_or_default()
    }
}

/// Kills the leader again and again under load: how long each time until every survivor's writer was acknowledged.
pub(crate) fn kill_leaders(kills: usize) -> Vec<Duration> {
    let mut servers = three();
    register(&servers[0], "kept");
    for server in &servers {
        eventually(LIMIT, || sees(server, "kept")).unwrap();
    }
    let runtime = etcd::runtime();
    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..3)
        .map(|at| runtime.spawn(load.clone().write(at, servers[at].address("etcd"))))
        .collect();
    let mut resumed = Vec::new();
    for _ in 0..kills {
        for server in &servers {
            eventually(LIMIT, || has_voters(server, 3)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        let at = leader(&mut servers);
        servers[at].kill();
        let killed = Instant::now();
        let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
        let took = eventually(LIMIT, || {
            for other in &others {
                let address = servers[*other].address("consul");
                // Catalog reads at those that are left never fail.
                let path = "/v1/health/service/kept?stale";
                match http::get_json(address, path) {
                    Ok(rows) if rows.as_array().map_or(0, Vec::len) == 1 => {}
                    other => load.failed_reads.lock().unwrap().push(format!("{other:?}")),
                }
            }
            load.resumed(killed, &others)
                .ok_or_else(|| "writes do not resume".to_owned())
        });
        resumed.push(took.unwrap());
        servers[at].start_again();
    }
    for server in &servers {
        eventually(LIMIT, || has_voters(server, 3)).unwrap();
    }
    load.finish();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    let failed = load.failed_reads.lock().unwrap().clone();
    assert!(failed.is_empty(), "{failed:?}");
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > kills * 10, "{}", acknowledged.len());
    for server in &servers {
        let found = runtime.block_on(async {
            let client = Etcd::connect(server.address("etcd")).await.unwrap();
            client.prefix("load/").await.unwrap().1
        });
        let found: BTreeMap<String, i64> = found
            .into_iter()
            .map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision))
            .collect();
        for (key, revision) in &acknowledged {
            assert_eq!(found.get(key), Some(revision), "{key} was acknowledged");
        }
    }
    resumed.sort();
    resumed
}

#[test]
fn a_killed_leader_loses_nothing_and_writes_resume() {
    need_binary!();
    let resumed = kill_leaders(5);
    println!("writes resumed after {resumed:?}");
    assert!(resumed[2] <= Duration::from_secs(1), "{resumed:?}");
    assert!(
        *resumed.last().unwrap() <= Duration::from_secs(4),
        "{resumed:?}"
    );
}

#[test]
fn a_leader_that_is_stopped_hands_over() {
    need_binary!();
    let mut servers = three();
    let runtime = etcd::runtime();
    let load = Arc::new(Load::default());
    let at = leader(&mut servers);
    let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
    let writers: Vec<_> = others
        .iter()
        .map(|other| {
            let address = servers[*other].address("etcd");
            runtime.spawn(load.clone().write(*other, address))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(700));
    let begin = Instant::now();
    let status = servers[at].terminate(LIMIT).unwrap();
    assert!(status.success(), "{status}");
    std::thread::sleep(Duration::from_millis(500));
    let gap = load.longest_gap(begin, &others);
    load.finish();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    println!("planned stop of the leader: longest time without an acknowledged write {gap:?}");
    // On a quiet machine it is a few milliseconds; this is what a machine under tests is held to.
    assert!(gap <= Duration::from_secs(1), "{gap:?}");
    assert!(servers[at].said().contains("leadership was handed over"));
}

#[test]
fn leases_that_are_renewed_at_followers_outlive_a_leader() {
    need_binary!();
    let mut servers = three();
    let at = leader(&mut servers);
    let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
    let addresses: Vec<SocketAddr> = others.iter().map(|o| servers[*o].address("etcd")).collect();
    let runtime = etcd::runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let ids: Vec<i64> = (1..=40).collect();
    let granting = addresses.clone();
    let leases = ids.clone();
    runtime.block_on(async move {
        for (at, id) in leases.iter().enumerate() {
            let client = Etcd::connect(granting[at % 2]).await.unwrap();
            let request = pb::LeaseGrantRequest { ttl: 10, id: *id };
            client.lease().lease_grant(request).await.unwrap();
            let put = pb::PutRequest {
                key: format!("leased/{id}").into(),
                value: "v".into(),
                lease: *id,
                ..Default::default()
            };
            client.kv().put(put).await.unwrap();
        }
    });
    let renewing = {
        let (stop, addresses, ids) = (stop.clone(), addresses.clone(), ids.clone());
        runtime.spawn(async move {
            let mut clients = Vec::new();
            for address in addresses {
                clients.push(Etcd::connect(address).await.unwrap());
            }
            while !stop.load(Ordering::Relaxed) {
                for (at, id) in ids.iter().enumerate() {
                    let (sender, receiver) = tokio::sync::mpsc::channel(1);
                    let _sent = sender.send(pb::LeaseKeepAliveRequest { id: *id }).await;
                    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
                    let answer = clients[at % 2].lease().lease_keep_alive(stream).await;
                    if let Ok(answer) = answer
                        && let Ok(Some(answer)) = answer.into_inner().message().await
                    {
                        assert!(answer.ttl > 0, "lease {id} expired although it was renewed");
                    }
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        })
    };
    std::thread::sleep(Duration::from_secs(4));
    servers[at].kill();
    std::thread::sleep(Duration::from_secs(14));
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(renewing).unwrap();
    let left = runtime.block_on(async {
        let client = Etcd::connect(addresses[0]).await.unwrap();
        client.prefix("leased/").await.unwrap().1.len()
    });
    assert_eq!(left, ids.len());
}

#[test]
fn a_taken_cluster_port_is_an_error_for_whoever_has_others() {
    need_binary!();
    // An address of this test alone, so that the customary ports there are free.
    let number = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 77, number[2], number[3].max(1));
    let taken = TcpListener::bind((ip, 8300)).unwrap();
    let all = format!("all={ip}");
    // One that is alone begins beside it.
    let mut first = Server::with(&["--listen", &all, "--node-name", "n1"]);
    let port = first.address("cluster").port();
    assert!(port != 8300 && first.said().contains("a free one is used"));
    // Others have come: from now on they look for it where it is.
    let second = start("n2", free_address())
        .with("--join")
        .with(first.address("cluster").to_string())
        .go();
    eventually(LIMIT, || has_voters(&second, 2)).unwrap();
    let error = first.try_start_again().unwrap_err();
    let expected = format!("another process has the cluster port {ip}:8300, and data directory");
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("one of 2 servers"), "{error}");
    let words: [&[&str]; 3] = [
        &["--join", "127.0.0.1:1"],
        &["--bootstrap-expect", "3"],
        &["--cluster-listen", "IP:8300"],
    ];
    for more in words {
        let folder = tempfile::tempdir().unwrap();
        let more = more.iter().map(|word| word.replace("IP", &ip.to_string()));
        let output = Command::new(server::binary().unwrap())
            .args(["serve", "--listen", &all, "--data-dir"])
            .arg(folder.path().join("data"))
            .args(more.clone())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let flag = more.collect::<Vec<_>>().join(" ");
        let expected = format!("has the cluster port {ip}:8300, and {flag} is given");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("--cluster-listen chooses another"), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
    drop(taken);
    first.start_again();
    assert_eq!(first.address("cluster").port(), 8300);
    eventually(LIMIT, || has_voters(&first, 2)).unwrap();
}
