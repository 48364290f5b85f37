//! A server's disk: one in memory that loses what was not synced, and whose syncs may take long.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portolan_replica::disk::{Crash, Disk, DiskFile, MemoryDisk, OpenMode};

use crate::world::World;

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    inner: MemoryDisk,
    server: u64,
    world: Arc<World>,
    sync_ms: Arc<AtomicU64>,
    full: Arc<AtomicBool>,
}

impl SimDisk {
    pub(crate) fn new(server: u64, world: &Arc<World>) -> SimDisk {
        SimDisk {
            inner: MemoryDisk::new(),
            server,
            world: world.clone(),
            sync_ms: Arc::default(),
            full: Arc::default(),
        }
    }

    /// How long a sync takes from now on. The server stands still meanwhile, as its log's thread does.
    pub(crate) fn set_sync_ms(&self, ms: u64) {
        self.sync_ms.store(ms, Ordering::Relaxed);
    }

    /// There is space for a few more bytes only, or as much as there is.
    pub(crate) fn set_full(&self, full: bool) {
        let used = self.inner.used();
        self.inner.set_capacity(full.then_some(used));
        self.full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn crash_at(&self, call: u64, left: Crash) {
        self.inner.crash_at(call, left);
    }

    pub(crate) fn fail_at(&self, call: u64) {
        self.inner.fail_at(call);
    }

    /// What was planned and has not happened will not.
    pub(crate) fn forget_faults(&self) {
        self.inner.forget_faults();
    }

    pub(crate) fn crashed(&self) -> bool {
        self.inner.crashed()
    }

    pub(crate) fn restart(&self, left: Crash) {
        self.inner.restart(left);
    }

    fn synced(&self) {
        let ms = self.sync_ms.load(Ordering::Relaxed);
        if ms > 0 {
            self.world.hold_up(self.server, ms);
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SimFile {
            inner: self.inner.open(name, mode)?,
            disk: self.clone(),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.synced();
        self.inner.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn place(&self) -> String {
        format!("server-{}", self.server)
    }
}

#[derive(Debug)]
struct SimFile {
    inner: Arc<dyn DiskFile>,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_at(offset, parts)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.synced();
        self.inner.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.inner.allocate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}
