//! Looking at a directory: what can be read, what is wrong, and what could be done.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use portolan_catalog::State;
use portolan_catalog::stored;

use super::names::{of_batch, texts};
use crate::consensus::members;
use crate::consistency;
use crate::departure;
use crate::disk::{Disk, FileReader, OpenMode, RealDisk};
use crate::history_files::DiskFiles;
use crate::identity::{self, Identity, IdentityError};
use crate::log::{Body, Hole, LogError, Logged, Position, Readable};
use crate::snapshot::{self, ReadError};

/// What is to be done where nothing in the directory can help.
const FROM_ELSEWHERE: &str =
    "restore the directory from a copy, or fill an empty one with `portolan snapshot restore`";

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
    /// Revision and time that a start would reach, were nothing unreadable in its way; 0 where that is not known.
    pub reached: (u64, u64),
    /// The revisions after which the history's files begin and with which they end; equal if there are none.
    pub history: (u64, u64),
    /// Whether the server has left its cluster by a clean leave.
    pub left: bool,
    /// Files with entries that were set aside earlier.
    pub aside: Vec<String>,
    /// What is wrong; empty for a sound directory.
    pub findings: Vec<Finding>,
    /// What is the matter with bytes of the log that are told of when their place comes.
    broken: Option<String>,
    /// Whether snapshot and log can be read to the end.
    sound: bool,
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
    /// What is lost by it and can be set aside, so that the server starts without it.
    pub lost: Option<Lost>,
}

impl Finding {
    /// The entry, when it is one that cannot be read.
    #[must_use]
    pub fn entry(&self) -> Option<&Unreadable> {
        match &self.lost {
            Some(Lost::Entry(entry)) => Some(entry),
            _ => None,
        }
    }
}

/// What cannot be read and can be set aside.
#[derive(Clone, Debug)]
pub enum Lost {
    /// An entry of the log.
    Entry(Unreadable),
    /// Bytes of the log that are no good frame.
    Bytes(BadBytes),
    /// Files of the history beyond the revision that snapshot and log reach.
    History {
        /// The last revision that they reach.
        reached: u64,
        /// The last one in the history.
        through: u64,
    },
}

/// Bytes of a segment that are no good frame, or missing.
#[derive(Clone, Debug)]
pub struct BadBytes {
    /// The segment's file.
    pub file: String,
    /// Where they begin.
    pub at: u64,
    /// How many.
    pub length: u64,
    /// The first entry that stood there.
    pub first: u64,
    /// How many entries; where nothing good comes after, as many as can be told.
    pub entries: u64,
    /// Whether nothing good comes after, so that there may have been more.
    pub is_last: bool,
    /// Whether the snapshot has all of these entries, so that nothing is lost.
    pub in_snapshot: bool,
    /// The first revision they made; none when an earlier entry cannot be read either.
    pub revision: Option<u64>,
    /// Commands in them that can still be read, though no checksum vouches for them.
    pub commands: u64,
    /// Entries after them.
    pub later: u64,
    /// Keys, instances and texts in them, as far as can be told.
    pub names: Vec<String>,
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
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let names = disk.list().map_err(failed(&place, "list the files"))?;
    let ours = |name: &String| name == "node.toml" || name.starts_with("log-");
    if !names.iter().any(ours) {
        return Err(DoctorError::NoDirectory(place));
    }
    let _lock = identity::lock(path)?;
    examine_disk(&disk, node_name)
}

pub(super) fn failed(
    place: &str,
    doing: &'static str,
) -> impl Fn(io::Error) -> DoctorError + use<> {
    let place = place.to_owned();
    move |source| DoctorError::Io {
        place: place.clone(),
        doing,
        source,
    }
}

fn examine_disk(shared: &Arc<dyn Disk>, node_name: Option<&str>) -> Result<Diagnosis, DoctorError> {
    let disk = shared.as_ref();
    let place = disk.place();
    let mut found = Diagnosis {
        place: place.clone(),
        version: identity::read_version(disk),
        level: 1,
        left: departure::has_left(disk).map_err(failed(&place, "read the file \"left\""))?,
        sound: true,
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
    let mut hole = None;
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
            found.sound = false;
            hole = log.hole(disk).map_err(failed(&place, "read the log"))?;
            if hole.as_ref().is_none_or(|hole| hole.mended.is_none()) {
                hole = None;
                let advice = format!(
                    "what was acknowledged after that is in this file or nowhere: {FROM_ELSEWHERE}"
                );
                found.tell(
                    &file,
                    &format!("{what}; {}", can_be_read(&log)),
                    &advice,
                    None,
                );
            } else {
                found.broken = Some(what);
            }
        }
    }
    let state = found.whole(disk, &log, state)?;
    found.replay(state, &log, hole.as_ref());
    found.look_at_history(shared)?;
    Ok(found)
}

fn can_be_read(log: &Readable) -> String {
    log.entries()
        .last()
        .map_or("no entry of the log can be read".to_owned(), |last| {
            format!("entries up to {} can be read", last.entry.position.index)
        })
}

