//! A data directory of the version whose snapshots held the history opens by itself, with nothing lost.

use std::sync::Arc;

use portolan_catalog::{Keyspace, Revision, ServiceKey};
use portolan_registry::Registry;
use portolan_replica::disk::{Crash, Disk, MemoryDisk};
use portolan_replica::{Directory, Replica};

use crate::support::{batches, options, propose, put, until};

/// The files; see the README beside them.
fn earlier() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/history");
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if name.starts_with("log-") {
            bytes.resize(4_202_496, 0);
        }
        if name != "README.md" {
            disk.put(&name, bytes);
        }
    }
    disk
}

async fn open(disk: &MemoryDisk, snapshot_bytes: u64) -> (Replica, Registry) {
    let mut options = options(Directory::Disk(Arc::new(disk.clone())));
    options.snapshot_bytes = snapshot_bytes;
    Replica::start(options).await.unwrap()
}

fn check(registry: &Registry) {
    assert_eq!(batches(registry)[..74].len(), 74);
    for put in 1..=60_u64 {
        let past = registry
            .past(Some(Keyspace::Etcd), Revision(put + 1))
            .unwrap();
        let key = format!("k{}", put % 7);
        let record = past.record(Keyspace::Etcd, key.as_bytes()).unwrap();
        assert_eq!(record.unwrap().bytes(), format!("value {put}"));
    }
    // The instance, born critical, then passing and failing in turns.
    let web = ServiceKey::plain("web");
    let serves = |revision| {
        let past = registry.past(None, Revision(revision)).unwrap();
        let then = past.service(&web).unwrap();
        then.endpoints(&web)
            .next()
            .map(|endpoint| endpoint.health.serves())
    };
    assert_eq!(serves(61), None);
    assert_eq!(serves(62), Some(false));
    for turn in 0..8 {
        assert_eq!(serves(63 + turn), Some(turn % 2 == 0), "{turn}");
    }
}

#[tokio::test]
async fn a_directory_of_the_earlier_version_opens_with_its_whole_history() {
    let disk = earlier();
    let (replica, registry) = open(&disk, 64 << 20).await;
    assert_eq!(registry.snapshot().revision(), Revision(75));
    check(&registry);
    // Killed before anything was moved: it is all still there.
    drop((replica, registry));
    disk.restart(Crash::LoseAll);
    let (replica, registry) = open(&disk, 1 << 10).await;
    check(&registry);
    // A snapshot of this version does not hold the history; files do.
    for round in 0..30_u8 {
        propose(&registry, put("k", vec![round; 100]))
            .await
            .unwrap();
    }
    let files = || disk.list().unwrap();
    until("history in files", || {
        files().iter().any(|name| name.starts_with("history-"))
    })
    .await;
    replica.shutdown().await;
    drop(registry);
    disk.restart(Crash::LoseAll);
    let (replica, registry) = open(&disk, 64 << 20).await;
    assert_eq!(registry.snapshot().revision(), Revision(105));
    check(&registry);
    replica.shutdown().await;
}
