//! A cause, as it is being found: its kind, how likely it is the one, and what was read where.

use portolan_api as api;
use portolan_catalog::{Batch, Cause, Instance, Revision, Timestamp};
use serde_json::{Map, Value};

use crate::as_of::print;

/// How likely a cause is the one that was asked for; ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The guard keeps silent instances visible: explains more than what happened to single ones.
    Guard,
    /// Somebody took it out on purpose.
    Purpose,
    /// It says so itself.
    Declared,
    /// Its node.
    Node,
    /// Its checks and its time to live.
    Health,
    /// The guard keeps it listed although its checks say that it should go.
    Kept,
    /// Its weight.
    Weight,
    /// Gone, but its address is still served by another registration.
    Twin,
    /// Gone.
    Gone,
    /// There, under another name.
    Elsewhere,
    /// There, in another spelling.
    Spelling,
    /// There is a record nobody recognised.
    Record,
    /// Never seen.
    Never,
    /// There, and shown by some protocols as another registration of the same address.
    Shadow,
}

impl Rank {
    /// Whether a cause of this rank explains an absence: then other names need not be looked for.
    pub(crate) fn explains(self) -> bool {
        self <= Rank::Gone
    }
}

/// A cause.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) rank: Rank,
    kind: &'static str,
    instance: Option<String>,
    pub(crate) at: Option<Timestamp>,
    revision: Option<Revision>,
    text: String,
    detail: Map<String, Value>,
}

impl Found {
    pub(crate) fn new(rank: Rank, kind: &'static str, text: impl Into<String>) -> Found {
        Found {
            rank,
            kind,
            instance: None,
            at: None,
            revision: None,
            text: text.into(),
            detail: Map::new(),
        }
    }

    pub(crate) fn of(mut self, row: &Instance) -> Found {
        self.instance = Some(row.key.to_string());
        self
    }

    pub(crate) fn at(mut self, at: Timestamp) -> Found {
        self.at = Some(at);
        self
    }

    /// It happened in this batch.
    pub(crate) fn by(mut self, batch: &Batch) -> Found {
        self.at = Some(batch.at);
        self.revision = Some(batch.revision);
        self.caused(&batch.cause)
    }

    /// Whose doing it was.
    pub(crate) fn caused(self, cause: &Cause) -> Found {
        let found = self.with("protocol", cause.protocol.to_string());
        let found = match cause.peer {
            Some(peer) => found.with("peer", peer.to_string()),
            None => found,
        };
        match &cause.principal {
            Some(principal) => found.with("principal", principal.to_string()),
            None => found,
        }
    }

    pub(crate) fn revision(mut self, revision: Revision) -> Found {
        self.revision = Some(revision);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Found {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn into_reason(self) -> api::Reason {
        api::Reason {
            kind: self.kind.to_owned(),
            instance: self.instance,
            at: self.at.map(print),
            revision: self.revision.map(|revision| revision.0),
            text: self.text,
            detail: self.detail,
        }
    }
}
