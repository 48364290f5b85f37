//! A disk in memory that can crash, fail and fill up.
//!
//! Bytes and names are kept twice: as the running process sees them and as they would be after a power loss. Each call that changes
//! something is counted, so that a test can run a script once, learn the number of calls, and then fail or crash at each of them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenMode};

/// Sectors are written whole or not at all.
const SECTOR: u64 = 512;

/// What a power loss leaves of the bytes that were written but not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing unsynced survives.
    LoseAll,
    /// Everything survives, as when only the process was killed.
    KeepAll,
    /// Each unsynced sector and name survives or not, decided by this seed.
    Tear(u64),
}

/// A directory in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

type FileId = u64;

#[derive(Debug, Default)]
struct Content {
    files: BTreeMap<FileId, Bytes>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    next_id: FileId,
    calls: u64,
    fail_at: Option<u64>,
    crash_at: Option<(u64, Crash)>,
    crashed: bool,
    life: u64,
    capacity: Option<u64>,
}

#[derive(Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

/// What a counted call is told to do.
enum Verdict {
    Go,
    /// Do half of it, then lose power.
    Torn(Crash),
}

impl MemoryDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of changing calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The `call`-th changing call from now on (1 is the next) fails with an input/output error, once.
    pub fn fail_at(&self, call: u64) {
        let mut content = self.lock();
        content.fail_at = Some(content.calls + call);
    }

    /// Power is lost in the middle of the `call`-th changing call from now on; later calls fail until [`MemoryDisk::restart`].
    pub fn crash_at(&self, call: u64, how: Crash) {
        let mut content = self.lock();
        content.crash_at = Some((content.calls + call, how));
    }

    /// A failure or crash that is planned and has not happened will not.
    pub fn forget_faults(&self) {
        let mut content = self.lock();
        (content.crash_at, content.fail_at) = (None, None);
    }

    /// Whether the planned crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Loses power now, then turns it on again: files opened before are dead.
    pub fn restart(&self, how: Crash) {
        let mut content = self.lock();
        if !content.crashed {
            content.crash(how);
        }
        content.crashed = false;
        content.crash_at = None;
        content.fail_at = None;
        content.life += 1;
    }

    /// The sum of all file lengths.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Limits the sum of all file lengths; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The content of a file as the process sees it.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let content = self.lock();
        let id = content.names.get(name)?;
        Some(content.files.get(id)?.now.clone())
    }

    /// Replaces a file durably, without counting: corrupts a file.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut content = self.lock();
        let id = content.next_id;
        content.next_id += 1;
        content.files.insert(
            id,
            Bytes {
                now: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            },
        );
        content.names.insert(name.to_owned(), id);
        content.durable_names.insert(name.to_owned(), id);
    }

    /// A copy that shares nothing with this disk, without planned faults; what is written counts as durable there.
    #[must_use]
    pub fn duplicate(&self) -> MemoryDisk {
        let copy = MemoryDisk::new();
        let content = self.lock();
        for (name, id) in &content.names {
            if let Some(bytes) = content.files.get(id) {
                copy.put(name, bytes.now.clone());
            }
        }
        copy
    }
}

impl Content {
    /// Counts a changing call and says whether it fails.
    fn count(&mut self, life: u64) -> io::Result<Verdict> {
        self.alive(life)?;
        self.calls += 1;
        if self.fail_at == Some(self.calls) {
            self.fail_at = None;
            return Err(io::Error::from_raw_os_error(5));
        }
        match self.crash_at {
            Some((at, how)) if at == self.calls => Ok(Verdict::Torn(how)),
            _ => Ok(Verdict::Go),
        }
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if self.crashed || life != self.life {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn crash(&mut self, how: Crash) {
        self.crashed = true;
        let mut coin = Coin::new(how);
        let mut names = self.durable_names.clone();
        for name in self.names.keys().chain(self.durable_names.keys()) {
            if coin.survives() {
                match self.names.get(name) {
                    Some(id) => names.insert(name.clone(), *id),
                    None => names.remove(name),
                };
            }
        }
        for bytes in self.files.values_mut() {
            bytes.crash(&mut coin);
        }
        self.names = names.clone();
        self.durable_names = names;
        let kept: Vec<FileId> = self.names.values().copied().collect();
        self.files.retain(|id, _| kept.contains(id));
    }

    fn die(&mut self, how: Crash) -> io::Error {
        self.crash(how);
        io::Error::other("the power went off")
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|id| self.files.get(id))
            .map(|bytes| bytes.now.len() as u64)
            .sum()
    }
}

impl Bytes {
    fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        lay_over(&mut self.now, offset, &bytes);
        self.pending.push((offset, bytes));
    }

