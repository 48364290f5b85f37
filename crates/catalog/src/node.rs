//! Nodes: machines and agents that instances run on.

use std::ops::Deref;
use std::sync::Arc;

use crate::endpoint::Host;
use crate::ids::{LeaseId, NodeName, Revision, Timestamp};
use crate::instance::{Admin, Locality, Meta};

/// The facts of a node, as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Identity, folded.
    pub name: NodeName,
    /// The name as first written.
    pub spelling: Arc<str>,
    /// A UUID, empty for external nodes.
    pub id: Arc<str>,
    /// Address of the node.
    pub address: Host,
    /// Further addresses by tag (`lan`, `wan`).
    pub tagged_addresses: Meta,
    /// Metadata.
    pub meta: Meta,
    /// Region and zone, if known.
    pub locality: Option<Arc<Locality>>,
    /// The lease of an agent's node.
    pub lease: Option<LeaseId>,
}

impl NodeFacts {
    /// A node with a name and an address and nothing else.
    pub fn new(name: &str, address: Host) -> NodeFacts {
        NodeFacts {
            name: NodeName::new(name),
            spelling: name.into(),
            id: Arc::default(),
            address,
            tagged_addresses: Meta::default(),
            meta: Meta::default(),
            locality: None,
            lease: None,
        }
    }
}

/// A node as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What was registered.
    pub facts: Arc<NodeFacts>,
    /// Administrative status of the node; concerns every instance on it.
    pub admin: Option<Arc<Admin>>,
    /// Revision of the first registration.
    pub created: Revision,
    /// Revision of the last change.
    pub modified: Revision,
    /// Time of the last change.
    pub modified_at: Timestamp,
}

impl Deref for Node {
    type Target = NodeFacts;

    fn deref(&self) -> &NodeFacts {
        &self.facts
    }
}
