//! What the agent owns: the services and checks that were registered through it, on its node.
//!
//! The agent's word about them counts: they are in its data directory, are offered again when the servers have lost them, and are
//! removed there only when they were removed here. What the servers have of Consul's services and checks on this node beside them is
//! removed there, as Consul's agents do. What others may say is whether an instance is in maintenance: the last one
//! who said so wins.

mod file;
mod offer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_catalog::{
    Admin, AdminTarget, Batch, Change, Check, CheckFacts, CheckKey, Command, Instance, InstanceKey,
    NodeName, Op, Protocol, Registration, State, Target, Via, Why,
};

pub(crate) use file::{decode, encode};

/// A service as the agent owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedInstance {
    pub(crate) facts: Arc<Registration>,
    pub(crate) admin: Option<Arc<Admin>>,
}

/// Everything the agent owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) node: NodeName,
    pub(crate) instances: BTreeMap<InstanceKey, OwnedInstance>,
    pub(crate) checks: BTreeMap<CheckKey, Arc<Check>>,
    /// Removed here, and perhaps not yet at the servers, or only until a registration is decided there that was on its way before.
    pub(crate) gone_instances: BTreeSet<InstanceKey>,
    pub(crate) gone_checks: BTreeSet<CheckKey>,
    /// Instances whose administrative status was set here while no server could be reached.
    pub(crate) administered: BTreeSet<InstanceKey>,
    /// The node's administrative status, where it was set here while no server could be reached.
    pub(crate) node_admin: Option<Option<Arc<Admin>>>,
}

/// What a command is about, as far as the agent owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Touched {
    Instance(InstanceKey),
    Check(CheckKey),
    Admin(InstanceKey),
    NodeAdmin,
}

impl Owned {
    /// Nothing, on a node.
    pub(crate) fn new(node: NodeName) -> Owned {
        Owned {
            node,
            instances: BTreeMap::new(),
            checks: BTreeMap::new(),
            gone_instances: BTreeSet::new(),
            gone_checks: BTreeSet::new(),
            administered: BTreeSet::new(),
            node_admin: None,
        }
    }

    /// What a catalog says that this node's agent owns: for an agent that has lost its data directory.
    pub(crate) fn adopt(&mut self, state: &State) {
        let node = self.node.clone();
        for row in state.instances_on(&node) {
            self.refresh_instance(state, &row.key);
        }
        for check in state.checks_on(&node) {
            self.refresh_check(state, &check.key);
        }
    }

    /// Whether a service is one of this agent's.
    pub(crate) fn is_own(&self, facts: &Registration) -> bool {
        is_agents(facts) && facts.node == self.node
    }

    /// Whether a check is one that this agent runs or hears of.
    pub(crate) fn is_own_check(&self, facts: &CheckFacts) -> bool {
        facts.key.node() == self.node && facts.owner.as_ref() == Some(&self.node)
    }

    /// The part of a command that an agent may decide without servers; none if all or some of it is not its own.
    ///
    /// Taking over an id that another agent's node has is two commands in one; without servers the other node's row is left to them.
    pub(crate) fn own_part(&self, state: &State, command: &Command) -> Option<Command> {
        match command {
            Command::Write(write) if write.when.is_empty() && write.or_else.is_empty() => {
                let mut kept = Vec::new();
                for op in &write.then {
                    let Op::Command(inner) = op else { return None };
                    if self.elsewhere(state, inner) {
                        continue;
                    }
                    kept.push(Op::Command(Box::new(self.own_part(state, inner)?)));
                }
                let mut write = write.clone();
                write.then = kept;
                (!write.then.is_empty()).then_some(Command::Write(write))
            }
            command => self.touches(state, command).map(|_| command.clone()),
        }
    }

    fn elsewhere(&self, state: &State, command: &Command) -> bool {
        let Command::Deregister {
            target: Target::Instance(key),
            ..
        } = command
        else {
            return false;
        };
        let row = state.instance(key);
        row.is_some_and(|row| is_agents(row) && row.node != self.node)
    }

