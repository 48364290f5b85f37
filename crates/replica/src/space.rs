//! Room on the disk: the next segment prepared ahead, and a full disk seen before an entry reaches Raft.
//!
//! Invariants
//! - Entries are written only into files whose blocks were written before, so an append cannot meet a full disk. They hold nothing but
//!   zeros then, used ones too: what a write that was interrupted left out can be seen by that.
//! - While the disk is full the current segment is used up, then proposals are refused; reads and renewals never ask here.
//! - The reserve file is given up when the disk is full, so that a snapshot can be written and the log purged; a purged segment
//!   becomes the next one without needing space. Space that comes back is noticed within [`PROBE`].

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, DiskFile, OpenMode, is_full};
use crate::fatal::Fatal;
use crate::log::frame::{ENTRY_HEADER, frame_size};

/// How often a full disk is looked at again.
pub const PROBE: Duration = Duration::from_millis(500);
/// Room kept in every segment for votes, truncations and purges, in bytes.
pub(crate) const CONTROL: u64 = 4096;
/// How long after the start the first segment is prepared.
const SETTLE: Duration = Duration::from_millis(400);
/// Zeros are made durable in portions of this many bytes, so that the log's own barriers do not wait for all of them.
const PORTION: u64 = 4 << 20;
const SPARE: &str = "spare-zeros";
/// The spare of earlier versions, which may be a used segment as it was.
const USED_SPARE: &str = "spare";
const SPARE_TEMPORARY: &str = "spare.tmp";
const ASIDE: &str = "spare-aside.tmp";
const RESERVE: &str = "reserve";
const RESERVE_TEMPORARY: &str = "reserve.tmp";
const CHUNK: usize = 1 << 20;
/// A disk is called full before the last byte: metadata, identity and lock need some.
const MARGIN: u64 = 1 << 20;

/// Sizes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct SpaceOptions {
    /// Size of a segment; default 64 MiB.
    pub segment_bytes: u64,
    /// Size of the very first segment, small so that a first start is fast; default 4 MiB.
    pub first_segment_bytes: u64,
    /// Size of the reserve file; default 64 MiB; 0 = none.
    pub reserve_bytes: u64,
    /// Space that must stay free beside them; default 1 MiB.
    pub margin_bytes: u64,
}

impl Default for SpaceOptions {
    fn default() -> Self {
        SpaceOptions {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            reserve_bytes: 64 << 20,
            margin_bytes: MARGIN,
        }
    }
}

impl SpaceOptions {
    /// The defaults, made smaller for a disk on which they would be a large part.
    #[must_use]
    pub fn for_free(self, free: u64) -> Self {
        let share = (free / 8).max(2 << 20);
        SpaceOptions {
            segment_bytes: self.segment_bytes.min(share),
            first_segment_bytes: self.first_segment_bytes.min(share),
            reserve_bytes: self.reserve_bytes.min(share),
            margin_bytes: self.margin_bytes,
        }
    }
}

/// Whether a batch may be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Ready,
    /// The next segment is being prepared; ask again in a few milliseconds.
    Soon,
    /// The disk is full.
    Full,
}

/// Keeps the next segment ready. Shared by the log, the worker and the proposer.
#[derive(Debug)]
pub struct Space {
    disk: Arc<dyn Disk>,
    fatal: Fatal,
    options: SpaceOptions,
    room: AtomicU64,
    spare: AtomicU64,
    full: AtomicBool,
    /// Somebody waits for the spare.
    wanted: AtomicBool,
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    spare: Option<(Arc<dyn DiskFile>, u64)>,
    reserve: bool,
    retired: Vec<String>,
    stop: bool,
}

