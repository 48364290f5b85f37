//! Nodes.

use std::sync::Arc;

use super::instances::expected;
use super::transaction::Transaction;
use crate::check::Status;
use crate::ids::{CheckKey, InstanceKey, NodeName, Revision, SessionId};
use crate::instance::{Instance, Registration};
use crate::lease::Terms;
use crate::node::{Node, NodeFacts};
use crate::outcome::{Done, Outcome, Refusal};

/// The check by which a cluster says that a node's agent is alive.
const ALIVE: &str = "serfHealth";

impl Transaction<'_> {
    pub(super) fn put_node(
        &mut self,
        facts: &Arc<NodeFacts>,
        terms: Option<&Terms>,
        expect: Option<Revision>,
    ) -> Outcome {
        let name = &facts.name;
        if name.is_virtual() || name.as_str().is_empty() {
            return Err(Refusal::Reserved(facts.spelling.clone()));
        }
        let before = self.state.node(name).cloned();
        expected(expect, before.as_ref().map(|row| row.modified))?;
        if let Some(before) = &before
            && !before.id.is_empty()
            && !facts.id.is_empty()
            && before.id != facts.id
        {
            return Err(Refusal::NodeTaken {
                id: before.id.clone(),
            });
        }
        if self.state.level >= 3
            && let Some(earlier) = self.state.node_with_id(facts)
        {
            self.rename(&earlier)?;
        }
        if before.as_ref().is_none_or(|row| *row.facts != **facts) {
            let row = Node {
                facts: facts.clone(),
                admin: before.as_ref().and_then(|row| row.admin.clone()),
                created: before.as_ref().map_or(self.revision, |row| row.created),
                modified: self.revision,
                modified_at: self.at,
            };
            self.set_node(name, Some(Arc::new(row)));
            self.readdress(name, facts);
        }
        if let (Some(lease), Some(terms)) = (&facts.lease, terms) {
            self.put_lease(lease, terms);
        }
        Ok(Done::Nothing)
    }

    /// A node that comes back under another name takes its id along: the old name goes, with what was on it, as in Consul's catalog. One that
    /// is alive keeps its id.
    fn rename(&mut self, earlier: &Arc<Node>) -> Result<(), Refusal> {
        let alive = CheckKey::new(&earlier.name, ALIVE);
        let is_alive = self
            .state
            .check(&alive)
            .is_some_and(|check| check.status != Status::Critical);
        if is_alive {
            return Err(Refusal::NodeTaken {
                id: earlier.id.clone(),
            });
        }
        self.drop_node(&earlier.name, None).map(drop)
    }

    /// Instances that take their node's address follow it.
    fn readdress(&mut self, name: &NodeName, facts: &NodeFacts) {
        let follow: Vec<Arc<Instance>> = self
            .state
            .instances_on(name)
            .filter(|row| row.inherits_host && row.endpoint.host != facts.address)
            .cloned()
            .collect();
        for row in follow {
            let mut moved: Registration = (*row.facts).clone();
            moved.endpoint.host = facts.address.clone();
            let moved = Instance {
                facts: Arc::new(moved),
                modified: self.revision,
                modified_at: self.at,
                ..(*row).clone()
            };
            self.set_instance(&row.key, Some(Arc::new(moved)));
        }
    }

    pub(super) fn drop_node(&mut self, name: &NodeName, expect: Option<Revision>) -> Outcome {
        let Some(row) = self.state.node(name).cloned() else {
            expected(expect, None)?;
            return Ok(Done::Nothing);
        };
        expected(expect, Some(row.modified))?;
        let instances: Vec<InstanceKey> = self
            .state
            .instances_on(name)
            .map(|row| row.key.clone())
            .collect();
        self.may_deregister(&instances)?;
        for key in &instances {
            self.remove_instance(key);
        }
        let sessions: Vec<SessionId> = self.state.sessions_on(name).collect();
        for session in &sessions {
            self.end_session(session);
        }
        let checks: Vec<_> = self
            .state
            .checks_on(name)
            .map(|check| check.key.clone())
            .collect();
        for check in &checks {
            self.remove_check(check);
        }
        self.set_node(name, None);
        if let Some(lease) = &row.lease {
            self.drop_lease(lease);
        }
        Ok(Done::Nothing)
    }
}
