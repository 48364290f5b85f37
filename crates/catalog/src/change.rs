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

/// One row that became different. At most one side is `None`, and the sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An instance.
    Instance {
        /// The row before.
        before: Option<Arc<Instance>>,
        /// The row now.
        after: Option<Arc<Instance>>,
    },
    /// An endpoint, with its members' rows on both sides.
    Endpoint {
        /// The row before.
        before: Option<Arc<EndpointRow>>,
        /// The row now.
        after: Option<Arc<EndpointRow>>,
    },
    /// A service.
    Service {
        /// The row before.
        before: Option<Arc<Service>>,
        /// The row now.
        after: Option<Arc<Service>>,
    },
    /// A namespace.
    Namespace {
        /// The row before.
        before: Option<Arc<Namespace>>,
        /// The row now.
        after: Option<Arc<Namespace>>,
    },
    /// A node.
    Node {
        /// The row before.
        before: Option<Arc<Node>>,
        /// The row now.
        after: Option<Arc<Node>>,
    },
    /// A check.
    Check {
        /// The row before.
        before: Option<Arc<Check>>,
        /// The row now.
        after: Option<Arc<Check>>,
    },
    /// A Consul session.
    Session {
        /// The row before.
        before: Option<Arc<Session>>,
        /// The row now.
        after: Option<Arc<Session>>,
    },
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
    /// Instances.
    Instances,
    /// Endpoints.
    Endpoints,
    /// Services.
    Services,
    /// Namespaces.
    Namespaces,
    /// Nodes.
    Nodes,
    /// Checks.
    Checks,
    /// Sessions.
    Sessions,
    /// Records of one keyspace.
    Records(Keyspace),
}

/// Identity of a row in any table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// An instance.
    Instance(InstanceKey),
    /// An endpoint.
    Endpoint(EndpointKey),
    /// A service.
    Service(ServiceKey),
    /// A namespace.
    Namespace(Arc<str>),
    /// A node.
    Node(NodeName),
    /// A check.
    Check(CheckKey),
    /// A session.
    Session(SessionId),
    /// A record.
    Record(Keyspace, Key),
}

fn either<'a, T>(before: &'a Option<Arc<T>>, after: &'a Option<Arc<T>>) -> Option<&'a Arc<T>> {
    after.as_ref().or(before.as_ref())
}

impl Change {
    /// Which table it is in.
    pub fn table(&self) -> Table {
        match self {
            Change::Instance { .. } => Table::Instances,
            Change::Endpoint { .. } => Table::Endpoints,
            Change::Service { .. } => Table::Services,
            Change::Namespace { .. } => Table::Namespaces,
            Change::Node { .. } => Table::Nodes,
            Change::Check { .. } => Table::Checks,
            Change::Session { .. } => Table::Sessions,
            Change::Record { space, .. } => Table::Records(*space),
        }
    }

    /// The changed row's identity; `None` only for a change without sides, which does not exist.
    pub fn row(&self) -> Option<RowKey> {
        Some(match self {
            Change::Instance { before, after } => {
                RowKey::Instance(either(before, after)?.key.clone())
            }
            Change::Endpoint { before, after } => {
                RowKey::Endpoint(either(before, after)?.key.clone())
            }
            Change::Service { before, after } => {
                RowKey::Service(either(before, after)?.key.clone())
            }
            Change::Namespace { before, after } => {
                RowKey::Namespace(either(before, after)?.name.clone())
            }
            Change::Node { before, after } => RowKey::Node(either(before, after)?.name.clone()),
            Change::Check { before, after } => RowKey::Check(either(before, after)?.key.clone()),
            Change::Session { before, after } => RowKey::Session(either(before, after)?.id),
            Change::Record { space, key, .. } => RowKey::Record(*space, key.clone()),
        })
    }

    /// The same change backwards.
    pub fn reversed(&self) -> Change {
        let mut change = self.clone();
        match &mut change {
            Change::Instance { before, after } => std::mem::swap(before, after),
            Change::Endpoint { before, after } => std::mem::swap(before, after),
            Change::Service { before, after } => std::mem::swap(before, after),
            Change::Namespace { before, after } => std::mem::swap(before, after),
            Change::Node { before, after } => std::mem::swap(before, after),
            Change::Check { before, after } => std::mem::swap(before, after),
            Change::Session { before, after } => std::mem::swap(before, after),
            Change::Record { before, after, .. } => std::mem::swap(before, after),
        }
        change
    }

    /// Whether the row appears, goes, or differs: the sides as (was there, is there).
    pub fn presence(&self) -> (bool, bool) {
        match self {
            Change::Instance { before, after } => (before.is_some(), after.is_some()),
            Change::Endpoint { before, after } => (before.is_some(), after.is_some()),
            Change::Service { before, after } => (before.is_some(), after.is_some()),
            Change::Namespace { before, after } => (before.is_some(), after.is_some()),
            Change::Node { before, after } => (before.is_some(), after.is_some()),
            Change::Check { before, after } => (before.is_some(), after.is_some()),
            Change::Session { before, after } => (before.is_some(), after.is_some()),
            Change::Record { before, after, .. } => (before.is_some(), after.is_some()),
        }
    }
}

/// All changes of one revision, in order: explicit ones first, then what followed from them; at most one per row.
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
