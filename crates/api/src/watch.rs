//! `GET /v1/watch`: one JSON object per line, for as long as the connection lasts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who caused a change and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The protocol it came through; `portolan` for what the server decided itself.
    pub protocol: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Who was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `call`, `silence`, `probe`, `reaped`, `guard`, `disconnected`, `mirror`, `layout`, `housekeeping` or `start`.
    pub why: String,
    /// The same for people.
    pub text: String,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It appeared.
    Created,
    /// It differs.
    Changed,
    /// It went.
    Removed,
}

/// One row that became different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What became of it.
    pub kind: ChangeKind,
    /// `instance`, `endpoint`, `service`, `namespace`, `node`, `check`, `session`, or the keyspace of a record.
    pub table: String,
    /// Which row.
    pub row: String,
    /// The service it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The row before: an [`Instance`](crate::Instance), [`Check`](crate::Check), [`KvEntry`](crate::KvEntry), or an object with a few
    /// fields for the other tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The row now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    /// The first: changes above this revision follow.
    Start {
        /// The revision.
        revision: u64,
    },
    /// All changes of one revision that were asked for.
    Event {
        /// The revision.
        revision: u64,
        /// When.
        at: String,
        /// Who and why.
        cause: Cause,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Nothing happened for a while; everything up to this revision was sent. Resume from it.
    Idle {
        /// The revision.
        revision: u64,
    },
    /// The last: the server stops, or the reader was too slow.
    End {
        /// Resume after this revision.
        revision: u64,
        /// A word for programs: `stopping` or `compacted`.
        code: String,
        /// A sentence for people.
        error: String,
    },
}
