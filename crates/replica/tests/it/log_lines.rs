//! What is in the log when something begins and when it is over.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_environment::{Answer, Channel, Peer, Transport};
use portolan_registry::{Registry, Unavailable};
use portolan_replica::disk::MemoryDisk;
use portolan_replica::{Cluster, Directory, Replica};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{One, options, propose, put};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

impl Lines {
    fn count(&self, part: &str) -> usize {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| line.contains(part)).count()
    }
}

fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_said_when_it_begins_and_when_it_is_over() {
    let _entered = portolan_environment::enter(Arc::new(One));
    let (lines, _guard) = listen();
    let disk = MemoryDisk::new();
    let directory = Directory::Disk(Arc::new(disk.clone()));
    let (replica, registry) = Replica::start(options(directory)).await.unwrap();
    let value = vec![b'v'; 1000];
    disk.set_capacity(Some(160 << 10));
    let refused = async {
        loop {
            match propose(&registry, put("k", value.clone())).await {
                Err(Unavailable::Full) => break,
                other => drop(other.unwrap()),
            }
        }
    };
    refused.await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lines.count("the disk of the data directory is full"), 1);
    assert_eq!(lines.count("has space again"), 0);
    disk.set_capacity(None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    propose(&registry, put("k", value)).await.unwrap();
    assert_eq!(lines.count("the disk of the data directory is full"), 1);
    assert_eq!(lines.count("has space again"), 1);
    replica.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_said_when_it_begins_and_when_it_is_over() {
    let _entered = portolan_environment::enter(Arc::new(One));
    let (lines, _guard) = listen();
    let directory = Directory::Disk(Arc::new(MemoryDisk::new()));
    let mut few = options(directory);
    few.limits.queue = 4;
    few.limits.queue_wait = Duration::ZERO;
    let (replica, registry) = Replica::start(few).await.unwrap();
    for _ in 0..3 {
        let all = (0..100).map(|_| propose(&registry, put("k", "v")));
        let busy = futures_util::future::join_all(all)
            .await
            .into_iter()
            .filter(|answer| matches!(answer, Err(Unavailable::Busy)))
            .count();
        assert!(busy > 0);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(lines.count("overload: more writes wait"), 1);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(lines.count("overload: more writes wait"), 1);
    assert_eq!(lines.count("the overload is over"), 1);
    replica.shutdown().await;
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

/// Three servers that call each other, until the line is cut.
#[derive(Default)]
struct Line {
    peers: Mutex<BTreeMap<(u64, Channel), Arc<dyn Peer>>>,
    cut: AtomicBool,
}

#[derive(Debug)]
struct End(u64, Arc<Line>);

impl Transport for End {
    fn call<'a>(
        &'a self,
        to: u64,
        _: &'a str,
        channel: Channel,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a> {
        let peer = self.1.peers.lock().unwrap().get(&(to, channel)).cloned();
        Box::pin(async move {
            match peer.filter(|_| !self.1.cut.load(Ordering::Relaxed)) {
                Some(peer) => peer.answer(self.0, request).await,
                None => {
                    tokio::time::sleep(limit).await;
                    Err(io::ErrorKind::TimedOut.into())
                }
            }
        })
    }

    fn serve(&self, channel: Channel, peer: Arc<dyn Peer>) {
        let mut peers = self.1.peers.lock().unwrap();
        peers.insert((self.0, channel), peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_leader_is_said_when_it_begins_and_when_it_is_over() {
    let _entered = portolan_environment::enter(Arc::new(One));
    let (lines, _guard) = listen();
    let line = Arc::new(Line::default());
    let mut servers = Vec::new();
    for id in 1..=3 {
        let mut member = options(Directory::Disk(Arc::new(MemoryDisk::new())));
        member.cluster = Some(Cluster {
            cluster_id: 5,
            node_id: id,
            members: (1..=3).map(|id| (id, String::new())).collect(),
        });
        member.transport = Arc::new(End(id, line.clone()));
        servers.push(Replica::start(member).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let leaders = |servers: &[(Replica, Registry)]| {
        servers
            .iter()
            .filter(|(_, registry)| registry.leads())
            .count()
    };
    assert_eq!(leaders(&servers), 1);
    assert_eq!(lines.count("no leader"), 0);
    line.cut.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(
        leaders(&servers),
        0,
        "one that is cut off decides no longer than an election takes"
    );
    assert_eq!(lines.count("no leader"), 0, "it could be an election");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(leaders(&servers), 0);
    assert_eq!(lines.count("no leader"), 3, "once on each server");
    assert!(
        servers
            .iter()
            .all(|(replica, _)| replica.status().leader.is_none())
    );
    assert_eq!(lines.count("there is a leader again"), 0);
    line.cut.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(lines.count("no leader"), 3);
    assert_eq!(lines.count("there is a leader again"), 3);
    assert!(
        servers
            .iter()
            .all(|(replica, _)| replica.status().leader.is_some())
    );
    assert_eq!(leaders(&servers), 1);
    for (replica, _) in &servers {
        replica.shutdown().await;
    }
}
