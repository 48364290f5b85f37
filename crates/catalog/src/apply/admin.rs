//! Administrative status.

use std::sync::Arc;

use super::transaction::Transaction;
use crate::command::AdminTarget;
use crate::ids::{InstanceKey, Protocol};
use crate::instance::{Admin, Declared, Instance, Registration};
use crate::node::Node;
use crate::outcome::{Done, Outcome, Refusal};

impl Transaction<'_> {
    pub(super) fn set_admin(
        &mut self,
        target: &AdminTarget,
        admin: Option<&Arc<Admin>>,
        declared: Option<Declared>,
    ) -> Outcome {
        match target {
            AdminTarget::Node(name) => {
                let row = self
                    .state
                    .node(name)
                    .cloned()
                    .ok_or_else(|| Refusal::NoNode(name.as_str().into()))?;
                if row.admin.as_ref() != admin {
                    let row = Node {
                        admin: admin.cloned(),
                        modified: self.revision,
                        modified_at: self.at,
                        ..(*row).clone()
                    };
                    self.set_node(name, Some(Arc::new(row)));
                }
            }
            AdminTarget::Instance(key)
                if self.state.level >= 3 && key.origin == Protocol::Portolan =>
            {
                return Err(Refusal::OwnService);
            }
            AdminTarget::Instance(key) => {
                let row = self
                    .state
                    .instance(key)
                    .cloned()
                    .ok_or(Refusal::NoInstance)?;
                let twins = self
                    .state
                    .endpoint_of(&row)
                    .map_or_else(|| vec![key.clone()], super::instances::members_of);
                for twin in twins {
                    let declared = declared.filter(|_| twin == *key);
                    self.set_instance_admin(&twin, admin, declared);
                }
            }
        }
        Ok(Done::Nothing)
    }

    fn set_instance_admin(
        &mut self,
        key: &InstanceKey,
        admin: Option<&Arc<Admin>>,
        declared: Option<Declared>,
    ) {
        let Some(row) = self.state.instance(key).cloned() else {
            return;
        };
        let declared = declared.unwrap_or(row.declared);
        if row.admin.as_ref() == admin && row.declared == declared {
            return;
        }
        let facts = if row.declared == declared {
            row.facts.clone()
        } else {
            Arc::new(Registration {
                declared,
                ..(*row.facts).clone()
            })
        };
        let row = Instance {
            facts,
            admin: admin.cloned(),
            modified: self.revision,
            registered: self.revision,
            modified_at: self.at,
            ..(*row).clone()
        };
        self.set_instance(key, Some(Arc::new(row)));
    }
}
