//! Stops and starts on a real directory.

use portolan_catalog::stored::LEVEL;
use portolan_catalog::{Command, InstanceKey, LeaseId, Op, Protocol, Refusal, Revision, Write};
use portolan_registry::Renewed;
use portolan_replica::{Directory, Options, Replica, StartError, offline};

use crate::support::{
    assert_same, batches, bootstrap, options, propose, put, register, start, value, wall,
};

#[tokio::test]
async fn a_restart_keeps_state_revision_and_history() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Directory::Path(directory.path().to_owned());
    let (replica, registry) = start(place()).await.unwrap();
    assert_eq!(registry.snapshot().revision(), Revision::FIRST);
    let status = replica.status();
    assert_eq!(status.leader, Some(status.node_id));
    for round in 0..50 {
        let settled = propose(&registry, put(&format!("k{}", round % 7), vec![round; 100]))
            .await
            .unwrap();
        assert_eq!(settled.revision, Revision(u64::from(round) + 2));
    }
    propose(&registry, register("web", "10.0.0.1"))
        .await
        .unwrap();
    let before = registry.linearized().await.unwrap();
    let history = batches(&registry);
    assert_eq!(history.len(), 51);
    replica.shutdown().await;
    assert!(propose(&registry, put("k", "v")).await.is_err());
    drop((replica, registry));

    let (replica, registry) = start(place()).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    assert_eq!(batches(&registry), history);
    // Leases have their full time again.
    let lease = LeaseId::Heartbeat(InstanceKey::new(Protocol::Eureka, "web/10.0.0.1"));
    assert!(registry.remaining(&lease).unwrap().as_secs() >= 89);
    assert!(matches!(registry.renew(&lease).await, Ok(Renewed::For(_))));
    let settled = propose(&registry, put("k", "after")).await.unwrap();
    assert_eq!(settled.revision, before.revision().next());
    let before = registry.snapshot();
    // Without a shutdown: as a kill would.
    drop(replica);
    drop(registry);
    let (replica, registry) = restart_when_free(place).await;
    assert_same(&registry.snapshot(), &before);
    replica.shutdown().await;
}

/// A dropped replica lets go of its directory a little later.
async fn restart_when_free(
    place: impl Fn() -> Directory,
) -> (Replica, portolan_registry::Registry) {
    for _ in 0..500 {
        match start(place()).await {
            Ok(started) => return started,
            Err(StartError::Identity(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the directory stayed locked");
}

#[tokio::test]
async fn snapshots_bound_the_log_and_hold_everything() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Directory::Path(directory.path().to_owned());
    let small = || {
        let mut options = options(place());
        options.snapshot_bytes = 256 << 10;
        options
    };
    let (replica, registry) = Replica::start(small()).await.unwrap();
    for round in 0..400u32 {
        let value: Vec<u8> = (0..5000u32).map(|at| (at * round) as u8).collect();
        propose(&registry, put(&format!("k{}", round % 11), value))
            .await
            .unwrap();
    }
    crate::support::until("a snapshot", || replica.stats().snapshots.get() > 0).await;
    propose(&registry, put("last", "one")).await.unwrap();
    let before = registry.snapshot();
    replica.shutdown().await;
    assert!(replica.stats().log_entries.get() < 400);
    drop((replica, registry));
    let (replica, registry) = Replica::start(small()).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    assert!(replica.status().snapshot_bytes > 0);
    replica.shutdown().await;
}

#[tokio::test]
async fn a_directory_in_use_or_of_another_node_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Directory::Path(directory.path().to_owned());
    let (replica, _registry) = start(place()).await.unwrap();
    let error = start(place()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    replica.shutdown().await;
    drop(replica);
    let other = Options::new(place(), "n2", bootstrap(), wall());
    let error = Replica::start(other).await.unwrap_err().to_string();
    assert!(
        error.contains("belongs to node \"n1\", this is \"n2\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_saved_snapshot_restores_into_an_empty_directory_only() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let (replica, registry) = start(Directory::Path(place("a"))).await.unwrap();
    for round in 0..20 {
        propose(&registry, put(&format!("k{round}"), vec![round; 300]))
            .await
            .unwrap();
    }
    propose(&registry, register("web", "10.0.0.1"))
        .await
        .unwrap();
    let before = registry.snapshot();
    let file = place("saved");
    let length = offline::save(&before, replica.identity().cluster_id, &file).unwrap();
    replica.shutdown().await;

    let seen = offline::inspect(&file).unwrap();
    assert_eq!(seen.head.revision, before.revision().0);
    assert_same(&seen.state, &before);
    // Every damaged byte is found.
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes.len() as u64, length);
    let broken = place("broken");
    for at in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&broken, &bytes).unwrap();
        assert!(offline::inspect(&broken).is_err(), "byte {at}");
    }
    std::fs::write(&broken, &bytes[..bytes.len() - 1]).unwrap();
    assert!(offline::inspect(&broken).is_err());

    let mut number = 7;
    let mut draw = move || {
        number += 1;
        number
    };
    let error = offline::restore(&file, &place("a"), "n1", &mut draw).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    offline::restore(&file, &place("b"), "n1", &mut draw).unwrap();
    let (replica, registry) = start(Directory::Path(place("b"))).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    assert_eq!(value(&registry.snapshot(), "k3"), Some(vec![3; 300].into()));
    propose(&registry, put("k", "v")).await.unwrap();
    let before = registry.snapshot();
    replica.shutdown().await;
    drop((replica, registry));
    let (replica, registry) = start(Directory::Path(place("b"))).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    replica.shutdown().await;
}

/// Writes in each other, `levels` of them, with a put inside the innermost.
fn nested(levels: usize) -> Command {
    let Command::Write(mut write) = put("deep", "v") else {
        unreachable!()
    };
    for _ in 1..levels {
        write = Write::one(Op::Nested(write));
    }
    Command::Write(write)
}

#[tokio::test]
async fn what_could_not_be_read_again_is_refused_whoever_proposes_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Directory::Path(directory.path().to_owned());
    let (replica, registry) = start(place()).await.unwrap();
    // In one batch with others, which go on.
    let (first, deep, last, deepest) = tokio::join!(
        propose(&registry, put("first", "v")),
        propose(&registry, nested(65)),
        propose(&registry, put("last", "v")),
        propose(&registry, nested(64)),
    );
    assert!(first.unwrap().outcome.is_ok() && last.unwrap().outcome.is_ok());
    assert!(deepest.unwrap().outcome.is_ok());
    assert_eq!(
        deep.unwrap().outcome,
        Err(Refusal::Limit("levels of nesting"))
    );
    // A level that this version does not know is not raised either.
    let level = LEVEL + 1;
    let raised = propose(&registry, Command::RaiseLevel { level }).await;
    assert!(matches!(raised.unwrap().outcome, Err(Refusal::Limit(_))));
    let before = registry.linearized().await.unwrap();
    assert_eq!(before.level(), LEVEL);
    replica.shutdown().await;
    drop((replica, registry));
    let (replica, registry) = start(place()).await.unwrap();
    assert_same(&registry.snapshot(), &before);
    assert_eq!(value(&before, "deep").unwrap(), "v");
    replica.shutdown().await;
}
