//! Whose directory this is: the lock against a second process and the identity file.
//!
//! `LOCK` holds an advisory lock for as long as the process lives. `node.toml` names the node, its Raft id, its cluster and the
//! format of the directory; it is written once, before anything else. `version` says who opened it last, and that a log was begun.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::disk::{Disk, OpenMode, is_full, read_whole, replace};

/// The format this version writes. It reads no other.
pub const FORMAT: u32 = 1;
const IDENTITY: &str = "node.toml";
const LOCK: &str = "LOCK";
const VERSION: &str = "version";
const BEGUN: &str = "the log was begun\n";

/// Who owns a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Raft id, drawn at random when the directory was empty, never zero.
    pub node_id: u64,
    /// Name given by the operator.
    pub node_name: String,
    /// Drawn by the first server of the cluster.
    pub cluster_id: u64,
    /// The server came to a cluster of others: it never begins one by itself.
    pub joins: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process holds the lock.
    #[error(
        "data directory \"{place}\" is in use by another process; stop it or choose another --data-dir"
    )]
    Locked {
        /// The directory.
        place: String,
    },
    /// The directory was made for another node.
    #[error(
        "data directory \"{place}\" belongs to node \"{owner}\", this is \"{name}\"; pass --node-name {owner} or choose another --data-dir"
    )]
    OtherNode {
        /// The directory.
        place: String,
        /// The name in the directory.
        owner: String,
        /// The name that was asked for.
        name: String,
    },
    /// The directory was written by a version that this one does not understand.
    #[error(
        "data directory \"{place}\" has format {found}, this version reads format {FORMAT}; use the version that wrote it, `portolan doctor {place}` says which"
    )]
    Format {
        /// The directory.
        place: String,
        /// The format in the file.
        found: u32,
    },
    /// The identity file is damaged.
    #[error(
        "file node.toml in data directory \"{place}\" is damaged ({what}); restore it from a backup of the directory"
    )]
    Damaged {
        /// The directory.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// There is a log but no identity.
    #[error(
        "data directory \"{place}\" has a log but no node.toml; restore the file from a backup, or empty the directory to start anew"
    )]
    Missing {
        /// The directory.
        place: String,
    },
    /// The system refused.
    #[error("cannot {doing} in data directory \"{place}\"")]
    Io {
        /// The directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Holds the lock until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Takes the lock of a real directory.
///
/// # Errors
/// [`IdentityError::Locked`] if another process has it, [`IdentityError::Io`] if the file cannot be made.
#[allow(
    clippy::disallowed_methods,
    reason = "the lock is between real processes; a simulation has none"
)]
pub fn lock(path: &Path) -> Result<DirectoryLock, IdentityError> {
    let place = path.display().to_string();
    let io = |doing| {
        let place = place.clone();
        move |source| IdentityError::Io {
            place,
            doing,
            source,
        }
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK))
        .map_err(io("open the lock file"))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(DirectoryLock { _file: file }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Err(TryLockError::Error(source)) => return Err(io("lock the lock file")(source)),
        }
    }
    Err(IdentityError::Locked { place })
}

/// A process that was killed holds its lock until the kernel has taken its memory back; whoever starts it again at once
/// waits for that, two seconds at most.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

/// Reads the identity of a directory, or writes a new one into an empty directory.
///
/// `draw` gives random numbers and is asked only for a new identity, as is whether this server `joins` others.
///
/// # Errors
/// See [`IdentityError`].
pub fn establish(
    disk: &dyn Disk,
    name: &str,
    joins: bool,
    draw: &mut dyn FnMut() -> u64,
) -> Result<Identity, IdentityError> {
    if let Some(found) = read(disk)? {
        if found.node_name != name {
            return Err(IdentityError::OtherNode {
                place: disk.place(),
                owner: found.node_name,
                name: name.to_owned(),
            });
        }
        return Ok(found);
    }
    let identity = Identity {
        node_id: draw().max(1),
        node_name: name.to_owned(),
        cluster_id: draw().max(1),
        joins,
    };
    create(disk, identity)
}

/// Writes the identity of a directory that has none.
///
/// # Errors
/// [`IdentityError::Io`].
pub(crate) fn create(disk: &dyn Disk, identity: Identity) -> Result<Identity, IdentityError> {
    replace(disk, IDENTITY, print(&identity).as_bytes()).map_err(|source| IdentityError::Io {
        place: disk.place(),
        doing: "write node.toml",
        source,
    })?;
    Ok(identity)
}

/// Reads the identity file; `None` if the directory is empty.
///
/// # Errors
/// See [`IdentityError`].
pub fn read(disk: &dyn Disk) -> Result<Option<Identity>, IdentityError> {
    let io = |doing| {
        move |source| IdentityError::Io {
            place: disk.place(),
            doing,
            source,
        }
    };
    let bytes = match disk.open(IDENTITY, OpenMode::Read) {
        Ok(file) => read_whole(file.as_ref()).map_err(io("read node.toml"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let names = disk.list().map_err(io("list the files"))?;
            if names.iter().any(|name| name.starts_with("log-")) {
                return Err(IdentityError::Missing {
                    place: disk.place(),
                });
            }
            return Ok(None);
        }
        Err(error) => return Err(io("open node.toml")(error)),
    };
    parse(&bytes, &disk.place()).map(Some)
}

/// Remembers which version opened the directory last. For those who look at it later; nothing depends on it, so that it is left to the next
/// start where the disk is full: whoever starts there is to answer reads.
///
/// # Errors
/// Any other error of the system.
pub(crate) fn note_version(disk: &dyn Disk, version: &str) -> io::Result<()> {
    if read_version(disk).as_deref() == Some(version) {
        return Ok(());
    }
    let mark = if log_was_begun(disk) { BEGUN } else { "" };
    unless_full(replace(
        disk,
        VERSION,
        format!("{version}\n{mark}").as_bytes(),
    ))
}

fn unless_full(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if is_full(&error) => {
            tracing::warn!("the disk is full: that this version was started is not noted");
            Ok(())
        }
        written => written,
    }
}

