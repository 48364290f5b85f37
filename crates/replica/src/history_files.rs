//! The history's files in the data directory, and who writes them.
//!
//! Invariants
//! - A file gets its name when it is durable; what a crash left under a temporary name is removed at the next start.
//! - Everything up to a snapshot's revision is in files before the snapshot lets the log be purged: what is not is made again from the
//!   log.
//! - On a full disk the newest part waits in memory, and the oldest files give way; nothing that was acknowledged depends on them.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use portolan_history::{File, Files, History, Named};

use crate::disk::{Disk, DiskFile, FileWriter, OpenMode, is_full};
use crate::fatal::Fatal;
use crate::space::Space;

const PREFIX: &str = "history-";
const TEMPORARY: &str = ".tmp";
const BUFFER: usize = 256 << 10;
/// A file is made durable in portions of this many bytes, so that the log's own barriers do not wait for all of it.
const PORTION: u64 = 4 << 20;
/// How often the worker looks for work that nobody told it of.
const ROUND: Duration = Duration::from_secs(1);

/// The files whose names begin with `history-`.
#[derive(Debug)]
pub(crate) struct DiskFiles(Arc<dyn Disk>);

#[derive(Debug)]
struct Readable(Arc<dyn DiskFile>);

impl File for Readable {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// Makes what was written durable as it goes.
struct Portions {
    to: FileWriter,
    file: Arc<dyn DiskFile>,
    synced: u64,
}

impl Write for Portions {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        if self.to.written() - self.synced >= PORTION {
            self.file.sync_data()?;
            self.synced = self.to.written();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl DiskFiles {
    /// The files as they are, to look at.
    pub(crate) fn look(disk: Arc<dyn Disk>) -> DiskFiles {
        DiskFiles(disk)
    }

    /// Removes what a crash left half written.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<DiskFiles> {
        for name in disk.list()? {
            if name.starts_with(PREFIX) && name.ends_with(TEMPORARY) {
                disk.remove(&name)?;
            }
        }
        Ok(DiskFiles(disk))
    }

    fn write(
        &self,
        temporary: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(temporary, OpenMode::Create)?;
        let portions = Portions {
            to: FileWriter::new(file.clone()),
            file: file.clone(),
            synced: 0,
        };
        let mut buffered = BufWriter::with_capacity(BUFFER, portions);
        fill(&mut buffered)?;
        buffered.flush()?;
        file.sync_data()?;
        Ok(file)
    }
}

impl Files for DiskFiles {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        let temporary = format!("{name}{TEMPORARY}");
        let file = self.write(&temporary, fill).inspect_err(|_| {
            // Nothing depends on it yet: give the space back.
            let _ = self.0.remove(&temporary);
        })?;
        self.0.rename(&temporary, name)?;
        self.0.sync_directory()?;
        Ok(Arc::new(Readable(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.0.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        let names = self.0.list()?;
        let names = names
            .into_iter()
            .filter(|name| name.starts_with(PREFIX) && !name.ends_with(TEMPORARY));
        names
            .map(|name| {
                let file = self.0.open(&name, OpenMode::Read)?;
                Ok((name, Arc::new(Readable(file)) as Arc<dyn File>))
            })
            .collect()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

/// Moves the history on once: what is too much for memory goes into files, what is below the floor goes.
///
/// # Errors
/// A disk error, for which the fatal hook has been called. A full disk is none: what cannot be written stays in memory.
pub(crate) fn work(
    history: &History,
    space: &Space,
    fatal: &Fatal,
    disk_bytes: u64,
) -> io::Result<()> {
    fatal.check()?;
    let worked = if space.full() {
        history.give_way(history.disk_bound(disk_bytes))
    } else {
        Ok(())
    };
    let worked = worked.and_then(|()| history.work(|| !history.stopped()));
    match worked {
        Err(error) if is_full(&error) => {
            tracing::debug!(%error, "the history has to wait for room on the disk");
            Ok(())
        }
        Err(error) => Err(fatal.raise("writing the history", error)),
        Ok(()) => Ok(()),
    }
}

/// Does [`work`] whenever there is some, until [`History::stop`] or a fatal error.
pub(crate) fn worker(
    history: Arc<History>,
    space: Arc<Space>,
    fatal: Fatal,
    disk_bytes: u64,
) -> impl FnOnce() + Send + 'static {
    move || {
        while history.wait(ROUND) {
            if work(&history, &space, &fatal, disk_bytes).is_err() {
                return;
            }
        }
    }
}

/// Gives the files that reach beyond `revision` other names, so that they are history no more; gives those back. What is kept below it in
/// a file that reaches beyond goes with it.
///
/// # Errors
/// Any error of the system.
pub(crate) fn set_aside_beyond(disk: &Arc<dyn Disk>, revision: u64) -> io::Result<Vec<String>> {
    let mut aside = Vec::new();
    for file in portolan_history::inspect(&DiskFiles::look(disk.clone()))? {
        if file.through.0 > revision {
            let name = format!("aside-{}", file.name);
            disk.rename(&file.name, &name)?;
            aside.push(name);
        }
    }
    disk.sync_directory()?;
    Ok(aside)
}
