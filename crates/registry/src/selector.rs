//! Selectors: what a feed follows.

use portolan_catalog::{
    Batch, Change, Compacted, Key, KeyRange, Keyspace, NodeName, Revision, ServiceKey, State, Table,
};
use portolan_history::{Select, Span};

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

    /// Where the history's index has what is of interest; none when all of it has to be looked through.
    fn span(&self) -> Option<Span> {
        match self {
            Selector::Key(space, key) => Some(Span::record(*space, key)),
            Selector::Range(space, range) => Some(Span::records(*space, range)),
            Selector::Service(service) => Some(Span::about(service)),
            Selector::Table(table) => Some(Span::table(*table)),
            Selector::Node(_) | Selector::Everything => None,
        }
    }

    /// The oldest revision of which all that is of interest is kept.
    fn floor(&self, state: &State) -> Compacted {
        let of = |space| Compacted {
            floor: state.floor(space),
            space,
        };
        match self {
            Selector::Key(space, _)
            | Selector::Range(space, _)
            | Selector::Table(Table::Records(space)) => of(Some(*space)),
            Selector::Everything => Keyspace::ALL
                .into_iter()
                .map(|space| of(Some(space)))
                .max_by_key(|compacted| compacted.floor)
                .filter(|compacted| compacted.floor > state.floor(None))
                .unwrap_or_else(|| of(None)),
            Selector::Service(_) | Selector::Node(_) | Selector::Table(_) => of(None),
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

/// What to read of the history for any of the selectors.
pub(crate) fn select(selectors: &[Selector]) -> Select {
    let spans: Option<Vec<Span>> = selectors.iter().map(Selector::span).collect();
    spans.map_or(Select::All, Select::Spans)
}

/// The oldest revision that all of the selectors can be followed from.
pub(crate) fn floor(selectors: &[Selector], state: &State, here: Revision) -> Compacted {
    let agreed = selectors
        .iter()
        .map(|selector| selector.floor(state))
        .max_by_key(|compacted| compacted.floor)
        .unwrap_or(Compacted {
            floor: state.floor(None),
            space: None,
        });
    Compacted {
        floor: agreed.floor.max(here),
        ..agreed
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
