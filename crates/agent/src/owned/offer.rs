//! What the servers have to be told so that they have what the agent owns.

use std::sync::Arc;

use portolan_catalog::{
    AdminTarget, Check, CheckFacts, CheckKey, Command, Instance, LeaseId, NewCheck, NodeFacts,
    Protocol, PutCheck, Register, Registration, State, Status, Target, Terms,
};

use super::{Owned, OwnedInstance, moved_to};
use crate::terms::{SERF_HEALTH, SERF_NAME, SERF_PASSING, terms};

impl Owned {
    /// The commands that bring a state of the servers to what the agent owns, in the order in which they have to be decided. None when
    /// it is so already. The cost follows what is owned.
    pub(crate) fn offers(&self, node: &Arc<NodeFacts>, state: &State) -> Vec<Command> {
        let mut commands = Vec::new();
        self.offer_node(node, state, &mut commands);
        for key in &self.gone_instances {
            if state.instance(key).is_some_and(|row| self.is_own(row)) {
                commands.push(Command::Deregister {
                    target: Target::Instance(key.clone()),
                    expect: None,
                });
            }
        }
        for key in &self.gone_checks {
            let there = state.check(key).filter(|row| self.is_own_check(row));
            // It goes with its instance.
            let alone = |row: &&Arc<Check>| {
                let instance = row.instance.as_ref();
                instance.is_none_or(|key| !self.gone_instances.contains(key))
            };
            if there.filter(alone).is_some() {
                commands.push(Command::DropCheck {
                    key: key.clone(),
                    expect: None,
                });
            }
        }
        for owned in self.instances.values() {
            self.offer_instance(owned, state, &mut commands);
        }
        for check in self.checks.values() {
            let instance = check.instance.as_ref();
            // Those of a service that is registered anew come with it.
            let comes_along = |key| {
                let owned = self.instances.get(key);
                owned.is_some_and(|owned| self.wants_registration(owned, state))
            };
            if !instance.is_some_and(comes_along) {
                offer_check(check, state, &mut commands);
            }
        }
        if let Some(admin) = &self.node_admin
            && state
                .node(&self.node)
                .is_some_and(|row| row.admin != *admin)
        {
            commands.push(Command::SetAdmin {
                target: AdminTarget::Node(self.node.clone()),
                admin: admin.clone(),
                declared: None,
            });
        }
        commands
    }

    /// Removes a service or check of Consul's that the servers have on this node and that is not registered here; none when there is none.
    /// Those of other protocols have leases or records of their own.
    ///
    /// Only for servers that have everything that is owned, and whose state is known as far as what was registered here.
    pub(crate) fn stranger(&self, state: &State) -> Option<Command> {
        let expect = None;
        let unknown = |row: &&Arc<Instance>| {
            row.key.origin == Protocol::Consul && !self.instances.contains_key(&row.key)
        };
        if let Some(row) = state.instances_on(&self.node).find(unknown) {
            tracing::info!(instance = %row.key, "this service is not registered at its node's agent; it is removed");
            let target = Target::Instance(row.key.clone());
            return Some(Command::Deregister { target, expect });
        }
        let unknown = |check: &&Arc<Check>| {
            let instance = check.instance.as_ref();
            check.key.id() != SERF_HEALTH
                && instance.is_none_or(|key| key.origin == Protocol::Consul)
                && !self.checks.contains_key(&check.key)
        };
        let check = state.checks_on(&self.node).find(unknown)?;
        tracing::info!(
            check = check.key.id(),
            "this check is not registered at its node's agent; it is removed"
        );
        let key = check.key.clone();
        Some(Command::DropCheck { key, expect })
    }

    fn offer_node(&self, node: &Arc<NodeFacts>, state: &State, commands: &mut Vec<Command>) {
        let row = state.node(&self.node);
        let leased = state.lease(&LeaseId::Agent(self.node.clone()));
        let lease_is = |terms: &Terms| leased.is_some_and(|lease| lease.terms == *terms);
        let same = row.is_some_and(|row| *row.facts == **node);
        if !same || !lease_is(&terms()) {
            commands.push(Command::PutNode {
                node: node.clone(),
                terms: Some(terms()),
                expect: None,
            });
        }
        let key = CheckKey::new(&self.node, SERF_HEALTH);
        if state.check(&key).is_none() {
            commands.push(Command::PutCheck(Box::new(PutCheck {
                check: NewCheck {
                    facts: Arc::new(CheckFacts::new(key, SERF_NAME)),
                    status: Status::Passing,
                    output: SERF_PASSING.into(),
                    reported: true,
                },
                expect: None,
            })));
        }
    }

    /// Instances that another node of the cluster has taken over since, with the same id and address.
    pub(crate) fn taken_over(&self, state: &State) -> Vec<portolan_catalog::InstanceKey> {
        let lost = self.instances.iter().filter(|(key, owned)| {
            state.instance(key).is_none() && moved_to(state, &owned.facts).is_some()
        });
        lost.map(|(key, _)| key.clone()).collect()
    }

    fn wants_registration(&self, owned: &OwnedInstance, state: &State) -> bool {
        let row = state.instance(&owned.facts.key);
        !row.is_some_and(|row| same_facts(&owned.facts, &row.facts))
    }

    fn offer_instance(&self, owned: &OwnedInstance, state: &State, commands: &mut Vec<Command>) {
        let key = &owned.facts.key;
        let row = state.instance(key);
        if self.wants_registration(owned, state) {
            let checks = self.checks.values();
            let checks = checks.filter(|check| check.instance.as_ref() == Some(key));
            let mut register = Register::new((*owned.facts).clone());
            register.checks = checks.map(new_check).collect();
            register.replace_checks = true;
            commands.push(Command::Register(Box::new(register)));
        }
        let missing = row.is_none();
        let differs = row.is_some_and(|row| row.admin != owned.admin);
        if (missing && owned.admin.is_some()) || (differs && self.administered.contains(key)) {
            commands.push(Command::SetAdmin {
                target: AdminTarget::Instance(key.clone()),
                admin: owned.admin.clone(),
                declared: None,
            });
        }
    }
}

fn offer_check(check: &Arc<Check>, state: &State, commands: &mut Vec<Command>) {
    let Some(row) = state.check(&check.key) else {
        commands.push(Command::PutCheck(Box::new(PutCheck {
            check: new_check(check),
            expect: None,
        })));
        return;
    };
    if row.facts != check.facts {
        commands.push(Command::PutCheck(Box::new(PutCheck {
            check: new_check(check),
            expect: None,
        })));
    } else if check.reported && row.status != check.status {
        commands.push(Command::Report {
            check: check.key.clone(),
            status: check.status,
            output: check.output.clone(),
        });
    }
}

/// A check with its last result.
fn new_check(check: &Arc<Check>) -> NewCheck {
    NewCheck {
        facts: check.facts.clone(),
        status: check.status,
        output: check.output.clone(),
        reported: check.reported,
    }
}

/// Whether two registrations say the same. One that takes its node's address has whatever address that is.
fn same_facts(owned: &Registration, row: &Registration) -> bool {
    if owned == row {
        return true;
    }
    if !owned.inherits_host || !row.inherits_host {
        return false;
    }
    let mut here = owned.clone();
    here.endpoint.host = row.endpoint.host.clone();
    here == *row
}