/// Remembers, when the first segment of the log is durable, that there is one: from now on it can only be missing. As [`note_version`] where
/// the disk is full.
///
/// # Errors
/// Any other error of the system.
pub(crate) fn note_log(disk: &dyn Disk, version: &str) -> io::Result<()> {
    if log_was_begun(disk) {
        return Ok(());
    }
    unless_full(replace(
        disk,
        VERSION,
        format!("{version}\n{BEGUN}").as_bytes(),
    ))
}

/// Whether [`note_log`] was called. Versions up to 0.1.0 did not.
pub(crate) fn log_was_begun(disk: &dyn Disk) -> bool {
    version_file(disk).is_some_and(|text| text.lines().any(|line| line == BEGUN.trim()))
}

/// The version that opened the directory last, if one has said so.
pub(crate) fn read_version(disk: &dyn Disk) -> Option<String> {
    Some(version_file(disk)?.lines().next()?.trim().to_owned())
}

fn version_file(disk: &dyn Disk) -> Option<String> {
    let file = disk.open(VERSION, OpenMode::Read).ok()?;
    String::from_utf8(read_whole(file.as_ref()).ok()?).ok()
}

fn print(identity: &Identity) -> String {
    let joins = if identity.joins { "joins = true\n" } else { "" };
    let body = format!(
        "format = {FORMAT}\nnode_id = \"{:016x}\"\nnode_name = {:?}\ncluster_id = \"{:016x}\"\n{joins}",
        identity.node_id, identity.node_name, identity.cluster_id
    );
    let sum = crc32c::crc32c(body.as_bytes());
    format!("# written by portolan, do not edit\n{body}checksum = \"{sum:08x}\"\n")
}

fn parse(bytes: &[u8], place: &str) -> Result<Identity, IdentityError> {
    let damaged = |what: &str| IdentityError::Damaged {
        place: place.to_owned(),
        what: what.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not UTF-8"))?;
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(" = "))
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
            .ok_or_else(|| damaged(&format!("no {key}")))
    };
    let hex = |key: &str| {
        let value = value(key)?.trim_matches('"');
        u64::from_str_radix(value, 16).map_err(|_| damaged(&format!("{key} is not a number")))
    };
    let found = value("format")?
        .parse()
        .map_err(|_| damaged("format is not a number"))?;
    if found != FORMAT {
        return Err(IdentityError::Format {
            place: place.to_owned(),
            found,
        });
    }
    let quoted = value("node_name")?;
    let identity = Identity {
        node_id: hex("node_id")?,
        node_name: unquote(quoted).ok_or_else(|| damaged("node_name is not quoted"))?,
        cluster_id: hex("cluster_id")?,
        joins: value("joins").is_ok(),
    };
    if print(&identity) != text {
        return Err(damaged("the checksum does not match"));
    }
    Ok(identity)
}

/// Undoes `{:?}` for the names that are allowed, which hold neither control characters nor other escapes.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut name = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.push(letters.next()?),
            letter => name.push(letter),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn a_directory_keeps_its_owner() {
        let disk = MemoryDisk::new();
        let mut number = 6;
        let mut draw = || {
            number += 1;
            number
        };
        let first = establish(&disk, "n \"2\"", false, &mut draw).unwrap();
        assert_eq!((first.node_id, first.cluster_id), (7, 8));
        assert_eq!(
            establish(&disk, "n \"2\"", false, &mut draw).unwrap(),
            first
        );
        let error = establish(&disk, "n1", false, &mut draw)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("belongs to node \"n \"2\"\", this is \"n1\""),
            "{error}"
        );
    }

    #[test]
    fn damage_and_other_formats_are_refused() {
        let identity = Identity {
            node_id: 1,
            node_name: "n1".to_owned(),
            cluster_id: 2,
            joins: true,
        };
        let text = print(&identity);
        assert_eq!(parse(text.as_bytes(), "d").unwrap(), identity);
        let alone = Identity {
            joins: false,
            ..identity
        };
        assert_eq!(parse(print(&alone).as_bytes(), "d").unwrap(), alone);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            assert!(parse(&bytes, "d").is_err(), "flip at {place}");
        }
        let later = text.replace("format = 1", "format = 2");
        assert!(matches!(
            parse(later.as_bytes(), "d"),
            Err(IdentityError::Format { found: 2, .. })
        ));
    }

    #[test]
    fn a_second_lock_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap();
        let error = lock(directory.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Locked { .. }));
        assert!(
            error
                .to_string()
                .contains(&directory.path().display().to_string())
        );
        drop(held);
        assert!(lock(directory.path()).is_ok());
    }
}
