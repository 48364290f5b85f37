//! A disk that fills up under a running replica, and has room again.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{InstanceKey, LeaseId, Protocol};
use portolan_registry::{Renewed, Unavailable};
use portolan_replica::disk::MemoryDisk;
use portolan_replica::{Directory, Replica};

use crate::support::{options, propose, put, register, until, value};

#[tokio::test]
async fn writes_are_refused_reads_and_renewals_go_on_writes_resume() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(400 << 10));
    let mut options = options(Directory::Disk(Arc::new(disk.clone())));
    options.fatal = Box::new(|error| panic!("{error}"));
    let (replica, registry) = Replica::start(options).await.unwrap();
    propose(&registry, register("web", "10.0.0.1"))
        .await
        .unwrap();
    let mut written = 0;
    let refused = loop {
        // Different bytes, so that snapshots do not compress them away.
        let value: Vec<u8> = (0..4000u64)
            .map(|at| (at.wrapping_mul(written * 7919 + 104_729) >> 7) as u8)
            .collect();
        match propose(&registry, put(&format!("k{written}"), value)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000);
    };
    assert_eq!(refused, Unavailable::Full);
    assert!(written > 20, "{written}");
    assert!(replica.status().disk_full);
    // Reads, strong ones included, and renewals go on.
    let state = registry.linearized().await.unwrap();
    assert!(value(&state, "k3").is_some());
    let lease = LeaseId::Heartbeat(InstanceKey::new(Protocol::Eureka, "web/10.0.0.1"));
    assert!(matches!(registry.renew(&lease).await, Ok(Renewed::For(_))));
    assert!(!replica.failed());
    // Space returns: nobody has to do anything.
    disk.set_capacity(Some(64 << 20));
    until("room", || !replica.status().disk_full).await;
    propose(&registry, put("after", "it")).await.unwrap();
    assert!(replica.stats().refused_full.get() > 0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    replica.shutdown().await;
}

#[tokio::test]
async fn a_later_version_starts_on_a_full_disk_and_answers_reads() {
    let disk = MemoryDisk::new();
    let start = |version: &str| {
        let mut options = options(Directory::Disk(Arc::new(disk.clone())));
        options.fatal = Box::new(|error| panic!("{error}"));
        version.clone_into(&mut options.version);
        Replica::start(options)
    };
    let (replica, registry) = start("1").await.unwrap();
    propose(&registry, put("before", "it")).await.unwrap();
    replica.shutdown().await;
    drop((replica, registry));
    disk.set_capacity(Some(disk.used()));
    let (replica, registry) = start("2").await.unwrap();
    until("what was decided", || {
        registry.read(|state| value(state, "before").is_some())
    })
    .await;
    // Space returns, and the next start notes its version.
    disk.set_capacity(None);
    until("room", || !replica.status().disk_full).await;
    replica.shutdown().await;
    drop((replica, registry));
    let (replica, _registry) = start("2").await.unwrap();
    let noted = disk.content("version").unwrap();
    assert!(noted.starts_with(b"2\n"), "{noted:?}");
    replica.shutdown().await;
}
