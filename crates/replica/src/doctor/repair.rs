//! Taking out what cannot be read, for a server that has nobody to ask: every byte is kept in a file beside the log.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use portolan_catalog::stored::LEVEL;

use super::examine::{DoctorError, Finding, Lost, examine, failed};
use crate::disk::{Disk, OpenMode, RealDisk, read_whole, replace};
use crate::history_files::set_aside_beyond;
use crate::identity;
use crate::log::{Body, Hole, LogError, Position, Readable, blanked};

/// Sets aside what cannot be read, until nothing is left of it: entries, bytes that are no frame, and history that is then of another
/// past. Gives back each with the file that now holds it.
///
/// # Errors
/// [`DoctorError::Refused`] for a cluster of several servers, for entries of a newer version, and when there is nothing to set aside.
pub fn set_aside(path: &Path) -> Result<Vec<(Lost, String)>, DoctorError> {
    let mut done = Vec::new();
    loop {
        let found = examine(path, None)?;
        let lost: Vec<Lost> = found
            .findings
            .iter()
            .filter_map(|finding: &Finding| finding.lost.clone())
            .collect();
        if lost.is_empty() && !done.is_empty() {
            return Ok(done);
        }
        let refused = |why: String| Err(DoctorError::Refused(why));
        if found.members > 1 {
            return refused(format!(
                "this server is one of {} members: another one has what is lost here and may be able to read it, so nothing is set aside; \
                 start the others, remove this member and add it again with an empty directory",
                found.members
            ));
        }
        let Some(identity) = found.identity else {
            return refused("nothing can be set aside without node.toml".to_owned());
        };
        let newer = lost.iter().find_map(|lost| match lost {
            Lost::Entry(entry) => entry.newer,
            Lost::Bytes(_) | Lost::History { .. } => None,
        });
        if let Some(level) = newer {
            return refused(format!(
                "an entry was written by a newer version (feature level {level}, this one knows {LEVEL}) and is not damaged: start that version"
            ));
        }
        if lost.is_empty() {
            return refused(
                "there is nothing in it that could be set aside, so none to set aside".to_owned(),
            );
        }
        let _lock = identity::lock(path)?;
        let disk = RealDisk::open(path).map_err(failed(&found.place, "open the directory"))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        if lost.iter().any(|lost| matches!(lost, Lost::Bytes(_))) && found.members == 0 {
            return refused(
                "who the members of the cluster are stands in what cannot be read, so the server could not start without it".to_owned(),
            );
        }
        // What is lost first counts: revisions after it are counted anew, and the history of another count must not be told as its own.
        let mut kept = None;
        for lost in lost {
            let name = match &lost {
                Lost::Entry(entry) => put_aside(disk.as_ref(), identity.node_id, entry.position),
                Lost::Bytes(bytes) => mend(disk.as_ref(), identity.node_id, &bytes.file),
                Lost::History { .. } => Ok(String::new()),
            };
            let name = name.map_err(failed(&found.place, "set something aside"))?;
            let last_kept = match &lost {
                Lost::Entry(entry) => entry.revision.map_or(Some(0), |first| Some(first - 1)),
                Lost::Bytes(bytes) if bytes.in_snapshot => None,
                Lost::Bytes(bytes) => bytes.revision.map_or(Some(0), |first| Some(first - 1)),
                Lost::History { reached, .. } => Some(*reached),
            };
            kept = match (kept, last_kept) {
                (Some(one), Some(other)) => Some(u64::min(one, other)),
                (one, other) => one.or(other),
            };
            if !matches!(lost, Lost::History { .. }) {
                done.push((lost, name));
            }
        }
        if let Some(reached) = kept {
            let names = set_aside_beyond(&disk, reached)
                .map_err(failed(&found.place, "set files of the history aside"))?;
            for name in names {
                let through = found.history.1;
                done.push((Lost::History { reached, through }, name));
            }
        }
    }
}

/// Keeps an entry's bytes in a file and leaves nothing in its place.
fn put_aside(disk: &dyn Disk, node: u64, position: Position) -> io::Result<String> {
    let log = read(disk, node)?;
    let logged = log
        .entries()
        .find(|logged| logged.entry.position == position)
        .ok_or_else(|| io::Error::other("the entry is gone"))?;
    let Body::Batch(batch) = &logged.entry.body else {
        return Err(io::Error::other("the entry is no batch of commands"));
    };
    let name = format!("aside-{:016x}-{:016x}", position.index, position.term);
    // Durable under its name before the log forgets it.
    replace(disk, &name, batch.bytes())?;
    let segment = read_whole(disk.open(&logged.file, OpenMode::Read)?.as_ref())?;
    let segment = blanked(segment, &logged, position)
        .ok_or_else(|| io::Error::other("the entry is not where it was"))?;
    write_segment(disk, &logged.file, &segment)?;
    Ok(name)
}

/// Keeps the bytes that are no frame in a file and has the log go on without them.
fn mend(disk: &dyn Disk, node: u64, file: &str) -> io::Result<String> {
    let hole = read(disk, node)?
        .hole(disk)?
        .filter(|hole| hole.file == file)
        .ok_or_else(|| io::Error::other("the bad bytes are not where they were"))?;
    let Hole {
        at, bytes, mended, ..
    } = hole;
    let name = format!("aside-{file}-{at:016x}");
    replace(disk, &name, &bytes)?;
    let segment = mended.ok_or_else(|| io::Error::other("what comes after does not fit"))?;
    write_segment(disk, file, &segment)?;
    Ok(name)
}

/// The log as far as it can be read.
fn read(disk: &dyn Disk, node: u64) -> io::Result<Readable> {
    let mut log = Readable::default();
    match log.read(disk, node) {
        Ok(()) | Err(LogError::Damaged { .. }) => Ok(log),
        Err(error @ LogError::Io { .. }) => Err(io::Error::other(error.to_string())),
    }
}

fn write_segment(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    file.sync_data()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_batch::CommandBatch;
    use crate::consensus::together;
    use crate::fatal::Fatal;
    use crate::log::{Log, LogEntry};
    use crate::space::SpaceOptions;
    use crate::stats::Stats;

    #[test]
    fn a_member_of_a_cluster_sets_nothing_aside() {
        for (members, refused) in [(vec![1], false), (vec![1, 2, 3], true)] {
            let directory = tempfile::tempdir().unwrap();
            let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
            identity::establish(disk.as_ref(), "n1", false, &mut || 1).unwrap();
            let options = SpaceOptions {
                segment_bytes: 64 << 10,
                first_segment_bytes: 32 << 10,
                reserve_bytes: 0,
                margin_bytes: 0,
            };
            let fatal = Fatal::new(String::new(), |_| {});
            let log = Log::open(disk, fatal, 1, options, Arc::new(Stats::default())).unwrap();
            let bodies = [
                Body::Membership(together(&members).into()),
                Body::Batch(CommandBatch::from_bytes(vec![1, 2, 3].into())),
            ];
            let records = bodies.into_iter().zip(0..).map(|(body, index)| {
                let position = Position { term: 1, index };
                Arc::new(LogEntry { position, body })
            });
            log.append(records.collect()).unwrap();
            drop(log);
            let done = set_aside(directory.path());
            if refused {
                let error = done.unwrap_err().to_string();
                assert!(error.contains("one of 3 members"), "{error}");
                assert_eq!(examine(directory.path(), None).unwrap().findings.len(), 1);
            } else {
                assert_eq!(
                    done.unwrap()[0].1,
                    "aside-0000000000000001-0000000000000001"
                );
            }
        }
    }
}
