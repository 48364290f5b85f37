//! The end of the process, as a value.
//!
//! After a failed write, sync or rename nobody knows what is on the disk: the kernel reports such an error once and drops the pages.
//! So the first error on log, vote or snapshot is the last thing this node does. The binary's hook prints the error and exits; a
//! test's hook remembers it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portolan_catalog::stored::Damaged;

/// Why the node cannot go on.
#[derive(Debug)]
pub struct FatalError {
    /// What was being done.
    pub doing: &'static str,
    /// The data directory.
    pub place: String,
    /// The system's error.
    pub source: io::Error,
    /// Whether it was a task of the node that ended, and not the disk that failed.
    pub task: bool,
}

impl FatalError {
    /// The entry of the log that cannot be read, if that is why: nothing is the matter with the disk then.
    #[must_use]
    pub fn unreadable(&self) -> Option<&UnreadableEntry> {
        self.source.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (doing, place, source) = (self.doing, &self.place, &self.source);
        if self.task {
            return write!(
                f,
                "{doing} of data directory \"{place}\" stopped: {source}; the node stops because it would look alive without it, \
                 start it again and report this"
            );
        }
        match self.unreadable() {
            Some(entry) if entry.damaged.newer.is_some() => write!(
                f,
                "{entry} in data directory \"{place}\"; start that version or a newer one in it, \
                 `portolan doctor {place}` says more"
            ),
            Some(entry) => write!(
                f,
                "{entry} in data directory \"{place}\"; nothing in it was changed, \
                 `portolan doctor {place}` explains what is affected and what can be done"
            ),
            None => write!(
                f,
                "{doing} in data directory \"{place}\" failed: {source}; the node stops because what is on the disk is now uncertain, \
                 check the disk and start it again"
            ),
        }
    }
}

impl std::error::Error for FatalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// An entry of the log whose checksum is right and that this version cannot read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("log entry {index} cannot be read: {damaged}")]
pub struct UnreadableEntry {
    /// Its place in the log.
    pub index: u64,
    /// What is the matter with it.
    pub damaged: Damaged,
}

/// The error of an entry that cannot be read.
pub(crate) fn unreadable(index: u64, damaged: Damaged) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        UnreadableEntry { index, damaged },
    )
}

type Hook = dyn Fn(&FatalError) + Send + Sync;

/// Called with the first fatal error, once. Clones share the state.
#[derive(Clone)]
pub struct Fatal(Arc<Inner>);

struct Inner {
    place: String,
    fired: AtomicBool,
    hook: Box<Hook>,
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fatal")
            .field("fired", &self.fired())
            .finish_non_exhaustive()
    }
}

impl Fatal {
    /// A hook for the data directory named `place`. It may end the process; if it returns, the replica stays poisoned.
    pub fn new(place: String, hook: impl Fn(&FatalError) + Send + Sync + 'static) -> Self {
        Fatal(Arc::new(Inner {
            place,
            fired: AtomicBool::new(false),
            hook: Box::new(hook),
        }))
    }

    /// Whether a fatal error has happened.
    #[must_use]
    pub fn fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// Reports `error` and gives back one of the same kind for the caller to return.
    pub(crate) fn raise(&self, doing: &'static str, error: io::Error) -> io::Error {
        let back = io::Error::new(error.kind(), format!("{doing}: {error}"));
        if !self.0.fired.swap(true, Ordering::AcqRel) {
            (self.0.hook)(&FatalError {
                doing,
                place: self.0.place.clone(),
                source: error,
                task: false,
            });
        }
        back
    }

    /// Reports that a task the node cannot do without has ended.
    pub(crate) fn end(&self, task: &'static str, how: &str) {
        if !self.0.fired.swap(true, Ordering::AcqRel) {
            (self.0.hook)(&FatalError {
                doing: task,
                place: self.0.place.clone(),
                source: io::Error::other(how.to_owned()),
                task: true,
            });
        }
    }

    /// Fails when the node is poisoned.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.fired() {
            return Err(io::Error::other("the node stopped after a disk error"));
        }
        Ok(())
    }
}
