//! Changes: what became different, with both sides, so that any protocol can render its own event from it.

use std::sync::Arc;

use crate::check::Check;
use crate::endpoint::EndpointKey;
use crate::entry::Cause;
use crate::ids::{
    CheckKey, InstanceKey, Keyspace, NodeName, Revision, ServiceKey, SessionId, Timestamp,
};
use crate::instance::Instance;
use crate::lease::Session;
use crate::node::Node;
use crate::record::{Key, Record};
use crate::service::{EndpointRow, Namespace, Service};

macro_rules! changes {
    ($(
        $variant:ident($row:ty) in $table:ident, $field:ident;
        key $key:ty, |$it:ident| $own:expr;
        stored $stored:literal, snapshot $snapshot:literal;
    )*) => {
        /// One row that became different. At most one side is `None`, and the sides differ.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Change {
            $(
                #[doc = concat!("A row of the table of ", stringify!($field), ".")]
                $variant {
                    /// The row before.
                    before: Option<Arc<$row>>,
                    /// The row now.
                    after: Option<Arc<$row>>,
                },
            )*
            /// A record, settings included.
            Record {
                /// Keyspace.
                space: Keyspace,
                /// Key.
                key: Key,
                /// The record before.
                before: Option<Arc<Record>>,
                /// The record now.
                after: Option<Arc<Record>>,
            },
        }

        /// Which table a change is in, and so what a feed of one kind follows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $(
                #[doc = concat!("The table of ", stringify!($field), ".")]
                $table,
            )*
            /// Records of one keyspace.
            Records(Keyspace),
        }

        /// Identity of a row in any table.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RowKey {
            $(
                #[doc = concat!("A row of the table of ", stringify!($field), ".")]
                $variant($key),
            )*
            /// A record.
            Record(Keyspace, Key),
        }

        impl Change {
            /// Which table it is in.
            pub fn table(&self) -> Table {
                match self {
                    $( Change::$variant { .. } => Table::$table, )*
                    Change::Record { space, .. } => Table::Records(*space),
                }
            }

            /// The changed row's identity; `None` only for a change without sides, which does not exist.
            pub fn row(&self) -> Option<RowKey> {
                Some(match self {
                    $( Change::$variant { before, after } => {
                        let $it = after.as_ref().or(before.as_ref())?;
                        RowKey::$variant($own.clone())
                    } )*
                    Change::Record { space, key, .. } => RowKey::Record(*space, key.clone()),
                })
            }

            /// The same change backwards.
            #[must_use]
            pub fn reversed(&self) -> Change {
                let mut change = self.clone();
                match &mut change {
                    $( Change::$variant { before, after } => std::mem::swap(before, after), )*
                    Change::Record { before, after, .. } => std::mem::swap(before, after),
                }
                change
            }

            /// Whether the row appears, goes, or differs: the sides as (was there, is there).
            pub fn presence(&self) -> (bool, bool) {
                match self {
                    $( Change::$variant { before, after } => (before.is_some(), after.is_some()), )*
                    Change::Record { before, after, .. } => (before.is_some(), after.is_some()),
                }
            }

            /// Takes the later side of a later change of the same row; one of another row is not taken.
            pub(crate) fn merge(&mut self, later: Change) {
                debug_assert_eq!(self.row(), later.row(), "changes of two rows");
                match later {
                    $( Change::$variant { after: later, .. } => {
                        if let Change::$variant { after, .. } = self {
                            *after = later;
                        }
                    } )*
                    Change::Record { after: later, .. } => {
                        if let Change::Record { after, .. } = self {
                            *after = later;
                        }
                    }
                }
            }

            /// Whether the sides are not the same: a row that appeared and went within one revision is no change.
            pub(crate) fn differs(&self) -> bool {
                match self {
                    $( Change::$variant { before, after } => before != after, )*
                    Change::Record { before, after, .. } => before != after,
                }
            }
        }
    };
}

for_each_table!(changes);

/// All changes of one revision, in order: explicit ones first, then what followed from them. At most one per row, but for keys of etcd:
/// a client's put and delete of one key in one transaction are a change each, the second one's `before` being the first one's `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision they made.
    pub revision: Revision,
    /// When.
    pub at: Timestamp,
    /// Who and why.
    pub cause: Arc<Cause>,
    /// The changes, never empty.
    pub changes: Box<[Change]>,
    /// Services for which a reader's answer may differ: a member, one of its checks, its node or its twin changed.
    pub services: Box<[ServiceKey]>,
}