impl Space {
    /// Looks at what an earlier run left: the spare segment and the reserve.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        fatal: Fatal,
        options: SpaceOptions,
    ) -> io::Result<Arc<Self>> {
        let mut inner = Inner::default();
        let mut reserve = None;
        for name in disk.list()? {
            match name.as_str() {
                SPARE_TEMPORARY | ASIDE | RESERVE_TEMPORARY | USED_SPARE => disk.remove(&name)?,
                RESERVE => reserve = Some(disk.open(RESERVE, OpenMode::Read)?.length()?),
                SPARE => {
                    let file = disk.open(SPARE, OpenMode::Write)?;
                    let size = file.length()?;
                    let mut head = vec![0; CONTROL as usize];
                    let read = file.read_at(0, &mut head)?;
                    if head[..read].iter().any(|byte| *byte != 0) {
                        // A segment that was about to begin in it.
                        disk.remove(SPARE)?;
                    } else {
                        inner.spare = Some((file, size));
                    }
                }
                _ => {}
            }
        }
        // One that is too small holds nothing back; it was made by a server that was killed meanwhile, or for a smaller disk.
        inner.reserve = reserve.is_some_and(|bytes| bytes > 0 && bytes >= options.reserve_bytes);
        if reserve.is_some() && !inner.reserve {
            disk.remove(RESERVE)?;
        }
        let spare = inner.spare.as_ref().map_or(0, |(_, size)| *size);
        Ok(Arc::new(Space {
            disk,
            fatal,
            options,
            room: AtomicU64::new(0),
            spare: AtomicU64::new(spare),
            full: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            inner: Mutex::new(inner),
            wake: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a batch of this many bytes may be proposed now.
    #[must_use]
    pub fn room_for(&self, bytes: usize) -> Room {
        let need = frame_size(bytes + ENTRY_HEADER) + CONTROL;
        let spare = self.spare.load(Ordering::Acquire);
        if self.room.load(Ordering::Acquire) >= need || spare >= need + CONTROL {
            Room::Ready
        } else if self.full() {
            Room::Full
        } else if spare > 0 || need + CONTROL > self.options.segment_bytes {
            // No segment that is prepared will ever hold it: the log makes one of the right size when it rolls.
            let wanted = need + CONTROL + self.options.margin_bytes;
            match self.disk.free_bytes() {
                Ok(free) if free >= wanted => Room::Ready,
                Ok(_) | Err(_) => Room::Full,
            }
        } else {
            self.wanted.store(true, Ordering::Release);
            self.wake.notify_all();
            Room::Soon
        }
    }

    /// Whether [`Space::room_for`] is [`Room::Ready`].
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.room_for(bytes) == Room::Ready
    }

    /// Whether the next segment could not be prepared for lack of space.
    #[must_use]
    pub fn full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Bytes left in the current segment.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.room.load(Ordering::Acquire)
    }

    pub(crate) fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::Release);
    }

    /// Takes the spare if it holds `need` bytes, else makes a file of the right size on the spot, giving up the reserve if it must.
    ///
    /// `begin` gets the file, its size and its present name, which it must change before it returns: until then no other file can take
    /// that name.
    pub(crate) fn take<T>(
        &self,
        need: u64,
        begin: impl FnOnce(Arc<dyn DiskFile>, u64, &'static str) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.lock();
        self.wake.notify_all();
        if inner.spare.as_ref().is_some_and(|(_, size)| *size >= need)
            && let Some((file, size)) = inner.spare.take()
        {
            self.spare.store(0, Ordering::Release);
            return begin(file, size, SPARE);
        }
        let size = need.next_multiple_of(4096);
        let file = match self.write_zeros(SPARE_TEMPORARY, size) {
            Err(error) if is_full(&error) => {
                self.release_reserve(&mut inner)?;
                self.write_zeros(SPARE_TEMPORARY, size)?
            }
            made => made?,
        };
        begin(file, size, SPARE_TEMPORARY)
    }

    /// Gives files that hold nothing any more back: one becomes the spare, the others are removed by the worker.
    pub(crate) fn retire(&self, names: Vec<String>) {
        self.lock().retired.extend(names);
        self.wake.notify_all();
    }

    /// Removes the reserve so that a snapshot finds space.
    pub(crate) fn give_up_reserve(&self) -> io::Result<()> {
        self.release_reserve(&mut self.lock())
    }

    fn release_reserve(&self, inner: &mut Inner) -> io::Result<()> {
        if inner.reserve {
            self.disk.remove(RESERVE)?;
            inner.reserve = false;
        }
        Ok(())
    }

    fn write_zeros(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let made = self.try_write_zeros(name, size);
        if made.is_err() {
            // Best effort: what is left behind is removed at the next start.
            let _ = self.disk.remove(name);
        }
        made
    }

    fn try_write_zeros(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, OpenMode::Create)?;
        Self::fill_with_zeros(file.as_ref(), size)?;
        Ok(file)
    }

    /// Writes zeros over the whole file, in portions.
    fn fill_with_zeros(file: &dyn DiskFile, size: u64) -> io::Result<()> {
        let zeros = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut at = 0;
        while at < size {
            let count = (size - at).min(zeros.len() as u64);
            file.write_at(at, &mut [IoSlice::new(&zeros[..count as usize])])?;
            at += count;
            if at % PORTION == 0 && at < size {
                file.sync_data()?;
            }
        }
        file.sync_data()
    }

    /// One round of the worker: retired files, the spare, the reserve. Runs in a thread of its own, or inline where threads are not
    /// wanted.
    ///
    /// # Errors
    /// Only when the disk is broken; the fatal hook has been called. A full disk is not an error.
    pub fn work(&self) -> io::Result<()> {
        self.fatal.check()?;
        self.try_work()
            .map_err(|error| self.fatal.raise("preparing the next log segment", error))
    }

    fn try_work(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let retired = std::mem::take(&mut inner.retired);
        if !retired.is_empty() {
            let mut again = None;
            for name in retired {
                self.give_back(inner.spare.is_some(), &name, &mut again)?;
            }
            // A name that returned in a crash must not be that of a segment of zeros.
            self.disk.sync_directory()?;
            if let Some(size) = again {
                // The long write happens without the lock, as below.
                drop(inner);
                let file = self.disk.open(ASIDE, OpenMode::Write)?;
                let filled = Self::fill_with_zeros(file.as_ref(), size);
                inner = self.lock();
                match filled {
                    Ok(()) => self.adopt(&mut inner, file, size)?,
                    // Some file systems write elsewhere what is overwritten.
                    Err(error) if is_full(&error) => self.disk.remove(ASIDE)?,
                    Err(error) => return Err(error),
                }
            }
        }
        if inner.spare.is_none() {
            let mut need = self.options.segment_bytes + self.options.margin_bytes;
            if !inner.reserve {
                need += self.options.reserve_bytes;
            }
            if self.disk.free_bytes()? < need {
                self.full.store(true, Ordering::Release);
                return self.release_reserve(&mut inner);
            }
            // The long write happens without the lock: the log may have to roll meanwhile and then makes its own file.
            drop(inner);
            let made = self.write_zeros(ASIDE, self.options.segment_bytes);
            inner = self.lock();
            match made {
                Ok(file) => self.adopt(&mut inner, file, self.options.segment_bytes)?,
                Err(error) if is_full(&error) => {
                    self.full.store(true, Ordering::Release);
                    return self.release_reserve(&mut inner);
                }
                Err(error) => return Err(error),
            }
        }
        self.full.store(false, Ordering::Release);
        self.restore_reserve(&mut inner)
    }

    /// A file that is no longer needed is put aside to become the spare, if there is none and it is large enough; its blocks are kept.
    fn give_back(&self, spare: bool, name: &str, again: &mut Option<u64>) -> io::Result<()> {
        if !spare && again.is_none() {
            let size = self.disk.open(name, OpenMode::Read)?.length()?;
            if size >= self.options.segment_bytes {
                self.disk.rename(name, ASIDE)?;
                *again = Some(size);
                return Ok(());
            }
        }
        self.disk.remove(name)
    }

    /// Takes the zeros that were written aside as the spare, unless there is one by now.
    fn adopt(&self, inner: &mut Inner, file: Arc<dyn DiskFile>, size: u64) -> io::Result<()> {
        if inner.spare.is_some() {
            return self.disk.remove(ASIDE);
        }
        self.disk.rename(ASIDE, SPARE)?;
        self.disk.sync_directory()?;
        self.spare.store(size, Ordering::Release);
        inner.spare = Some((file, size));
        Ok(())
    }

    fn restore_reserve(&self, inner: &mut Inner) -> io::Result<()> {
        let size = self.options.reserve_bytes;
        if inner.reserve || size == 0 || self.disk.free_bytes()? < size + self.options.margin_bytes
        {
            return Ok(());
        }
        // It gets its name when it is whole and durable: a half-made one would be missed when it is needed.
        let file = self.disk.open(RESERVE_TEMPORARY, OpenMode::Create)?;
        match file.allocate(size).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.disk.rename(RESERVE_TEMPORARY, RESERVE)?;
                self.disk.sync_directory()?;
                inner.reserve = true;
                Ok(())
            }
            Err(error) if is_full(&error) => self.disk.remove(RESERVE_TEMPORARY),
            Err(error) => Err(error),
        }
    }

    /// Runs [`Space::work`] whenever something was taken or given back, and every [`PROBE`] while the disk is full, until
    /// [`Space::stop`] or a fatal error.
    pub(crate) fn run(&self) {
        // The disk belongs to the start at first, unless somebody needs a segment already.
        let calm = |inner: &mut Inner| !inner.stop && !self.wanted.load(Ordering::Acquire);
        drop(
            self.wake
                .wait_timeout_while(self.lock(), SETTLE, calm)
                .unwrap_or_else(PoisonError::into_inner),
        );
        loop {
            if self.work().is_err() {
                return;
            }
            self.wanted.store(false, Ordering::Release);
            let inner = self.lock();
            if inner.stop {
                return;
            }
            let wait = if self.full() || (!inner.reserve && self.options.reserve_bytes > 0) {
                PROBE
            } else {
                Duration::from_secs(3600)
            };
            let idle = |inner: &mut Inner| {
                !inner.stop && inner.retired.is_empty() && (inner.spare.is_some() || self.full())
            };
            let (inner, _) = self
                .wake
                .wait_timeout_while(inner, wait, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if inner.stop {
                return;
            }
        }
    }

    /// Ends [`Space::run`].
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Crash, MemoryDisk};

    fn options() -> SpaceOptions {
        SpaceOptions {
            segment_bytes: 64 << 10,
            first_segment_bytes: 64 << 10,
            reserve_bytes: 256 << 10,
            margin_bytes: 0,
        }
    }

    fn open(disk: &MemoryDisk) -> Arc<Space> {
        let fatal = Fatal::new("memory".to_owned(), |_| {});
        Space::open(Arc::new(disk.clone()), fatal, options()).unwrap()
    }

    /// Whatever a crash leaves while the reserve is made, a reserve that counts has its full size on the disk.
    #[test]
    fn a_reserve_that_counts_is_whole_after_a_crash_at_any_call() {
        let whole = MemoryDisk::new();
        open(&whole).work().unwrap();
        assert!(open(&whole).lock().reserve);
        for call in 1..=whole.calls() {
            for how in [Crash::LoseAll, Crash::KeepAll, Crash::Tear(call)] {
                let disk = MemoryDisk::new();
                disk.crash_at(call, how);
                // The crash ends it somewhere.
                let _died = open(&disk).work();
                disk.restart(how);
                let space = open(&disk);
                let length = disk.content(RESERVE).map_or(0, |bytes| bytes.len() as u64);
                let counts = space.lock().reserve;
                assert_eq!(
                    counts,
                    length == options().reserve_bytes,
                    "call {call}, {how:?}"
                );
                assert!(
                    counts || length == 0,
                    "call {call}, {how:?}: {length} bytes"
                );
            }
        }
    }

    #[test]
    fn a_half_made_reserve_of_an_earlier_version_is_made_anew() {
        let disk = MemoryDisk::new();
        disk.put(RESERVE, Vec::new());
        let space = open(&disk);
        assert!(!space.lock().reserve);
        space.work().unwrap();
        assert_eq!(disk.content(RESERVE).unwrap().len(), 256 << 10);
    }
}