impl Diagnosis {
    fn tell(&mut self, file: &str, what: &str, advice: &str, lost: Option<Lost>) {
        self.findings.push(Finding {
            file: file.to_owned(),
            what: what.to_owned(),
            advice: advice.to_owned(),
            lost,
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
                self.sound = false;
                Ok(None)
            }
        }
    }

    /// Applies what a start would apply, as far as it can be read, and looks at every later entry too.
    fn replay(&mut self, mut state: Option<State>, log: &Readable, hole: Option<&Hole>) {
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
                    of_batch(batch.bytes(), &mut names);
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
                    self.tell(&logged.file, &what, &advice, Some(Lost::Entry(entry)));
                }
            }
        }
        if let (Some(hole), Some(what)) = (hole, self.broken.take()) {
            let in_snapshot =
                covered.is_some_and(|covered| hole.first + hole.entries <= covered.index + 1);
            self.tell_of_hole(hole, &what, state.as_ref(), in_snapshot && !hole.is_last);
        }
    }

    fn tell_of_hole(&mut self, hole: &Hole, what: &str, state: Option<&State>, in_snapshot: bool) {
        let mut found = Vec::new();
        let mut commands = 0;
        for body in &hole.bodies {
            commands += of_batch(body, &mut found);
        }
        texts(&hole.bytes, &mut found);
        let bytes = BadBytes {
            file: hole.file.clone(),
            at: hole.at as u64,
            length: hole.bytes.len() as u64,
            first: hole.first,
            entries: hole.entries,
            is_last: hole.is_last,
            in_snapshot,
            revision: state.map(|state| state.revision().0 + 1),
            commands,
            later: hole.later,
            names: found,
        };
        let begin = if hole.is_last {
            "the server starts with what is before them"
        } else {
            "the server starts without them, with all that is good after them"
        };
        let advice = format!(
            "a copy of the directory may have them; else `portolan doctor {} --yes` keeps these bytes in a file beside the log, and {begin}",
            self.place
        );
        self.tell(&hole.file, what, &advice, Some(Lost::Bytes(bytes)));
    }

    /// Says which files are missing. The state to go on from is not known then.
    fn whole(
        &mut self,
        disk: &dyn Disk,
        log: &Readable,
        state: Option<State>,
    ) -> Result<Option<State>, DoctorError> {
        let missing = consistency::log_is_missing(disk);
        if missing.map_err(failed(&self.place, "list the files"))? {
            let advice = match &self.snapshot {
                None => FROM_ELSEWHERE.to_owned(),
                Some((name, head)) => format!(
                    "{FROM_ELSEWHERE}; \"{name}\" is a file for that, it has everything up to revision {}",
                    head.revision
                ),
            };
            self.tell("log-", consistency::LOG_MISSING, &advice, None);
            self.sound = false;
            return Ok(state);
        }
        let (purged, last) = log.ends();
        let head = self.snapshot.as_ref().map(|(_, head)| head);
        // A snapshot that cannot be read has been told of, and a log that cannot be ends too early anyway.
        if state.is_none() || !self.sound {
            return Ok(state);
        }
        let Some((file, what)) = consistency::misfit(purged, last, head) else {
            return Ok(state);
        };
        self.tell(file, &what, FROM_ELSEWHERE, None);
        self.sound = false;
        self.reached = (0, 0);
        Ok(None)
    }

    /// Reads the history's files, and looks whether they reach further than snapshot and log.
    fn look_at_history(&mut self, disk: &Arc<dyn Disk>) -> Result<(), DoctorError> {
        let files = DiskFiles::look(disk.clone());
        let found =
            portolan_history::inspect(&files).map_err(failed(&self.place, "read the history"))?;
        let after = found.iter().map(|file| file.after.0).min();
        let through = found.iter().map(|file| file.through.0).max();
        self.history = (after.unwrap_or(0), through.unwrap_or(0));
        for file in &found {
            if let Some(damage) = &file.damage {
                let what = format!(
                    "{}: revisions {} to {} of the history cannot be read",
                    damage.what,
                    file.after.next(),
                    file.through
                );
                let advice = "the server starts without it, and reads of these revisions are refused; what is registered now does not depend on it";
                self.tell(&file.name, &what, advice, None);
            }
        }
        let (reached, through) = (self.reached.0, self.history.1);
        let explained = self.findings.iter().any(|finding| finding.lost.is_some());
        if self.sound
            && self.members <= 1
            && !explained
            && let Some(what) = consistency::lost_after(reached, through)
        {
            let advice = format!(
                "{FROM_ELSEWHERE}; else `portolan doctor {} --yes` sets the history after revision {reached} aside, and the server starts with what \
                 snapshot and log have",
                self.place
            );
            let lost = Lost::History { reached, through };
            self.tell("history-", &what, &advice, Some(lost));
        }
        Ok(())
    }
}