    fn touches(&self, state: &State, command: &Command) -> Option<Touched> {
        let instance = |key: &InstanceKey| {
            let here = state.instance(key).is_some_and(|row| self.is_own(row));
            here || self.instances.contains_key(key)
        };
        let check = |key: &CheckKey| {
            let here = state.check(key).is_some_and(|row| self.is_own_check(row));
            here || self.checks.contains_key(key)
        };
        match command {
            Command::Register(register) if self.is_own(&register.facts) => {
                Some(Touched::Instance(register.facts.key.clone()))
            }
            Command::Deregister {
                target: Target::Instance(key),
                ..
            } if instance(key) => Some(Touched::Instance(key.clone())),
            Command::PutCheck(put) if self.is_own_check(&put.check.facts) => {
                Some(Touched::Check(put.check.facts.key.clone()))
            }
            Command::DropCheck { key, .. } if check(key) => Some(Touched::Check(key.clone())),
            Command::Report { check: key, .. } if check(key) => Some(Touched::Check(key.clone())),
            Command::SetAdmin {
                target: AdminTarget::Instance(key),
                ..
            } if instance(key) => Some(Touched::Admin(key.clone())),
            Command::SetAdmin {
                target: AdminTarget::Node(node),
                ..
            } if *node == self.node => Some(Touched::NodeAdmin),
            _ => None,
        }
    }

    /// Takes note of what a command did to what is owned, from the state it led to; true if anything is different now. `alone` when
    /// no server was asked.
    pub(crate) fn note(&mut self, command: &Command, state: &State, alone: bool) -> bool {
        let before = self.clone();
        self.note_each(command, state, alone);
        *self != before
    }

    fn note_each(&mut self, command: &Command, state: &State, alone: bool) {
        if let Command::Write(write) = command {
            for op in &write.then {
                if let Op::Command(inner) = op {
                    self.note_each(inner, state, alone);
                }
            }
            return;
        }
        match self.touches(state, command) {
            None => {}
            Some(Touched::Instance(key)) => self.refresh_instance(state, &key),
            Some(Touched::Check(key)) => self.refresh_check(state, &key),
            Some(Touched::Admin(key)) => {
                self.refresh_instance(state, &key);
                if alone {
                    self.administered.insert(key);
                }
            }
            Some(Touched::NodeAdmin) => {
                let admin = state.node(&self.node).and_then(|row| row.admin.clone());
                self.node_admin = alone.then_some(admin);
            }
        }
    }

    fn refresh_instance(&mut self, state: &State, key: &InstanceKey) {
        match state.instance(key).filter(|row| self.is_own(row)) {
            Some(row) => {
                let owned = OwnedInstance {
                    facts: row.facts.clone(),
                    admin: row.admin.clone(),
                };
                self.instances.insert(key.clone(), owned);
                self.gone_instances.remove(key);
            }
            None => {
                if self.instances.remove(key).is_some() {
                    self.gone_instances.insert(key.clone());
                }
                self.administered.remove(key);
            }
        }
        let had: Vec<CheckKey> = self
            .checks
            .values()
            .filter(|check| check.instance.as_ref() == Some(key))
            .map(|check| check.key.clone())
            .collect();
        let has = state.checks_of(key).map(|check| check.key.clone());
        let keys: BTreeSet<CheckKey> = had.into_iter().chain(has).collect();
        for key in keys {
            self.refresh_check(state, &key);
        }
    }

    fn refresh_check(&mut self, state: &State, key: &CheckKey) {
        match state.check(key).filter(|row| self.is_own_check(row)) {
            Some(row) => {
                self.checks.insert(key.clone(), row.clone());
                self.gone_checks.remove(key);
            }
            None => {
                if self.checks.remove(key).is_some() {
                    self.gone_checks.insert(key.clone());
                }
            }
        }
    }

