//! Damaged directories of several kinds: what is said of them, and that a single server goes on without an entry that is set aside.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use portolan_catalog::stored::LEVEL;
use portolan_catalog::{Keyspace, Revision};
use portolan_replica::Directory;
use portolan_replica::doctor::{Diagnosis, DoctorError, Finding, Lost, examine, set_aside};
use tempfile::TempDir;

use crate::support::{batches, options, propose, put, register, start, value};

/// A directory of a few entries, of a node that was killed.
async fn written() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    for n in 0..5 {
        propose(&registry, put(&format!("key/{n}"), vec![n; 40]))
            .await
            .unwrap();
    }
    propose(&registry, register("web", "10.0.0.1"))
        .await
        .unwrap();
    propose(&registry, put("last", "v")).await.unwrap();
    replica.shutdown().await;
    directory
}

fn segment(directory: &TempDir) -> PathBuf {
    let names = fs::read_dir(directory.path()).unwrap();
    let mut segments: Vec<PathBuf> = names
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log-")
        })
        .collect();
    segments.sort();
    segments.pop().unwrap()
}

/// Changes bytes of a segment and makes the checksum of their frame right again, as a faulty or a newer writer would.
fn rewrite(path: &Path, find: &[u8], change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes
        .windows(find.len())
        .position(|window| window == find)
        .unwrap();
    // The frame around it: at a multiple of eight, its length over the place.
    let begin = (0..=at)
        .rev()
        .filter(|place| place % 8 == 0 && bytes[*place..].starts_with(b"PL\x01"))
        .find(|place| place + 40 + length(&bytes, *place) > at)
        .unwrap();
    change(&mut bytes[at..]);
    let end = begin + 40 + length(&bytes, begin);
    let number: u64 =
        u64::from_str_radix(&path.file_name().unwrap().to_str().unwrap()[4..], 16).unwrap();
    let mut sum = crc32c::crc32c(&number.to_le_bytes());
    sum = crc32c::crc32c_append(sum, &bytes[begin..begin + 8]);
    sum = crc32c::crc32c_append(sum, &bytes[begin + 12..end]);
    bytes[begin + 8..begin + 12].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

fn length(bytes: &[u8], frame: usize) -> usize {
    u32::from_le_bytes(bytes[frame + 4..frame + 8].try_into().unwrap()) as usize
}

fn only(found: &Diagnosis) -> &Finding {
    assert_eq!(found.findings.len(), 1, "{found:#?}");
    &found.findings[0]
}

/// The message that the binary would end with.
async fn fatal(directory: &TempDir) -> String {
    let (told, tell) = std::sync::mpsc::channel();
    let mut options = options(Directory::Path(directory.path().to_owned()));
    options.fatal = Box::new(move |error| {
        let _gone = told.send(error.to_string());
    });
    let error = portolan_replica::Replica::start(options)
        .await
        .map(drop)
        .unwrap_err();
    tell.try_recv().unwrap_or_else(|_| error.to_string())
}

#[tokio::test]
async fn a_sound_directory_is_said_to_be_sound_and_stays_as_it_is() {
    let directory = written().await;
    let before = fs::read(segment(&directory)).unwrap();
    let found = examine(directory.path(), Some("n1")).unwrap();
    assert!(found.findings.is_empty(), "{found:#?}");
    assert_eq!(found.reached.0, 8);
    assert_eq!((found.level, found.members), (LEVEL, 1));
    assert_eq!(found.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(found.identity.unwrap().node_name, "n1");
    assert_eq!(fs::read(segment(&directory)).unwrap(), before);
    let nothing = set_aside(directory.path()).unwrap_err();
    assert!(
        nothing.to_string().contains("none to set aside"),
        "{nothing}"
    );
}

#[tokio::test]
async fn an_unreadable_entry_is_explained_and_set_aside() {
    let directory = written().await;
    // The kind of the operation before the key: nobody knows operation 99.
    rewrite(&segment(&directory), b"\x00\x00\x05key/2", |bytes| {
        bytes[0] = 99
    });
    let said = fatal(&directory).await;
    assert!(said.contains("cannot be read: unknown"), "{said}");
    let named = format!("`portolan doctor {}`", directory.path().display());
    assert!(said.contains(&named), "{said}");

    let found = examine(directory.path(), None).unwrap();
    let finding = only(&found);
    assert!(finding.file.starts_with("log-"), "{finding:?}");
    assert!(finding.what.contains("unknown operation 99"), "{finding:?}");
    let entry = finding.entry().unwrap();
    assert_eq!(entry.revision, Some(4), "two puts came before");
    assert_eq!(found.reached.0, 3);
    assert!(
        entry.names.iter().any(|name| name.contains("key/2")),
        "{entry:?}"
    );
    assert_eq!(entry.newer, None);
    assert!(finding.advice.contains("--yes"), "{finding:?}");
    let original = fs::read(segment(&directory)).unwrap();

    let done = set_aside(directory.path()).unwrap();
    assert_eq!(done.len(), 1);
    let kept = fs::read(directory.path().join(&done[0].1)).unwrap();
    assert_eq!(kept.len(), entry.length);
    assert!(original.windows(kept.len()).any(|window| window == kept));
    let found = examine(directory.path(), None).unwrap();
    assert!(found.findings.is_empty(), "{found:#?}");
    assert_eq!(found.aside, [done[0].1.clone()]);

    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    let state = registry.snapshot();
    assert_eq!(state.revision(), Revision(7), "one revision is lost");
    assert!(state.record(Keyspace::Etcd, b"key/2").is_none());
    for key in ["key/0", "key/1", "key/3", "key/4", "last"] {
        assert!(value(&state, key).is_some(), "{key}");
    }
    propose(&registry, put("goes on", "v")).await.unwrap();
    // In use.
    let error = examine(directory.path(), None).unwrap_err();
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    replica.shutdown().await;
    assert!(
        directory.path().join(&done[0].1).exists(),
        "it is never deleted"
    );
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_not_set_aside() {
    let directory = written().await;
    let path = segment(&directory);
    let bytes = fs::read(&path).unwrap();
    let key = bytes
        .windows(5)
        .position(|window| window == b"key/3")
        .unwrap();
    // Back to the entry's header in its frame: 24 bytes whose body begins with the level.
    let body = (0..key)
        .rev()
        .find(|at| bytes[*at] == 1 && bytes[at - 20..at - 16] == [1, 0, 0, 0])
        .unwrap();
    let find = bytes[body..key].to_vec();
    rewrite(&path, &find, |bytes| bytes[0] = 7);
    let said = fatal(&directory).await;
    assert!(
        said.contains("written by a newer version: feature level 7, this version knows"),
        "{said}"
    );
    assert!(said.contains("start that version or a newer one"), "{said}");
    let found = examine(directory.path(), None).unwrap();
    assert_eq!(only(&found).entry().unwrap().newer, Some(7));
    let error = set_aside(directory.path()).unwrap_err();
    assert!(matches!(error, DoctorError::Refused(_)));
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn damaged_files_are_named_with_what_can_be_done() {
    // A snapshot that is not whole.
    let fixture = crate::earlier::copy_of("all");
    let name = "snapshot-0000000000000023-0000000000000001";
    let path = fixture.path().join(name);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = fatal(&fixture).await;
    assert!(
        said.contains(name) && said.contains("portolan doctor"),
        "{said}"
    );
    let found = examine(fixture.path(), None).unwrap();
    assert_eq!(only(&found).file, name);
    assert!(found.entries.is_some(), "the log is looked at all the same");

    // Another node's, one without its identity, and one that is none.
    let directory = written().await;
    let found = examine(directory.path(), Some("n2")).unwrap();
    assert!(only(&found).advice.contains("--node-name n1"), "{found:#?}");
    fs::remove_file(directory.path().join("node.toml")).unwrap();
    let found = examine(directory.path(), None).unwrap();
    assert!(only(&found).what.contains("no node.toml"), "{found:#?}");
    assert_eq!(found.reached.0, 8, "the log can be read");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        examine(empty.path(), None),
        Err(DoctorError::NoDirectory(_))
    ));
    assert!(
        fs::read_dir(empty.path()).unwrap().next().is_none(),
        "nothing is made there"
    );
}

#[tokio::test]
async fn a_directory_of_an_earlier_version_is_sound_and_says_so() {
    let found = examine(crate::earlier::copy_of("nested").path(), None).unwrap();
    assert!(found.findings.is_empty(), "{found:#?}");
    assert_eq!((found.version, found.level, found.reached.0), (None, 1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_the_history_is_told_and_keeps_nobody_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Directory::Path(directory.path().to_owned());
    let file = || {
        let names = fs::read_dir(directory.path()).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut paths = names.map(|file| file.unwrap().path());
        paths.find(|path| {
            let name = name(path);
            name.starts_with("history-") && !name.ends_with(".tmp")
        })
    };
    let mut small = options(place());
    small.snapshot_bytes = 16 << 10;
    let (replica, registry) = portolan_replica::Replica::start(small).await.unwrap();
    // A snapshot comes after the history is in files.
    let mut written = 0;
    while file().is_none() {
        assert!(written < 5000, "no file of the history");
        propose(
            &registry,
            put(&format!("key/{}", written % 7), vec![1; 400]),
        )
        .await
        .unwrap();
        written += 1;
    }
    replica.shutdown().await;
    assert!(examine(directory.path(), None).unwrap().findings.is_empty());

    let damaged = file().unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&damaged, &bytes).unwrap();
    let found = examine(directory.path(), None).unwrap();
    let finding = only(&found);
    assert_eq!(finding.file, damaged.file_name().unwrap().to_str().unwrap());
    assert!(finding.what.contains("cannot be read"), "{finding:?}");
    assert!(finding.advice.contains("the server starts"), "{finding:?}");
    assert!(matches!(
        set_aside(directory.path()),
        Err(DoctorError::Refused(_))
    ));
    // Looking changed nothing, and the start is not in the way of anybody.
    assert_eq!(fs::read(&damaged).unwrap(), bytes);
    let (replica, registry) = start(place()).await.unwrap();
    let revision = registry.snapshot().revision();
    assert!(
        revision > Revision(u64::try_from(written).unwrap()),
        "{revision}"
    );
    replica.shutdown().await;
}

/// The only revision that is not there any more is the one whose bytes were changed; what came after it is.
#[tokio::test]
async fn a_flipped_bit_in_the_middle_is_told_and_set_aside_alone() {
    let directory = written().await;
    let path = segment(&directory);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(5)
        .position(|window| window == b"key/1")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = fatal(&directory).await;
    assert!(said.contains("portolan doctor"), "{said}");

    let found = examine(directory.path(), None).unwrap();
    let finding = only(&found);
    assert!(finding.advice.contains("--yes"), "{finding:?}");
    let Some(Lost::Bytes(lost)) = &finding.lost else {
        panic!("{finding:?}")
    };
    assert_eq!((lost.revision, lost.entries), (Some(3), 1), "{lost:?}");
    assert!(!lost.is_last && lost.later >= 5, "{lost:?}");
    assert!(
        lost.names.iter().any(|name| name.contains("jey/1")),
        "{lost:?}"
    );

    let done = set_aside(directory.path()).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(directory.path().join(&done[0].1).exists());
    assert!(examine(directory.path(), None).unwrap().findings.is_empty());
    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    let state = registry.snapshot();
    assert_eq!(state.revision(), Revision(7), "one revision is lost");
    for key in ["key/0", "key/2", "key/3", "key/4", "last"] {
        assert!(value(&state, key).is_some(), "{key}");
    }
    propose(&registry, put("goes on", "v")).await.unwrap();
    replica.shutdown().await;
}

#[tokio::test]
async fn a_changed_last_record_refuses_until_it_is_cut_off() {
    let directory = written().await;
    let path = segment(&directory);
    let mut bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let said = fatal(&directory).await;
    assert!(said.contains("all of it was written"), "{said}");
    let found = examine(directory.path(), None).unwrap();
    assert!(
        matches!(&only(&found).lost, Some(Lost::Bytes(lost)) if lost.is_last),
        "{found:#?}"
    );
    set_aside(directory.path()).unwrap();
    assert!(examine(directory.path(), None).unwrap().findings.is_empty());
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(length, bytes.len() as u64);

    // Half of the file: what it held is gone, and said to be.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let said = fatal(&directory).await;
    assert!(said.contains("was made with"), "{said}");
    set_aside(directory.path()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    propose(&registry, put("goes on", "v")).await.unwrap();
    replica.shutdown().await;
}

/// A directory with a snapshot, several segments and history in files.
async fn long() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(Directory::Path(directory.path().to_owned()));
    options.snapshot_bytes = 100 << 10;
    options.retention.memory_bytes = 64 << 10;
    let (replica, registry) = portolan_replica::Replica::start(options).await.unwrap();
    for n in 0..120u32 {
        propose(&registry, put(&format!("key/{n}"), vec![n as u8; 3000]))
            .await
            .unwrap();
    }
    let stats = replica.stats().clone();
    crate::support::until("a snapshot", || stats.snapshots.get() > 0).await;
    replica.shutdown().await;
    directory
}

fn named(directory: &TempDir, prefix: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(directory.path()).unwrap();
    let mut found: Vec<PathBuf> = names.map(|file| file.unwrap().path()).collect();
    found.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    });
    found.sort();
    found
}

#[tokio::test]
async fn a_missing_file_is_never_an_empty_beginning() {
    let directory = long().await;
    assert!(examine(directory.path(), None).unwrap().findings.is_empty());
    let (logs, snapshots, histories) = (
        named(&directory, "log-"),
        named(&directory, "snapshot-"),
        named(&directory, "history-"),
    );
    assert!(!snapshots.is_empty() && !histories.is_empty());
    let aside = tempfile::tempdir().unwrap();
    let hide = |files: &[PathBuf]| {
        for file in files {
            fs::rename(file, aside.path().join(file.file_name().unwrap())).unwrap();
        }
    };
    let show = |files: &[PathBuf]| {
        for file in files {
            fs::rename(aside.path().join(file.file_name().unwrap()), file).unwrap();
        }
    };
    let everything: Vec<PathBuf> = [&logs[..], &snapshots, &histories].concat();
    for (what, files) in [
        ("the log's files", &logs[..]),
        ("the log's files", &everything[..]),
        ("what was before is in a snapshot", &snapshots[..]),
    ] {
        hide(files);
        let said = fatal(&directory).await;
        assert!(said.contains(what), "{said}");
        assert!(said.contains("portolan doctor"), "{said}");
        let found = examine(directory.path(), None).unwrap();
        assert!(only(&found).what.contains(what), "{found:#?}");
        assert!(set_aside(directory.path()).is_err());
        show(files);
    }
    // A file of the history that is cut is told; the server starts without it.
    let whole = fs::read(&histories[0]).unwrap();
    fs::write(&histories[0], &whole[..whole.len() / 2]).unwrap();
    let found = examine(directory.path(), None).unwrap();
    let finding = &found.findings[0];
    assert!(
        finding.file.starts_with("history-") && finding.what.contains("cannot be read"),
        "{found:#?}"
    );
    let (replica, _) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    replica.shutdown().await;
}

/// An older log under a newer history: without a refusal, reads of the past would tell of another one.
#[tokio::test]
async fn a_history_that_reaches_further_than_the_log_refuses_until_it_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    propose(&registry, put("old", "1")).await.unwrap();
    replica.shutdown().await;
    let kept: Vec<(PathBuf, Vec<u8>)> = named(&directory, "log-")
        .into_iter()
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    let mut options = options(Directory::Path(directory.path().to_owned()));
    options.retention.memory_bytes = 1 << 10;
    let (replica, registry) = portolan_replica::Replica::start(options).await.unwrap();
    for n in 0..40u8 {
        propose(&registry, put("new", vec![n; 100])).await.unwrap();
    }
    crate::support::until("history in files", || {
        !named(&directory, "history-").is_empty()
    })
    .await;
    replica.shutdown().await;
    for log in named(&directory, "log-")
        .iter()
        .chain(&named(&directory, "snapshot-"))
    {
        fs::remove_file(log).unwrap();
    }
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }

    let said = fatal(&directory).await;
    assert!(said.contains("the history reaches revision"), "{said}");
    assert!(said.contains("were acknowledged"), "{said}");
    let found = examine(directory.path(), None).unwrap();
    assert!(
        matches!(only(&found).lost, Some(Lost::History { reached: 2, .. })),
        "{found:#?}"
    );
    let done = set_aside(directory.path()).unwrap();
    assert!(
        done.iter()
            .all(|(_, file)| file.starts_with("aside-history-"))
    );
    let (replica, registry) = start(Directory::Path(directory.path().to_owned()))
        .await
        .unwrap();
    assert_eq!(registry.snapshot().revision(), Revision(2));
    assert_eq!(
        batches(&registry).len(),
        1,
        "what the log has is history again"
    );
    replica.shutdown().await;
}
