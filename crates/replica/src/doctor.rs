//! What is the matter with a data directory, without starting a server in it.
//!
//! [`examine`] changes nothing. [`set_aside`] takes unreadable entries out of the log of a single server: each is kept in a file of its own
//! and its place in the log stays, with nothing in it.

use std::io::{self, BufReader, IoSlice};
use std::path::Path;

use portolan_catalog::stored::{self, LEVEL};
use portolan_catalog::{AdminTarget, Command, Op, State, Target};

use crate::consensus::members;
use crate::disk::{Disk, FileReader, OpenMode, RealDisk, read_whole, replace};
use crate::history_files;
use crate::identity::{self, Identity, IdentityError};
use crate::log::{Body, LogError, Logged, Position, Readable, blanked};
use crate::snapshot::{self, ReadError};

/// Texts and keys that are told of an entry at most.
const TOLD: usize = 20;
/// Letters that make a text of bytes that cannot be read otherwise.
const TEXT: usize = 3;

/// What was found in a directory.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// The directory.
    pub place: String,
    /// Whose it is, if that can be read.
    pub identity: Option<Identity>,
    /// The version that wrote to it last; versions up to 0.1.0 did not say.
    pub version: Option<String>,
    /// The agreed feature level.
    pub level: u8,
    /// The snapshot's file and what it is of.
    pub snapshot: Option<(String, snapshot::Head)>,
    /// Members of the cluster, 0 if that is not known.
    pub members: usize,
    /// First and last entry of the log after the snapshot.
    pub entries: Option<(Position, Position)>,
    /// Revision and time that a start would reach, were nothing unreadable in its way.
    pub reached: (u64, u64),
    /// Files with entries that were set aside earlier.
    pub aside: Vec<String>,
    /// What is wrong; empty for a sound directory.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// What can be done.
    pub advice: String,
    /// The entry, when it is one that cannot be read.
    pub entry: Option<Unreadable>,
}

/// An entry of the log whose checksum is right and that cannot be read all the same.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Its place in the log.
    pub position: Position,
    /// Bytes of its content.
    pub length: usize,
    /// The feature level it needs, if a newer version wrote it.
    pub newer: Option<u8>,
    /// The revision it made, or the first of them; none when an earlier entry cannot be read either.
    pub revision: Option<u64>,
    /// Entries after it.
    pub later: u64,
    /// Keys, instances and texts that it names, as far as can be told.
    pub names: Vec<String>,
}

/// Why nothing could be found out, or nothing be done.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// In use, or not readable at all.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is nothing of this program's in the directory.
    #[error("\"{0}\" is no data directory: there is neither node.toml nor a log in it")]
    NoDirectory(String),
    /// The system refused.
    #[error("cannot {doing} in data directory \"{place}\": {source}")]
    Io {
        /// The directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Setting aside is not for this directory.
    #[error("{0}")]
    Refused(String),
}

/// Looks at a stopped directory. `node_name` is the name it is to be started with, if that was said.
///
/// # Errors
/// [`DoctorError`], for a directory in use too.
pub fn examine(path: &Path, node_name: Option<&str>) -> Result<Diagnosis, DoctorError> {
    let place = path.display().to_string();
    if !path.is_dir() {
        return Err(DoctorError::NoDirectory(place));
    }
    let disk = RealDisk::open(path).map_err(failed(&place, "open the directory"))?;
    let names = disk.list().map_err(failed(&place, "list the files"))?;
    let ours = |name: &String| name == "node.toml" || name.starts_with("log-");
    if !names.iter().any(ours) {
        return Err(DoctorError::NoDirectory(place));
    }
    let _lock = identity::lock(path)?;
    examine_disk(&disk, node_name)
}

/// Sets every entry aside that cannot be read, and looks again. Gives back the entries with the files that now hold them.
///
/// # Errors
/// [`DoctorError::Refused`] for a cluster of several servers, for entries of a newer version, and when there is nothing to set aside.
pub fn set_aside(path: &Path) -> Result<Vec<(Unreadable, String)>, DoctorError> {
    let found = examine(path, None)?;
    let place = found.place.clone();
    let refused = |why: String| Err(DoctorError::Refused(why));
    if found.members > 1 {
        return refused(format!(
            "this server is one of {} members: another one has the entry and may be able to read it, so none is set aside here; start \
             the others, remove this member and add it again with an empty directory",
            found.members
        ));
    }
    let Some(identity) = found.identity else {
        return refused("nothing can be set aside without node.toml".to_owned());
    };
    let unreadable: Vec<Unreadable> = found
        .findings
        .iter()
        .filter_map(|finding| finding.entry.clone())
        .collect();
    if let Some(level) = unreadable.iter().find_map(|entry| entry.newer) {
        return refused(format!(
            "an entry was written by a newer version (feature level {level}, this one knows {LEVEL}) and is not damaged: start that version"
        ));
    }
    if unreadable.is_empty() {
        return refused(
            "no entry of the log is unreadable by itself, so there is none to set aside".to_owned(),
        );
    }
    let _lock = identity::lock(path)?;
    let disk = RealDisk::open(path).map_err(failed(&place, "open the directory"))?;
    let mut done = Vec::new();
    for entry in unreadable {
        let name = put_aside(&disk, identity.node_id, entry.position)
            .map_err(failed(&place, "set an entry aside"))?;
        done.push((entry, name));
    }
    Ok(done)
}

