//! The snapshot of a data directory, and those that travel between servers.
//!
//! A file is written under a temporary name and gets its own when it is durable. There is one; the one before is removed after.

use std::fmt;
use std::io::{self, BufWriter, IoSlice, Read, Write};
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
    /// What arrives from another server, and how much of it is there.
    incoming: Mutex<Option<(Arc<dyn DiskFile>, u64)>>,
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
            current = Some((name, SnapshotFile { head, file, length }));
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

    /// Takes over a snapshot that came from elsewhere. The caller has loaded, and so checked, it.
    pub(crate) fn adopt(&self, other: &SnapshotFile) -> io::Result<SnapshotFile> {
        self.put(&other.head, |file| {
            let mut writer = FileWriter::new(file);
            let mut reader = FileReader::new(other.file.clone()).take(other.length);
            let mut buffered = BufWriter::with_capacity(BUFFER, &mut writer);
            io::copy(&mut reader, &mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            Ok(writer.written())
        })
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
        if offset == 0 {
            *incoming = Some((self.disk.open(INCOMING, OpenMode::Create)?, 0));
        }
        let follows = |there: u64| there == offset && offset + bytes.len() as u64 <= length;
        let Some((file, there)) = incoming.as_mut().filter(|(_, there)| follows(*there)) else {
            *incoming = None;
            let what = "a part of a snapshot does not follow the one before";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        file.write_at(offset, &mut [IoSlice::new(bytes)])?;
        *there += bytes.len() as u64;
        if *there < length {
            return Ok(None);
        }
        let file = file.clone();
        *incoming = None;
        let head = read_head(file.clone(), length)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        Ok(Some(SnapshotFile { head, file, length }))
    }

    fn put(
        &self,
        head: &Head,
        fill: impl FnOnce(Arc<dyn DiskFile>) -> io::Result<u64>,
    ) -> io::Result<SnapshotFile> {
        self.fatal.check()?;
        let at = head.last.unwrap_or(Position { term: 0, index: 0 });
        let name = format!("snapshot-{:016x}-{:016x}", at.index, at.term);
        let temporary = format!("{name}.tmp");
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
        let file = SnapshotFile {
            head: head.clone(),
            file,
            length,
        };
        let mut current = self.lock();
        self.finish(&temporary, &name, current.as_ref().map(|(name, _)| name))
            .map_err(|error| self.fatal.raise("writing a snapshot", error))?;
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
