//! A crash and an error at every disk call of a running replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_catalog::{Batch, Command, Keyspace, State};
use portolan_registry::Registry;
use portolan_replica::disk::{Crash, MemoryDisk};
use portolan_replica::{Directory, Replica, StartError};

use crate::support::{assert_same, batches, options, propose, put, register, value};

async fn start(disk: &MemoryDisk) -> Result<(Replica, Registry), StartError> {
    let mut options = options(Directory::Disk(Arc::new(disk.clone())));
    // So that the script crosses segments and a snapshot.
    options.snapshot_bytes = 24 << 10;
    Replica::start(options).await
}

/// About sixty operations of different kinds.
fn script() -> Vec<Command> {
    let mut commands = Vec::new();
    for round in 0..15u8 {
        commands.push(put(&format!("k{}", round % 4), vec![round; 100]));
        commands.push(register(
            &format!("s{}", round % 3),
            &format!("10.0.0.{round}"),
        ));
        commands.push(put(&format!("big{round}"), vec![round; 3000]));
        commands.push(put("same", vec![round]));
    }
    commands
}

/// What answers vouched for: the last state, and what led to it as far as that could be read.
struct Acknowledged {
    state: Arc<State>,
    history: Vec<Arc<Batch>>,
}

/// Runs the script until something fails. Gives back what was acknowledged: the last state that an answer vouched for.
async fn run(disk: &MemoryDisk) -> (usize, Option<Acknowledged>) {
    let Ok((replica, registry)) = start(disk).await else {
        return (0, None);
    };
    let mut acknowledged = Acknowledged {
        state: registry.snapshot(),
        history: batches(&registry),
    };
    let mut done = 0;
    for command in script() {
        if propose(&registry, command).await.is_err() {
            break;
        }
        done += 1;
        acknowledged.state = registry.snapshot();
        let revision = acknowledged.state.revision();
        // It may be in a file by now, and the disk may have failed since.
        let batch = registry.history().batch(revision).ok().flatten();
        acknowledged.history.extend(batch);
    }
    if done == script().len() {
        replica.shutdown().await;
    }
    (done, Some(acknowledged))
}

#[tokio::test]
async fn everything_acknowledged_survives_a_crash_at_every_call() {
    let disk = MemoryDisk::new();
    let (done, _) = run(&disk).await;
    assert_eq!(done, script().len());
    let calls = disk.calls();
    assert!(calls > 120, "{calls}");
    for call in 1..=calls {
        for how in [
            Crash::LoseAll,
            Crash::Tear(call * 31),
            Crash::Tear(call * 7),
        ] {
            let disk = MemoryDisk::new();
            disk.crash_at(call, how);
            let (done, acknowledged) = run(&disk).await;
            disk.restart(how);
            let (replica, registry) = start(&disk)
                .await
                .unwrap_or_else(|error| panic!("call {call}, {how:?}: {error}"));
            let Some(acknowledged) = acknowledged else {
                continue;
            };
            check(&registry, &acknowledged, done, call, how);
            propose(&registry, put("after", "it")).await.unwrap();
            let before = registry.snapshot();
            replica.shutdown().await;
            disk.restart(Crash::LoseAll);
            let (_replica, registry) = start(&disk).await.unwrap();
            assert_same(&registry.snapshot(), &before);
            assert_eq!(batches(&registry).len() as u64, before.revision().0 - 1);
        }
    }
}

/// The found state is the acknowledged one, or has the one command that was in flight besides; the history led to it.
fn check(registry: &Registry, acknowledged: &Acknowledged, done: usize, call: u64, how: Crash) {
    let place = format!("call {call}, {how:?}, {done} acknowledged");
    let found = registry.snapshot();
    let (at, expected) = (found.revision(), acknowledged.state.revision());
    assert!(
        at == expected || at == expected.next(),
        "{place}: {at}, {expected}"
    );
    let then = registry.past(None, expected).unwrap();
    let then = then.everything(Some(Keyspace::Etcd)).unwrap();
    assert!(then.same_rows(&acknowledged.state), "{place}: rows differ");
    let mut history = batches(registry);
    history.retain(|batch| batch.revision <= expected);
    let known = &acknowledged.history;
    let also = history
        .iter()
        .filter(|batch| known.iter().any(|k| k.revision == batch.revision));
    assert!(also.eq(known), "{place}: histories differ");
    assert_eq!(history.len() as u64, expected.0 - 1, "{place}");
    if done > 0 {
        assert!(value(&found, "k0").is_some(), "{place}");
    }
}

#[tokio::test]
async fn an_error_at_every_call_ends_through_the_hook() {
    let disk = MemoryDisk::new();
    run(&disk).await;
    let calls = disk.calls();
    for call in (1..=calls).step_by(3) {
        let disk = MemoryDisk::new();
        disk.fail_at(call);
        let fired = Arc::new(AtomicU64::new(0));
        let counter = fired.clone();
        let mut options = options(Directory::Disk(Arc::new(disk.clone())));
        options.snapshot_bytes = 24 << 10;
        options.fatal = Box::new(move |error| {
            assert!(error.to_string().contains("data directory"));
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut acknowledged = None;
        let mut failed = false;
        match Replica::start(options).await {
            // Before there is a log, the start itself says what failed.
            Err(_) => failed = true,
            Ok((replica, registry)) => {
                for command in script() {
                    if propose(&registry, command).await.is_err() {
                        failed = true;
                        break;
                    }
                    acknowledged = Some(registry.snapshot());
                }
                replica.shutdown().await;
                failed |= replica.failed();
                if failed {
                    assert_eq!(fired.load(Ordering::Relaxed), 1, "call {call}");
                }
            }
        }
        assert!(failed || disk.calls() < call, "call {call} was not noticed");
        disk.restart(Crash::LoseAll);
        let (_replica, registry) = start(&disk).await.unwrap();
        if let Some(acknowledged) = acknowledged {
            let expected = acknowledged.revision();
            assert!(registry.snapshot().revision() >= expected, "call {call}");
            let then = registry.past(None, expected).unwrap();
            let then = then.everything(Some(Keyspace::Etcd)).unwrap();
            assert!(then.same_rows(&acknowledged), "call {call}");
        }
    }
}
