//! What a prepared answer was made from, so that it can be seen cheaply whether it still holds.

use std::sync::Arc;

use portolan_catalog::{NodeName, Revision, ServiceKey, State};

/// The rows behind an answer and the revision that last changed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// On nothing: the question holds its own answer.
    Nothing,
    /// On a service: its row, and its members with their checks and nodes (`ServiceMarks::changed` rises with all of them).
    Service(ServiceKey, Stamp),
    /// On one node's row.
    Node(NodeName, Revision),
    /// On a prepared query and what it selects: good for one revision.
    Query(Arc<str>),
    /// On each of these.
    All(Box<[Dependency]>),
    /// On more than is worth listing: good for one revision.
    Revision,
}

impl Dependency {
    /// On the service `key` as it is in `state`.
    pub(crate) fn on_service(state: &State, key: ServiceKey) -> Self {
        let stamp = stamp(state, &key);
        Self::Service(key, stamp)
    }

    /// On the absence of the service `key`.
    pub(crate) fn on_nothing_at(key: ServiceKey) -> Self {
        Self::Service(key, (Revision(0), Revision(0)))
    }

    /// On this and on all of `others`.
    pub(crate) fn and(self, others: Vec<Self>) -> Self {
        if others.is_empty() {
            return self;
        }
        Self::All(std::iter::once(self).chain(others).collect())
    }

    /// Bytes it occupies outside itself, besides what it shares with the catalog.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::All(each) => {
                size_of_val::<[Self]>(each) + each.iter().map(Self::heap).sum::<usize>()
            }
            Self::Query(name) => name.len(),
            Self::Nothing | Self::Service(..) | Self::Node(..) | Self::Revision => 0,
        }
    }

    /// Whether nothing of it is different in `state`.
    pub(crate) fn unchanged(&self, state: &State) -> bool {
        match self {
            Self::Nothing => true,
            Self::Service(key, seen) => stamp(state, key) == *seen,
            Self::Node(name, modified) => state
                .node(name)
                .is_some_and(|node| node.modified == *modified),
            Self::All(each) => each.iter().all(|one| one.unchanged(state)),
            Self::Query(_) | Self::Revision => false,
        }
    }
}

/// The last change of a service's members, and of its row; 0 where there is none.
pub(crate) type Stamp = (Revision, Revision);

fn stamp(state: &State, key: &ServiceKey) -> Stamp {
    let row = state.service(key).map(|service| service.modified);
    (state.service_marks(key).changed, row.unwrap_or(Revision(0)))
}
