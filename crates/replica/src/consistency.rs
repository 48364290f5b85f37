//! Whether the files of a directory belong together: a file that is missing must not look like one that never was.
//!
//! A segment that is gone is told by the one before it (`log`). Here: all segments gone, a snapshot gone, and a log that ends before what a
//! snapshot or the history holds.

use std::io;

use crate::consensus::members;
use crate::disk::Disk;
use crate::identity;
use crate::log::{Position, parse_name};
use crate::snapshot::Head;

/// Whether there is no log where there was one. A directory whose first start was interrupted before its log began has none either.
///
/// # Errors
/// Any error of the system.
pub(crate) fn log_is_missing(disk: &dyn Disk) -> io::Result<bool> {
    let names = disk.list()?;
    if names.iter().any(|name| parse_name(name).is_some()) {
        return Ok(false);
    }
    // Earlier versions left no mark; what they wrote after the log's beginning tells it as well.
    let later = |name: &String| {
        (name.starts_with("snapshot-") || name.starts_with("history-")) && !name.ends_with(".tmp")
            || name == "reserve"
            || name.starts_with("spare") && !name.ends_with(".tmp")
    };
    let known = identity::read(disk).is_ok_and(|identity| identity.is_some());
    Ok(known && (identity::log_was_begun(disk) || names.iter().any(later)))
}

/// What is said of it.
pub(crate) const LOG_MISSING: &str =
    "the log's files (\"log-\" and sixteen digits) are missing, and there was a log";

/// The beginning of the name of what is missing, and what does not fit, between a log and the snapshot before it; `purged` and `last` are the log's ends.
pub(crate) fn misfit(
    purged: Option<Position>,
    last: Option<Position>,
    snapshot: Option<&Head>,
) -> Option<(&'static str, String)> {
    let covered = snapshot.and_then(|head| head.last);
    if let Some(purged) = purged
        && covered.is_none_or(|covered| covered.index < purged.index)
    {
        let what = match covered {
            None => "there is none".to_owned(),
            Some(covered) => format!("the one here ends with entry {}", covered.index),
        };
        let what = format!(
            "the log begins after entry {}; what was before is in a snapshot, and {what}",
            purged.index
        );
        return Some(("snapshot-", what));
    }
    // A member of a cluster may have been given a snapshot that is ahead of its log.
    let alone = snapshot.is_some_and(|head| members(&head.membership) == 1);
    let (covered, end) = (covered?, last.map_or(0, |last| last.index));
    (alone && covered.index > end).then(|| {
        let what = format!(
            "the log ends with entry {end} and the snapshot with entry {}: files of the log are missing",
            covered.index
        );
        ("log-", what)
    })
}

/// What is said of a history that reaches beyond what log and snapshot hold; nothing if it does not.
pub(crate) fn lost_after(reached: u64, history: u64) -> Option<String> {
    (history > reached).then(|| {
        format!(
            "the history reaches revision {history}, snapshot and log end at revision {reached}: revisions {} to {history} were acknowledged \
             and are lost from the log",
            reached + 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{alone, together};
    use crate::disk::{MemoryDisk, replace};

    fn at(index: u64) -> Position {
        Position { term: 1, index }
    }

    #[test]
    fn a_directory_that_never_had_a_log_is_not_missing_it() {
        let disk = MemoryDisk::new();
        assert!(!log_is_missing(&disk).unwrap());
        identity::establish(&disk, "n1", false, &mut || 1).unwrap();
        identity::note_version(&disk, "1").unwrap();
        assert!(
            !log_is_missing(&disk).unwrap(),
            "interrupted before the log"
        );
        identity::note_log(&disk, "1").unwrap();
        assert!(log_is_missing(&disk).unwrap());
        assert_eq!(identity::read_version(&disk).as_deref(), Some("1"));
        identity::note_version(&disk, "2").unwrap();
        assert!(
            log_is_missing(&disk).unwrap(),
            "another version keeps the mark"
        );
        replace(&disk, "log-0000000000000001", b"").unwrap();
        assert!(!log_is_missing(&disk).unwrap());
    }

    #[test]
    fn what_an_earlier_version_left_tells_that_there_was_a_log() {
        for name in ["snapshot-1-1", "history-1-2", "spare", "reserve"] {
            let disk = MemoryDisk::new();
            identity::establish(&disk, "n1", false, &mut || 1).unwrap();
            replace(&disk, name, b"").unwrap();
            assert!(log_is_missing(&disk).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_snapshot_and_a_log_that_do_not_meet_are_told() {
        let head = |index, membership| Head {
            last: Some(at(index)),
            membership,
            ..Head::default()
        };
        let one = head(5, alone(1));
        assert_eq!(misfit(Some(at(5)), Some(at(9)), Some(&one)), None);
        assert_eq!(misfit(None, Some(at(9)), None), None);
        let (file, none) = misfit(Some(at(5)), Some(at(9)), None).unwrap();
        assert!(none.contains("there is none"), "{none}");
        assert_eq!(file, "snapshot-");
        assert!(misfit(Some(at(6)), Some(at(9)), Some(&one)).is_some());
        let (_, short) = misfit(None, Some(at(3)), Some(&one)).unwrap();
        assert!(short.contains("files of the log are missing"), "{short}");
        let three = head(5, together(&[1, 2, 3]));
        assert_eq!(misfit(None, Some(at(3)), Some(&three)), None);
    }
}
