//! openraft's own suite on this log and state machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use portolan_catalog::{Batch, LeaseId, State};
use portolan_registry::Mark;

use super::machine::{Machine, Publish};
use super::store::Store;
use super::types::Types;
use crate::disk::{Disk, MemoryDisk};
use crate::fatal::Fatal;
use crate::log::Log;
use crate::snapshot::Snapshots;
use crate::space::SpaceOptions;
use crate::stats::Stats;

struct Silent;

impl Publish for Silent {
    fn earlier(&mut self, _: Vec<Arc<portolan_catalog::Batch>>) {}

    fn publish(&mut self, _: &State, _: Vec<Arc<Batch>>, _: Vec<LeaseId>) {}

    fn replace(&mut self, _: &State) {}

    fn applied(&mut self, _: Vec<(Mark, Bytes)>, _: u64, _: &State) {}

    fn begun(&mut self, _: u64, _: u64, _: &State) {}

    fn voters(&mut self, _: usize) {}
}

#[derive(Default)]
struct Fresh(AtomicU64);

impl StoreBuilder<Types, Store, Machine> for Fresh {
    async fn build(&self) -> Result<((), Store, Machine), StorageError<Types>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let fatal = Fatal::new("memory".to_owned(), |_| {});
        let stats = Arc::new(Stats::default());
        let options = SpaceOptions {
            segment_bytes: 64 << 10,
            first_segment_bytes: 16 << 10,
            reserve_bytes: 0,
            margin_bytes: 0,
        };
        let log = Log::open(disk.clone(), fatal.clone(), 7, options, stats.clone()).unwrap();
        let log = Arc::new(log);
        let snapshots = Arc::new(Snapshots::open(disk, fatal.clone()).unwrap());
        let machine = Machine::open(
            1,
            snapshots,
            log.clone(),
            fatal,
            stats,
            Box::new(Silent),
            Arc::default(),
        )
        .unwrap();
        Ok(((), Store::new(log), machine))
    }
}

#[tokio::test]
async fn the_suite_of_openraft_passes() {
    let builder = Fresh::default();
    Suite::test_store(&builder).await.unwrap();
    Suite::transfer_snapshot(&builder).await.unwrap();
    assert!(builder.0.load(Ordering::Relaxed) > 40);
}
