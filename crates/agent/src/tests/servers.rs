//! Servers in this process, which can be cut off, and can lose everything.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{LeaseId, Outcome, stored};
use portolan_cluster::forward::{Place, Renewal};
use portolan_environment::Answer;
use portolan_registry::{LocalOptions, Member, MemberChange, Registry, Renewed, Unavailable};
use tokio::time::Instant;

use crate::{FeedServer, FromLeader, Servers, Soon};

#[derive(Debug)]
pub(crate) struct Local {
    now: Mutex<(Registry, FeedServer)>,
    up: AtomicBool,
    /// Batches that arrive late, while that is wanted: whoever handed them in is not told what became of them.
    late: Mutex<Option<Vec<Bytes>>>,
    pub(crate) proposals: AtomicU64,
    pub(crate) renewals: AtomicU64,
}

fn begin() -> (Registry, FeedServer) {
    let registry = Registry::local(&LocalOptions::default());
    let feed = FeedServer::new(registry.clone());
    (registry, feed)
}

impl Local {
    pub(crate) fn new() -> Arc<Local> {
        Arc::new(Local {
            now: Mutex::new(begin()),
            up: AtomicBool::new(true),
            late: Mutex::new(None),
            proposals: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
        })
    }

    pub(crate) fn registry(&self) -> Registry {
        self.now.lock().unwrap().0.clone()
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
    }

    /// From here on nothing that is handed in is decided before [`Local::decide_late`].
    pub(crate) fn hold_back(&self) {
        self.late.lock().unwrap().get_or_insert_default();
    }

    /// From here on what is handed in is decided at once again; what was held back stays so.
    pub(crate) fn go_on(&self) -> Vec<Bytes> {
        self.late.lock().unwrap().take().unwrap()
    }

    /// Decides what was held back.
    pub(crate) async fn decide_late(&self, held_back: Vec<Bytes>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for batch in held_back {
            for entry in stored::decode_entries(&batch).unwrap() {
                let decided = self.registry().propose(entry.cause, entry.command).await;
                outcomes.push(decided.unwrap().outcome);
            }
        }
        outcomes
    }

    /// The servers lose everything and begin anew.
    pub(crate) fn lose_everything(&self) {
        *self.now.lock().unwrap() = begin();
    }

    fn up(&self) -> Result<(Registry, FeedServer), Unavailable> {
        match self.up.load(Ordering::Acquire) {
            true => Ok(self.now.lock().unwrap().clone()),
            false => Err(Unavailable::NoLeader),
        }
    }
}

impl Servers for Local {
    fn belong(&self, _: u64) {}

    fn meet(&self) -> Soon<'_, io::Result<u64>> {
        Box::pin(async {
            let (registry, _) = self.up().map_err(io::Error::other)?;
            Ok(registry.entries().reached().0)
        })
    }

    fn feed(&self, request: Vec<u8>, _: Duration) -> Answer<'_> {
        Box::pin(async move {
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            let (_, feed) = self.up().map_err(refused)?;
            let answer = feed.answer(&request).await?;
            // An answer that was under way when the servers went does not arrive.
            self.up().map_err(refused)?;
            Ok(answer)
        })
    }

    fn turn(&self) {}

    fn heard(&self, _: &[Member]) {}

    fn propose(&self, entries: Bytes, _: Instant) -> FromLeader<'_, Place> {
        Box::pin(async move {
            let (registry, _) = self.up()?;
            if let Some(held_back) = &mut *self.late.lock().unwrap() {
                held_back.push(entries);
                return Err(Unavailable::Unknown);
            }
            let mut index = 0;
            for entry in stored::decode_entries(&entries).unwrap() {
                self.proposals.fetch_add(1, Ordering::Relaxed);
                registry.propose(entry.cause, entry.command).await?;
                index = registry.entries().reached().1.index;
            }
            // A local registry has an entry for each command, which tests propose one at a time.
            Ok(Place { index, offset: 0 })
        })
    }

    fn renew(&self, leases: Vec<LeaseId>, _: Instant) -> FromLeader<'_, Vec<Renewal>> {
        Box::pin(async move {
            let (registry, _) = self.up()?;
            let mut renewed = Vec::new();
            for lease in leases {
                self.renewals.fetch_add(1, Ordering::Relaxed);
                renewed.push(match registry.renew(&lease).await? {
                    Renewed::For(time) => Renewal::For(time.as_millis() as u64),
                    Renewed::Unknown => Renewal::Unknown,
                });
            }
            Ok(renewed)
        })
    }

    fn remaining(
        &self,
        leases: Vec<LeaseId>,
        _: Instant,
    ) -> FromLeader<'_, Vec<Option<(u64, u64)>>> {
        Box::pin(async move {
            let (registry, _) = self.up()?;
            let time = |lease: &LeaseId| {
                let left = registry.remaining(lease)?;
                Some((left.as_millis() as u64, 0))
            };
            Ok(leases.iter().map(time).collect())
        })
    }

    fn barrier(&self, _: Instant) -> FromLeader<'_, u64> {
        Box::pin(async move { Ok(self.up()?.0.entries().reached().1.index) })
    }

    fn change(&self, _: MemberChange) -> Soon<'_, Result<(), String>> {
        Box::pin(async { Err("there is one".to_owned()) })
    }
}