    /// All of it is durable: the cost follows what was written since the last time.
    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            lay_over(&mut self.durable, offset, &bytes);
        }
    }

    fn crash(&mut self, coin: &mut Coin) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            let mut start = 0;
            while start < bytes.len() {
                let at = offset + start as u64;
                let end = bytes.len().min(start + (SECTOR - at % SECTOR) as usize);
                if coin.survives() {
                    lay_over(&mut self.durable, at, &bytes[start..end]);
                }
                start = end;
            }
        }
        self.now = self.durable.clone();
    }
}

fn lay_over(target: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[start..end].copy_from_slice(bytes);
}

/// Decides what survives; a small generator so that a seed repeats.
struct Coin {
    how: Crash,
    state: u64,
}

impl Coin {
    fn new(how: Crash) -> Self {
        let state = match how {
            Crash::Tear(seed) => seed.wrapping_mul(2).wrapping_add(1),
            Crash::LoseAll | Crash::KeepAll => 1,
        };
        Coin { how, state }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn survives(&mut self) -> bool {
        match self.how {
            Crash::LoseAll => false,
            Crash::KeepAll => true,
            Crash::Tear(_) => self.next().is_multiple_of(2),
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut content = self.lock();
        let life = content.life;
        content.alive(life)?;
        let present = content.names.get(name).copied();
        let id = match (mode, present) {
            (OpenMode::Read | OpenMode::Write, Some(id)) => id,
            (OpenMode::Read | OpenMode::Write, None) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (OpenMode::Create, _) => {
                if let Verdict::Torn(how) = content.count(life)? {
                    return Err(content.die(how));
                }
                let id = content.next_id;
                content.next_id += 1;
                content.files.insert(id, Bytes::default());
                content.names.insert(name.to_owned(), id);
                id
            }
        };
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            id,
            life,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut content = self.lock();
        let life = content.life;
        let verdict = content.count(life)?;
        let id = content.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.names.insert(to.to_owned(), id);
        match verdict {
            Verdict::Go => Ok(()),
            Verdict::Torn(how) => Err(content.die(how)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut content = self.lock();
        let life = content.life;
        let verdict = content.count(life)?;
        content.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        match verdict {
            Verdict::Go => Ok(()),
            Verdict::Torn(how) => Err(content.die(how)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let content = self.lock();
        content.alive(content.life)?;
        Ok(content.names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut content = self.lock();
        let life = content.life;
        match content.count(life)? {
            Verdict::Go => {
                content.durable_names = content.names.clone();
                Ok(())
            }
            Verdict::Torn(how) => Err(content.die(how)),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let content = self.lock();
        content.alive(content.life)?;
        Ok(content
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(content.used())))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    id: FileId,
    life: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut Bytes) -> T) -> io::Result<T> {
        let mut content = self.disk.lock();
        content.alive(self.life)?;
        // A replaced or removed file lives on for whoever has it open.
        Ok(work(content.files.entry(self.id).or_default()))
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for part in parts.iter() {
            bytes.extend_from_slice(part);
        }
        let mut content = self.disk.lock();
        let verdict = content.count(self.life)?;
        let length = content
            .files
            .get(&self.id)
            .map_or(0, |file| file.now.len() as u64);
        let growth = (offset + bytes.len() as u64).saturating_sub(length);
        if let Some(capacity) = content.capacity
            && growth > 0
            && content.used() + growth > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content
            .files
            .entry(self.id)
            .or_default()
            .write(offset, bytes);
        match verdict {
            Verdict::Go => Ok(()),
            Verdict::Torn(how) => Err(content.die(how)),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|bytes| {
            let start = (offset as usize).min(bytes.now.len());
            let count = buffer.len().min(bytes.now.len() - start);
            buffer[..count].copy_from_slice(&bytes.now[start..start + count]);
            count
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.disk.lock();
        let verdict = content.count(self.life)?;
        if let Verdict::Torn(how) = verdict {
            return Err(content.die(how));
        }
        content.files.entry(self.id).or_default().sync();
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let have = self.length()?;
        if have >= length {
            return Ok(());
        }
        let zeros = vec![0; (length - have) as usize];
        self.write_at(have, &mut [IoSlice::new(&zeros)])
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.now.len() as u64)
    }
}