fn failed(place: &str, doing: &'static str) -> impl Fn(io::Error) -> DoctorError + use<> {
    let place = place.to_owned();
    move |source| DoctorError::Io {
        place: place.clone(),
        doing,
        source,
    }
}

/// Keeps an entry's bytes in a file and leaves nothing in its place.
fn put_aside(disk: &dyn Disk, node: u64, position: Position) -> io::Result<String> {
    let mut log = Readable::default();
    log.read(disk, node)
        .map_err(|error| io::Error::other(error.to_string()))?;
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
    let temporary = format!("{}.tmp", logged.file);
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.write_at(0, &mut [IoSlice::new(&segment)])?;
    file.sync_data()?;
    disk.rename(&temporary, &logged.file)?;
    disk.sync_directory()?;
    Ok(name)
}

fn examine_disk(disk: &dyn Disk, node_name: Option<&str>) -> Result<Diagnosis, DoctorError> {
    let place = disk.place();
    let mut found = Diagnosis {
        place: place.clone(),
        version: identity::read_version(disk),
        level: 1,
        aside: disk
            .list()
            .map_err(failed(&place, "list the files"))?
            .into_iter()
            .filter(|name| name.starts_with("aside-"))
            .collect(),
        ..Diagnosis::default()
    };
    match identity::read(disk) {
        Ok(identity) => found.identity = identity,
        Err(error @ IdentityError::Io { .. }) => return Err(error.into()),
        Err(error) => found.tell("node.toml", &error.to_string(), "", None),
    }
    if let (Some(identity), Some(name)) = (&found.identity, node_name)
        && identity.node_name != name
    {
        let what = format!(
            "the directory belongs to node {:?}, not to {name:?}",
            identity.node_name
        );
        let advice = format!(
            "start it with --node-name {}, or choose another --data-dir",
            identity.node_name
        );
        found.tell("node.toml", &what, &advice, None);
    }
    let state = found.snapshot(disk)?;
    let mut log = Readable::default();
    // Without an identity the log's own word is taken.
    let node = found
        .identity
        .as_ref()
        .map_or_else(|| Readable::owner(disk), |identity| identity.node_id);
    match log.read(disk, node) {
        Ok(()) => {}
        Err(LogError::Io { doing, source, .. }) => {
            return Err(DoctorError::Io {
                place,
                doing,
                source,
            });
        }
        Err(LogError::Damaged { file, what, .. }) => {
            let read = log
                .entries()
                .last()
                .map_or("no entry of the log can be read".to_owned(), |last| {
                    format!("entries up to {} can be read", last.entry.position.index)
                });
            let what = format!("{what}; {read}");
            let advice = "what was acknowledged after that is in this file or nowhere: restore the directory from a copy, or fill an empty \
                 one with `portolan snapshot restore`";
            found.tell(&file, &what, advice, None);
        }
    }
    found.replay(state, &log);
    let damages = history_files::damages(disk).map_err(failed(&place, "read the history"))?;
    for damage in damages {
        let what = format!(
            "{}; revisions {} to {} cannot be read",
            damage.what, damage.from, damage.through
        );
        let advice = "the server starts, and nothing of the present is lost: only what these revisions changed cannot be told any more. Removing \
             the file makes the history begin after it";
        found.tell(&damage.file, &what, advice, None);
    }
    Ok(found)
}

impl Diagnosis {
    fn tell(&mut self, file: &str, what: &str, advice: &str, entry: Option<Unreadable>) {
        self.findings.push(Finding {
            file: file.to_owned(),
            what: what.to_owned(),
            advice: advice.to_owned(),
            entry,
        });
    }

    /// Reads the newest snapshot; none if there is none or it cannot be read.
    fn snapshot(&mut self, disk: &dyn Disk) -> Result<Option<State>, DoctorError> {
        let io = failed(&self.place, "read the snapshot");
        let names = disk.list().map_err(&io)?;
        let newest = names
            .into_iter()
            .rfind(|name| name.starts_with("snapshot-") && !name.ends_with(".tmp"));
        let Some(name) = newest else {
            return Ok(Some(State::default()));
        };
        let file = disk.open(&name, OpenMode::Read).map_err(&io)?;
        let length = file.length().map_err(&io)?;
        match snapshot::read(BufReader::new(FileReader::new(file)), length, drop) {
            Ok((head, state)) => {
                self.level = state.level();
                self.members = members(&head.membership);
                self.reached = (head.revision, head.at_ms);
                self.snapshot = Some((name, head));
                Ok(Some(state))
            }
            Err(ReadError::Io(source)) => Err(io(source)),
            Err(ReadError::Damaged(what)) => {
                let advice = "the log before it was given back, so what it held is nowhere else: restore the directory from a copy, or fill an \
                     empty one with `portolan snapshot restore`";
                self.tell(&name, &what, advice, None);
                Ok(None)
            }
        }
    }

