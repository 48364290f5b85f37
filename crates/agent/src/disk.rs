//! What an agent keeps on its disk: a copy of what it follows, and what it owns.
//!
//! The copy is a snapshot file like a server's and may be lost: it is fetched again. What is owned is nowhere else for as long as no
//! server can be reached, so it is on the disk before it is acknowledged then, and a damaged file is not passed over.

use std::io;
use std::path::Path;
use std::sync::Arc;

use portolan_registry::Mark;
use portolan_replica::Position;
use portolan_replica::disk::{Disk, FileReader, FileWriter, OpenMode, read_whole, replace};
use portolan_replica::snapshot::{self, Head, ReadError};

use crate::core::Base;
use crate::owned::{self, Owned};

const COPY: &str = "agent-copy";
const OWNED: &str = "agent-owned";

/// Whether a data directory is an agent's.
#[must_use]
pub fn is_agents_directory(path: &Path) -> bool {
    path.join(OWNED).exists() || path.join(COPY).exists()
}

/// The files of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Files(Arc<dyn Disk>);

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Files {
        Files(disk)
    }

    /// The copy that was written last; none if there is none or it cannot be read, which is said.
    pub(crate) fn read_copy(&self) -> Option<Base> {
        let read = || -> Result<Base, ReadError> {
            let file = self.0.open(COPY, OpenMode::Read)?;
            let length = file.length()?;
            let (head, state) = snapshot::read(FileReader::new(file), length, drop)?;
            let index = head.last.map_or(0, |last| last.index);
            Ok(Base {
                cluster: head.cluster_id,
                mark: Mark::of(index, &state),
                state,
            })
        };
        match read() {
            Ok(base) => Some(base),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(ReadError::Io(error)) => {
                tracing::warn!(%error, file = COPY, "the copy cannot be read; it is fetched from the servers");
                None
            }
            Err(ReadError::Damaged(what)) => {
                tracing::warn!(%what, file = COPY, "the copy is damaged; it is fetched from the servers");
                None
            }
        }
    }

    /// Writes the copy. Takes a while; nothing else is held up.
    ///
    /// # Errors
    /// Those of the disk; the one before is still there then.
    pub(crate) fn write_copy(&self, base: &Base) -> io::Result<u64> {
        let temporary = format!("{COPY}.tmp");
        let file = self.0.open(&temporary, OpenMode::Create)?;
        let head = Head {
            cluster_id: base.cluster,
            last: Some(Position {
                term: 0,
                index: base.mark.index,
            }),
            revision: base.state.revision().0,
            at_ms: base.state.last_at().0,
            ..Head::default()
        };
        let mut writer = FileWriter::new(file.clone());
        let written = snapshot::write(&base.state, &head, &mut writer).and_then(|bytes| {
            file.sync_data()?;
            self.0.rename(&temporary, COPY)?;
            self.0.sync_directory()?;
            Ok(bytes)
        });
        if written.is_err() {
            // Half of it is worth nothing, and the disk may be full.
            let _removed = self.0.remove(&temporary);
        }
        written
    }

    /// What is owned; none if that was never written here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read_owned(&self) -> io::Result<Option<Owned>> {
        match self.0.open(OWNED, OpenMode::Read) {
            Ok(file) => owned::decode(&read_whole(file.as_ref())?).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what is owned.
    ///
    /// # Errors
    /// Those of the disk; what was written before is still there then.
    pub(crate) fn write_owned(&self, owned: &Owned) -> io::Result<()> {
        replace(self.0.as_ref(), OWNED, &owned::encode(owned)?)
    }
}
