//! What a prepared answer was made from, so that it can be seen cheaply whether it still holds.

use portolan_catalog::{NodeName, Revision, ServiceKey, State};

/// The rows behind an answer and the revision that last changed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Depends {
    /// On nothing: the question holds its own answer.
    Nothing,
    /// On a service: its members, their checks and nodes (`ServiceMarks::changed` rises with all of them).
    Service(ServiceKey, Revision),
    /// On one node's row.
    Node(NodeName, Revision),
    /// On more than is worth listing: good for one revision.
    Revision,
}

impl Depends {
    /// On the service `key` as it is in `state`.
    pub(crate) fn on_service(state: &State, key: ServiceKey) -> Self {
        let changed = service_changed(state, &key);
        Self::Service(key, changed)
    }

    /// Whether nothing of it is different in `state`.
    pub(crate) fn unchanged(&self, state: &State) -> bool {
        match self {
            Self::Nothing => true,
            Self::Service(key, changed) => service_changed(state, key) == *changed,
            Self::Node(name, modified) => state
                .node(name)
                .is_some_and(|node| node.modified == *modified),
            Self::Revision => false,
        }
    }
}

/// The last change of a service's members; `Revision(0)` when there is no such service.
fn service_changed(state: &State, key: &ServiceKey) -> Revision {
    state.service_marks(key).changed
}