    /// Takes in what others did to what is owned while the agent was following: results, and administrative status. True if anything
    /// is different now.
    pub(crate) fn heard(&mut self, change: &Change) -> bool {
        match change {
            Change::Instance {
                after: Some(row), ..
            } => {
                let Some(owned) = self.instances.get_mut(&row.key) else {
                    return false;
                };
                let different = owned.admin != row.admin;
                owned.admin.clone_from(&row.admin);
                different
            }
            Change::Check {
                after: Some(row), ..
            } => match self.checks.get_mut(&row.key) {
                Some(owned) if owned.facts == row.facts && **owned != **row => {
                    *owned = row.clone();
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Lets an instance go that is another node's now.
    pub(crate) fn give_up(&mut self, key: &InstanceKey) {
        self.instances.remove(key);
        self.administered.remove(key);
        self.checks
            .retain(|_, check| check.instance.as_ref() != Some(key));
    }

    /// Lets instances go that the leader removed because a check was critical for as long as its definition allows: it is as if they had
    /// been removed here. True if any was owned.
    pub(crate) fn reap(&mut self, batches: &[Arc<Batch>]) -> bool {
        let reaped = |batch: &&Arc<Batch>| matches!(batch.cause.why, Why::Reaped { .. });
        let mut different = false;
        for change in batches
            .iter()
            .filter(reaped)
            .flat_map(|batch| batch.changes.iter())
        {
            if let Change::Instance {
                before: Some(row),
                after: None,
            } = change
                && self.instances.contains_key(&row.key)
            {
                self.give_up(&row.key);
                self.gone_instances.insert(row.key.clone());
                different = true;
            }
        }
        different
    }

    /// Whether a change is about something on this node.
    pub(crate) fn concerns(&self, change: &Change) -> bool {
        match change {
            Change::Instance { before, after } => {
                let mut rows = before.iter().chain(after);
                rows.any(|row| row.node == self.node)
            }
            Change::Check { before, after } => {
                let mut rows = before.iter().chain(after);
                rows.any(|row| row.key.node() == self.node)
            }
            _ => false,
        }
    }

    /// Whether the servers may have to take note of something beside what is there.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.gone_instances.is_empty()
            || !self.gone_checks.is_empty()
            || !self.administered.is_empty()
            || self.node_admin.is_some()
    }

    /// Compares with what the servers have: forgets what they have taken note of, and takes over the administrative status that others
    /// gave where none was given here. While there are `doubts`, what was removed is remembered: it may come back. True if anything is
    /// different now.
    pub(crate) fn settle(&mut self, state: &State, doubts: bool) -> bool {
        let mut different = false;
        let gone = self.gone_instances.len() + self.gone_checks.len();
        if !doubts {
            self.gone_instances
                .retain(|key| state.instance(key).is_some());
            self.gone_checks.retain(|key| state.check(key).is_some());
        }
        different |= gone != self.gone_instances.len() + self.gone_checks.len();
        for (key, owned) in &mut self.instances {
            let Some(row) = state.instance(key) else {
                continue;
            };
            if row.admin == owned.admin {
                different |= self.administered.remove(key);
            } else if !self.administered.contains(key) {
                owned.admin.clone_from(&row.admin);
                different = true;
            }
        }
        if let (Some(wanted), Some(row)) = (&self.node_admin, state.node(&self.node))
            && row.admin == *wanted
        {
            self.node_admin = None;
            different = true;
        }
        different
    }
}

/// Whether a registration came through an agent.
pub(crate) fn is_agents(facts: &Registration) -> bool {
    facts.key.origin == Protocol::Consul && facts.via == Via::Agent
}

/// Whether a row of another agent's node is the same service at the same place: a load balancer has registered it there since.
fn moved_to<'s>(state: &'s State, facts: &Registration) -> Option<&'s Arc<Instance>> {
    if facts.inherits_host || facts.endpoint.port() == 0 {
        return None;
    }
    state.instances_at(&facts.endpoint.host).find(|row| {
        is_agents(row)
            && row.node != facts.node
            && row.endpoint.port() == facts.endpoint.port()
            && row.key.local() == facts.key.local()
    })
}
