//! A task that the node cannot do without ends the node when it ends.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portolan_catalog::Timestamp;
use portolan_replica::disk::MemoryDisk;
use portolan_replica::{Directory, Replica};

use crate::support::{One, options, propose, put, until};

/// A replica whose wall clock panics once it is told to, and what its fatal hook heard.
async fn broken_clock(propose_too: bool) -> String {
    let broken = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(Mutex::new(String::new()));
    let directory = Directory::Disk(Arc::new(MemoryDisk::new()));
    let mut options = options(directory);
    let (breaks, hears) = (broken.clone(), heard.clone());
    options.wall = Arc::new(move || {
        assert!(!breaks.load(Ordering::Relaxed), "the clock is broken");
        Timestamp(1_700_000_000_000)
    });
    options.fatal = Box::new(move |error| *hears.lock().unwrap() = error.to_string());
    let (replica, registry) = Replica::start(options).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    if propose_too {
        // Its outcome is unknown: whoever should have decided has ended.
        assert!(propose(&registry, put("k", "v")).await.is_err());
    }
    until("the node ends", || replica.failed()).await;
    heard.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_proposer_ends_the_node() {
    // In one thread, time passes only when nobody has anything to do: housekeeping does not come first.
    let _entered = portolan_environment::enter(Arc::new(One));
    let said = broken_clock(true).await;
    assert!(said.starts_with("the proposer of data directory"), "{said}");
    assert!(said.contains("the clock is broken"), "{said}");
}

#[tokio::test]
async fn a_panic_of_the_clock_or_of_housekeeping_ends_the_node() {
    let said = broken_clock(false).await;
    assert!(
        said.starts_with("the lease clock of data directory"),
        "{said}"
    );
}
