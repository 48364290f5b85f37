//! Selectors: what a feed follows.

use portolan_catalog::{Batch, Change, Key, KeyRange, Keyspace, NodeName, ServiceKey, Table};

/// Which changes a feed wants. A feed with several selectors gets what matches any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One record.
    Key(Keyspace, Key),
    /// The records of a range.
    Range(Keyspace, KeyRange),
    /// Whatever may change a reader's answer about one service: members, their checks, their nodes, twins.
    Service(ServiceKey),
    /// A node, its checks and the instances on it.
    Node(NodeName),
    /// All rows of one table.
    Table(Table),
    /// Everything.
    Everything,
}

impl Selector {
    /// Whether a batch holds something of interest.
    pub fn matches(&self, batch: &Batch) -> bool {
        match self {
            Selector::Everything => true,
            Selector::Service(service) => batch.services.contains(service),
            Selector::Table(table) => batch.changes.iter().any(|change| change.table() == *table),
            Selector::Node(node) => batch
                .changes
                .iter()
                .any(|change| nodes(change).any(|n| n == *node)),
            Selector::Key(..) | Selector::Range(..) => batch
                .changes
                .iter()
                .any(|change| self.matches_change(change)),
        }
    }

    /// Whether one change is of interest to a selector of records; other selectors look at whole batches.
    pub fn matches_change(&self, change: &Change) -> bool {
        let Change::Record { space, key, .. } = change else {
            return false;
        };
        match self {
            Selector::Key(wanted, one) => wanted == space && one == key,
            Selector::Range(wanted, range) => wanted == space && range.contains(key),
            _ => false,
        }
    }
}

/// The nodes a change concerns: at most two.
pub(crate) fn nodes(change: &Change) -> impl Iterator<Item = NodeName> {
    let pair = match change {
        Change::Instance { before, after } => [
            before.as_ref().map(|r| r.node.clone()),
            after.as_ref().map(|r| r.node.clone()),
        ],
        Change::Node { before, after } => [
            before.as_ref().map(|r| r.name.clone()),
            after.as_ref().map(|r| r.name.clone()),
        ],
        Change::Check { before, after } => [
            before.as_ref().map(|r| r.key.node()),
            after.as_ref().map(|r| r.key.node()),
        ],
        Change::Session { before, after } => [
            before.as_ref().map(|r| r.node.clone()),
            after.as_ref().map(|r| r.node.clone()),
        ],
        Change::Endpoint { .. }
        | Change::Service { .. }
        | Change::Namespace { .. }
        | Change::Record { .. } => [None, None],
    };
    pair.into_iter().flatten()
}
