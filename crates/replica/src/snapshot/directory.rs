//! The snapshot of a data directory, and those that travel between servers.
//!
//! A file is written under a temporary name and gets its own when it is durable. There is one; the one before is removed after.

use std::fmt;
use std::io::{self, BufReader, IoSlice, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_catalog::{Batch, State};
use portolan_environment::mutated;

use super::{BUFFER, Head, ReadError, SnapshotError, read, read_head, write};
use crate::disk::{Disk, DiskFile, FileReader, FileWriter, OpenMode, read_exact_at};
use crate::fatal::Fatal;
use crate::log::Position;

/// A snapshot as it travels: an open file and what it is of.
#[derive(Clone)]
pub struct SnapshotFile {
    /// What it is of.
    pub head: Head,
    file: Arc<dyn DiskFile>,
    length: u64,
    /// The name of one that came from another server and was not taken over yet.
    received: Option<Arc<Received>>,
}

/// A file that came from another server; removed with the last who knows it, unless it was taken over.
struct Received {
    disk: Arc<dyn Disk>,
    name: String,
    adopted: AtomicBool,
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.adopted.load(Ordering::Acquire) {
            // What is left behind is removed at the next start.
            let _ = self.disk.remove(&self.name);
        }
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("head", &self.head)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl SnapshotFile {
    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// At most `most` bytes from `offset` on.
    pub(crate) fn part(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        read_exact_at(self.file.as_ref(), offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads and checks it. `earlier` as with [`read`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn load(&self, earlier: impl FnMut(Vec<Arc<Batch>>)) -> Result<State, ReadError> {
        let (_, state) = read(FileReader::new(self.file.clone()), self.length, earlier)?;
        Ok(state)
    }
}

/// The snapshot of a data directory.
#[derive(Debug)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    fatal: Fatal,
    current: Mutex<Option<(String, SnapshotFile)>>,
    incoming: Mutex<Incoming>,
}

/// What arrives from another server.
#[derive(Default)]
struct Incoming {
    /// Whole ones that arrived so far, for their names.
    arrived: u64,
    /// The one that is on its way, and how much of it is there.
    file: Option<(Arc<dyn DiskFile>, u64)>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("arrived", &self.arrived)
            .finish_non_exhaustive()
    }
}

/// The file for [`Snapshots::receive`]; one that a crash left is removed at the next start.
const INCOMING: &str = "snapshot-incoming.tmp";

impl Snapshots {
    /// Finds the newest snapshot, removes what a crash left half written. Reads and checks the head of the file only; the caller
    /// loads it.
    pub(crate) fn open(disk: Arc<dyn Disk>, fatal: Fatal) -> Result<Snapshots, SnapshotError> {
        let io = |name: &str, doing| {
            let name = name.to_owned();
            move |source| SnapshotError::Io {
                name,
                doing,
                source,
            }
        };
        let mut names: Vec<String> = Vec::new();
        for name in disk.list().map_err(io("snapshot-", "list"))? {
            if !name.starts_with("snapshot-") {
                continue;
            }
            if name.ends_with(".tmp") {
                disk.remove(&name).map_err(io(&name, "remove"))?;
            } else {
                names.push(name);
            }
        }
        // Names sort by index. Older ones are there only if the node stopped before it removed them.
        let newest = names.pop();
        let mut current = None;
        if let Some(name) = newest {
            let file = disk
                .open(&name, OpenMode::Read)
                .map_err(io(&name, "open"))?;
            let length = file.length().map_err(io(&name, "read"))?;
            let head = read_head(file.clone(), length).map_err(|error| match error {
                ReadError::Damaged(what) => SnapshotError::Damaged {
                    name: name.clone(),
                    what,
                },
                ReadError::Io(source) => SnapshotError::Io {
                    name: name.clone(),
                    doing: "read",
                    source,
                },
            })?;
            for old in names {
                disk.remove(&old).map_err(io(&old, "remove"))?;
            }
            let file = SnapshotFile {
                head,
                file,
                length,
                received: None,
            };
            current = Some((name, file));
        }
        Ok(Snapshots {
            disk,
            fatal,
            current: Mutex::new(current),
            incoming: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(String, SnapshotFile)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshot's file name.
    pub(crate) fn name(&self) -> Option<String> {
        self.lock().as_ref().map(|(name, _)| name.clone())
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.lock().as_ref().map(|(_, file)| file.clone())
    }

    /// Writes a state durably and makes it the current snapshot.
    pub(crate) fn save(&self, state: &State, head: &Head) -> io::Result<SnapshotFile> {
        self.put(head, |file| {
            let mut writer = FileWriter::new(file);
            write(state, head, &mut writer)?;
            Ok(writer.written())
        })
    }

    /// Takes over a snapshot that came from another server. The caller has loaded, and so checked, it. It needs no space: the file that
    /// arrived gets its place. One of this server's own is copied.
    pub(crate) fn adopt(&self, other: &SnapshotFile) -> io::Result<SnapshotFile> {
        self.fatal.check()?;
        let Some(received) = &other.received else {
            return self.put(&other.head, |file| {
                let mut writer = FileWriter::new(file);
                let reader = FileReader::new(other.file.clone());
                let mut reader = BufReader::with_capacity(BUFFER, reader.take(other.length));
                io::copy(&mut reader, &mut writer)?;
                Ok(writer.written())
            });
        };
        let (file, length) = (other.file.clone(), other.length);
        let adopted = self.place(&received.name, &other.head, file, length);
        let file = adopted.map_err(|error| self.fatal.raise("taking over a snapshot", error))?;
        received.adopted.store(true, Ordering::Release);
        Ok(file)
    }

    /// Takes a part of a snapshot of `length` bytes that another server sends. Gives back the file when it was the last one; it may be
    /// damaged still, as [`SnapshotFile::load`] will tell.
    ///
    /// # Errors
    /// `InvalidInput` when the part does not follow the one before or the whole has no head; a disk error. The sender begins anew then.
    pub(crate) fn receive(
        &self,
        offset: u64,
        length: u64,
        bytes: &[u8],
    ) -> io::Result<Option<SnapshotFile>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.take_part(&mut incoming, offset, length, bytes);
        if taken.is_err() && incoming.file.take().is_some() {
            // Space that nobody needs any more; what is left behind is overwritten by the next one.
            let _ = self.disk.remove(INCOMING);
        }
        taken
    }

    fn take_part(
        &self,
        incoming: &mut Incoming,
        offset: u64,
        length: u64,
        bytes: &[u8],
    ) -> io::Result<Option<SnapshotFile>> {
        if offset == 0 {
            incoming.file = Some((self.disk.open(INCOMING, OpenMode::Create)?, 0));
        }
        let follows = |there: u64| there == offset && offset + bytes.len() as u64 <= length;
        let Some((file, there)) = incoming.file.as_mut().filter(|(_, there)| follows(*there))
        else {
            let what = "a part of a snapshot does not follow the one before";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        file.write_at(offset, &mut [IoSlice::new(bytes)])?;
        *there += bytes.len() as u64;
        if *there < length {
            return Ok(None);
        }
        let file = file.clone();
        // Here a full disk is an answer to whoever sends.
        if !mutated("snapshot-not-synced") {
            file.sync_data()?;
        }
        let head = read_head(file.clone(), length)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        // Out of the way of the next one, which may come while this is still being read.
        incoming.arrived += 1;
        let name = format!("snapshot-received-{}.tmp", incoming.arrived);
        self.disk.rename(INCOMING, &name)?;
        incoming.file = None;
        let received = Received {
            disk: self.disk.clone(),
            name,
            adopted: AtomicBool::new(false),
        };
        Ok(Some(SnapshotFile {
            head,
            file,
            length,
            received: Some(Arc::new(received)),
        }))
    }

    fn put(
        &self,
        head: &Head,
        fill: impl FnOnce(Arc<dyn DiskFile>) -> io::Result<u64>,
    ) -> io::Result<SnapshotFile> {
        self.fatal.check()?;
        let temporary = format!("{}.tmp", name_of(head));
        let filled = self
            .disk
            .open(&temporary, OpenMode::Create)
            .and_then(|file| {
                let length = fill(file.clone())?;
                if !mutated("snapshot-not-synced") {
                    file.sync_data()?;
                }
                Ok((file, length))
            });
        let (file, length) = match filled {
            Ok(filled) => filled,
            Err(error) if crate::disk::is_full(&error) => {
                // Nothing depends on this file yet: give the space back and go on with the old snapshot.
                let _ = self.disk.remove(&temporary);
                return Err(error);
            }
            Err(error) => return Err(self.fatal.raise("writing a snapshot", error)),
        };
        self.place(&temporary, head, file, length)
            .map_err(|error| self.fatal.raise("writing a snapshot", error))
    }

    /// Makes a durable file the current snapshot.
    fn place(
        &self,
        temporary: &str,
        head: &Head,
        file: Arc<dyn DiskFile>,
        length: u64,
    ) -> io::Result<SnapshotFile> {
        let name = name_of(head);
        let file = SnapshotFile {
            head: head.clone(),
            file,
            length,
            received: None,
        };
        let mut current = self.lock();
        self.finish(temporary, &name, current.as_ref().map(|(name, _)| name))?;
        *current = Some((name, file.clone()));
        Ok(file)
    }

    fn finish(&self, temporary: &str, name: &str, old: Option<&String>) -> io::Result<()> {
        self.disk.rename(temporary, name)?;
        self.disk.sync_directory()?;
        match old {
            Some(old) if old != name => self.disk.remove(old),
            _ => Ok(()),
        }
    }
}

fn name_of(head: &Head) -> String {
    let at = head.last.unwrap_or(Position { term: 0, index: 0 });
    format!("snapshot-{:016x}-{:016x}", at.index, at.term)
}

#[cfg(test)]
mod tests {
    use portolan_catalog::State;

    use super::*;
    use crate::disk::{MemoryDisk, is_full};

    fn snapshots(disk: &MemoryDisk) -> Snapshots {
        let fatal = Fatal::new("data".to_owned(), |error| panic!("{error}"));
        Snapshots::open(Arc::new(disk.clone()), fatal).unwrap()
    }

    fn names(disk: &MemoryDisk) -> Vec<String> {
        let mut names = disk.list().unwrap();
        names.sort();
        names
    }

    /// A snapshot on its way: the bytes of one of `index`.
    fn sent(index: u64) -> (Head, Vec<u8>) {
        let disk = MemoryDisk::new();
        let head = Head {
            last: Some(Position { term: 1, index }),
            ..Head::default()
        };
        let file = snapshots(&disk).save(&State::default(), &head).unwrap();
        let bytes = file.part(0, 1 << 20).unwrap();
        (head, bytes)
    }

    #[test]
    fn a_snapshot_that_arrives_needs_its_space_once_and_nobody_dies_of_a_full_disk() {
        let (_, bytes) = sent(7);
        let length = bytes.len() as u64;
        let half = bytes.len() / 2;
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(half as u64 + 1));
        let here = snapshots(&disk);
        assert!(here.receive(0, length, &bytes[..half]).unwrap().is_none());
        let full = here.receive(half as u64, length, &bytes[half..]).map(drop);
        assert!(is_full(&full.unwrap_err()));
        assert!(names(&disk).is_empty(), "{:?}", names(&disk));
        disk.set_capacity(Some(length));
        let arrived = here.receive(0, length, &bytes).unwrap().unwrap();
        assert!(arrived.load(drop).is_ok());
        let adopted = here.adopt(&arrived).unwrap();
        drop(arrived);
        assert_eq!(names(&disk), ["snapshot-0000000000000007-0000000000000001"]);
        assert_eq!(adopted.part(0, 1 << 20).unwrap(), bytes);
    }

    #[test]
    fn one_that_arrives_while_another_is_read_does_not_spoil_it() {
        let (_, first) = sent(7);
        let (_, second) = sent(9);
        let disk = MemoryDisk::new();
        let here = snapshots(&disk);
        let one = here
            .receive(0, first.len() as u64, &first)
            .unwrap()
            .unwrap();
        let two = here
            .receive(0, second.len() as u64, &second)
            .unwrap()
            .unwrap();
        assert_eq!(one.part(0, 1 << 20).unwrap(), first);
        drop(one);
        here.adopt(&two).unwrap();
        drop(two);
        assert_eq!(names(&disk), ["snapshot-0000000000000009-0000000000000001"]);
    }
}