    /// Applies what a start would apply, as far as it can be read, and looks at every later entry too.
    fn replay(&mut self, mut state: Option<State>, log: &Readable) {
        let covered = self.snapshot.as_ref().and_then(|(_, head)| head.last);
        let entries: Vec<Logged> = log
            .entries()
            .filter(|logged| {
                covered.is_none_or(|covered| logged.entry.position.index > covered.index)
            })
            .collect();
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.entries = Some((first.entry.position, last.entry.position));
        }
        for logged in &entries {
            let position = logged.entry.position;
            match &logged.entry.body {
                Body::Blank => {}
                Body::Membership(bytes) => self.members = members(&bytes[..]),
                Body::Batch(batch) => {
                    let (readable, damaged) = stored::decode_readable(batch.bytes());
                    let Some(damaged) = damaged else {
                        for entry in &readable {
                            if let Some(state) = &mut state {
                                state.apply(entry);
                                self.level = state.level();
                                self.reached = (state.revision().0, state.last_at().0);
                            }
                        }
                        continue;
                    };
                    let mut names: Vec<String> = Vec::new();
                    for entry in &readable {
                        name_touched(&entry.command, &mut names);
                    }
                    texts(batch.bytes(), &mut names);
                    names.truncate(TOLD);
                    let entry = Unreadable {
                        position,
                        length: batch.bytes().len(),
                        newer: damaged.newer,
                        revision: state.as_ref().map(|state| state.revision().0 + 1),
                        later: entries
                            .last()
                            .map_or(0, |last| last.entry.position.index - position.index),
                        names,
                    };
                    // What comes after it would be applied to another state.
                    state = None;
                    let advice = match damaged.newer {
                        Some(_) => "start the version that wrote it, or a newer one".to_owned(),
                        None => format!(
                            "`portolan doctor {} --yes` keeps it in a file beside the log, and the server starts without it",
                            self.place
                        ),
                    };
                    let what = format!("entry {} cannot be read: {damaged}", position.index);
                    self.tell(&logged.file, &what, &advice, Some(entry));
                }
            }
        }
    }
}

/// Adds what a command is about.
fn name_touched(command: &Command, names: &mut Vec<String>) {
    match command {
        Command::Write(write) => name_written(&mut write.then.iter().chain(&write.or_else), names),
        Command::Tree(write) => name_written(&mut write.ops.iter(), names),
        Command::Register(register) => add(names, register.facts.key.to_string()),
        Command::Deregister { target, .. } => match target {
            Target::Instance(key) => add(names, key.to_string()),
            Target::Endpoint(key) => add(names, format!("{key:?}")),
        },
        Command::SetAdmin { target, .. } => match target {
            AdminTarget::Instance(key) => add(names, key.to_string()),
            AdminTarget::Node(name) => add(names, name.to_string()),
        },
        Command::PutCheck(put) => add(names, format!("{:?}", put.check.facts.key)),
        Command::PutNode { node, .. } => add(names, node.name.to_string()),
        Command::DropNode { name, .. } => add(names, name.to_string()),
        Command::Grant { lease, .. } | Command::Revoke { lease } => {
            add(names, format!("{lease:?}"))
        }
        other => add(names, format!("{other:?}").chars().take(80).collect()),
    }
}

fn name_written(ops: &mut dyn Iterator<Item = &Op>, names: &mut Vec<String>) {
    for op in ops {
        let key = match op {
            Op::Put(put) | Op::Acquire { put, .. } | Op::Release { put, .. } => &put.key,
            Op::Delete { range, .. } => range.start(),
            Op::SetAcl { key, .. } => key,
            Op::Check { .. } | Op::Read(_) => continue,
            Op::Nested(write) => {
                name_written(&mut write.then.iter().chain(&write.or_else), names);
                continue;
            }
            Op::Command(command) => {
                name_touched(command, names);
                continue;
            }
        };
        add(names, String::from_utf8_lossy(key).into_owned());
    }
}

/// Adds the texts that stand in bytes.
fn texts(bytes: &[u8], names: &mut Vec<String>) {
    for run in bytes.split(|byte| !(b' '..=b'~').contains(byte)) {
        if run.len() >= TEXT {
            add(
                names,
                String::from_utf8_lossy(run).chars().take(80).collect(),
            );
        }
    }
}

fn add(names: &mut Vec<String>, name: String) {
    if names.len() < TOLD && !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
