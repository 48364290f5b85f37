//! Snapshots without a running server: for the command line.

#![allow(
    clippy::disallowed_methods,
    reason = "the command line names files of its own, and no node runs"
)]

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use portolan_catalog::{Batch, State};
use portolan_history::{History, Retention};

use crate::disk::RealDisk;
use crate::fatal::Fatal;
use crate::history_files::DiskFiles;
use crate::identity::{self, IdentityError};
use crate::log::{Log, LogError, Position};
use crate::snapshot::{self, Head, ReadError, SnapshotError, Snapshots};
use crate::space::SpaceOptions;
use crate::stats::Stats;

/// What a snapshot file holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its head.
    pub head: Head,
    /// Its length in bytes.
    pub length: u64,
    /// The whole state.
    pub state: State,
    /// The batches that led to it, which only a file of an earlier version has.
    pub batches: Vec<Arc<Batch>>,
}

/// Why a snapshot could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The file is not a whole, sound snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The directory is in use or damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The directory's log could not be begun.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is a catalog in the directory already.
    #[error("data directory \"{place}\" is not empty; choose an empty one to restore into")]
    NotEmpty {
        /// The directory.
        place: String,
    },
    /// The system refused.
    #[error("cannot {doing} \"{place}\"")]
    Io {
        /// The file or directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> OfflineError + use<> {
    let place = path.display().to_string();
    move |source| OfflineError::Io {
        place: place.clone(),
        doing,
        source,
    }
}

/// Writes a state to a file, atomically: the file is whole or not there. `cluster_id` is kept for information. The history is not in
/// it: a catalog restored from it can be read from its revision on.
///
/// # Errors
/// [`OfflineError::Io`].
pub fn save(state: &State, cluster_id: u64, file: &Path) -> Result<u64, OfflineError> {
    let io = failed(file, "write");
    let temporary = file.with_extension("tmp");
    let head = Head {
        cluster_id,
        revision: state.revision().0,
        at_ms: state.last_at().0,
        ..Head::default()
    };
    let to = std::fs::File::create(&temporary).map_err(&io)?;
    let length = snapshot::write(state, &head, &to).map_err(&io)?;
    to.sync_all().map_err(&io)?;
    std::fs::rename(&temporary, file).map_err(&io)?;
    let directory = file.parent().filter(|parent| *parent != Path::new(""));
    std::fs::File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(io)?;
    Ok(length)
}

/// Reads and checks a snapshot file.
///
/// # Errors
/// [`OfflineError::Snapshot`] for a damaged file, [`OfflineError::Io`].
pub fn inspect(file: &Path) -> Result<Inspection, OfflineError> {
    let io = failed(file, "read");
    let from = std::fs::File::open(file).map_err(&io)?;
    let length = from.metadata().map_err(&io)?.len();
    inspect_from(BufReader::new(from), length, file)
}

/// As [`inspect`], of what is read elsewhere; `file` is what errors call it.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_from(
    from: impl io::Read,
    length: u64,
    file: &Path,
) -> Result<Inspection, OfflineError> {
    let io = failed(file, "read");
    let mut batches = Vec::new();
    let keep = |earlier| batches.extend::<Vec<_>>(earlier);
    let (head, state) = snapshot::read(from, length, keep).map_err(|error| match error {
        ReadError::Damaged(what) => OfflineError::Snapshot(SnapshotError::Damaged {
            name: file.display().to_string(),
            what,
        }),
        ReadError::Io(source) => io(source),
    })?;
    Ok(Inspection {
        head,
        length,
        state,
        batches,
    })
}

/// Fills an empty data directory from a snapshot file. The node gets a new Raft id and the cluster a new id; revisions and everything
/// else are those of the snapshot. The history begins with it, unless a file of an earlier version has one.
///
/// # Errors
/// [`OfflineError::NotEmpty`] when there is a catalog already, and all others.
pub fn restore(
    file: &Path,
    directory: &Path,
    node_name: &str,
    draw: &mut dyn FnMut() -> u64,
) -> Result<Inspection, OfflineError> {
    let found = inspect(file)?;
    fill(&found, directory, node_name, draw)?;
    Ok(found)
}

/// As [`restore`], from a snapshot that was read.
///
/// # Errors
/// As [`restore`].
pub fn fill(
    found: &Inspection,
    directory: &Path,
    node_name: &str,
    draw: &mut dyn FnMut() -> u64,
) -> Result<(), OfflineError> {
    let io = failed(directory, "write to");
    let disk = Arc::new(RealDisk::open(directory).map_err(&io)?);
    let _lock = identity::lock(directory)?;
    if identity::read(disk.as_ref())?.is_some() {
        return Err(OfflineError::NotEmpty {
            place: directory.display().to_string(),
        });
    }
    let fatal = Fatal::new(directory.display().to_string(), |_| {});
    // The identity comes last: a directory without one is not a catalog yet, and an interrupted restore can be repeated.
    let snapshots = Snapshots::open(disk.clone(), fatal.clone())?;
    let start = Position { term: 0, index: 0 };
    let node_id = draw().max(1);
    let cluster_id = draw().max(1);
    let head = Head {
        cluster_id,
        last: Some(start),
        membership_at: Some(start),
        membership: crate::consensus::alone(node_id),
        ..found.head.clone()
    };
    if let Some(first) = found.batches.first() {
        let files = DiskFiles::open(disk.clone()).map_err(&io)?;
        let memory_bytes = Retention::default().memory_bytes;
        let history = History::open(Arc::new(files), memory_bytes).map_err(&io)?;
        history.begin(first.revision);
        for batch in &found.batches {
            history.push(batch);
        }
        history.reached(found.state.revision());
        history.flush().map_err(&io)?;
    }
    snapshots.save(&found.state, &head).map_err(&io)?;
    let log = Log::open(
        disk.clone(),
        fatal,
        node_id,
        SpaceOptions::default(),
        Arc::new(Stats::default()),
    )?;
    log.purge(start).map_err(&io)?;
    drop(log);
    identity::create(
        disk.as_ref(),
        identity::Identity {
            node_id,
            node_name: node_name.to_owned(),
            cluster_id,
            joins: false,
        },
    )?;
    Ok(())
}
