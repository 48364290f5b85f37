//! One reader of the catalog's changes for all connections: it finds who follows what changed, marks it there, and wakes them.
//!
//! Invariants
//! - Whoever follows is in here before it reads what it answers: a change after that reading marks it.
//! - The cost of a change follows those who follow it. A connection that is slow has one mark for each thing it follows, however often
//!   that changes: a burst becomes one push.
//! - When the reader itself was cut off, everything that is followed is marked: what is not different is not pushed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use portolan_catalog::{Batch, Change, Key, Keyspace, ServiceKey, Table};
use portolan_registry::{Registry, Selector};

use super::connections::{Connection, Due};
use super::lock;
use super::udp::UdpMarks;
use crate::config::key::ConfigKey;

/// Who follows what.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<Followers>);

type Connections = BTreeMap<u64, Arc<Connection>>;

#[derive(Debug, Default)]
struct Followers {
    services: HashMap<ServiceKey, Connections>,
    configs: HashMap<Key, Connections>,
    /// Connections with patterns of services or of configurations.
    patterns: Connections,
    udp: Option<Arc<UdpMarks>>,
}

impl Hub {
    /// The place where services are marked that UDP clients may follow.
    pub(crate) fn tell_udp(&self, marks: Arc<UdpMarks>) {
        lock(&self.0).udp = Some(marks);
    }

    pub(crate) fn follow_service(&self, service: &ServiceKey, connection: &Arc<Connection>) {
        let mut held = lock(&self.0);
        let followers = held.services.entry(service.clone()).or_default();
        followers.insert(connection.number, connection.clone());
    }

    pub(crate) fn leave_service(&self, service: &ServiceKey, number: u64) {
        leave(&mut lock(&self.0).services, service, number);
    }

    pub(crate) fn follow_config(&self, key: &Key, connection: &Arc<Connection>) {
        let mut held = lock(&self.0);
        let followers = held.configs.entry(key.clone()).or_default();
        followers.insert(connection.number, connection.clone());
    }

    pub(crate) fn leave_config(&self, key: &Key, number: u64) {
        leave(&mut lock(&self.0).configs, key, number);
    }

    pub(crate) fn follow_patterns(&self, connection: &Arc<Connection>) {
        let number = connection.number;
        lock(&self.0).patterns.insert(number, connection.clone());
    }

    /// Forgets a connection that is over.
    pub(crate) fn leave_all(&self, connection: &Connection) {
        let (services, configs) = connection.followed();
        let mut held = lock(&self.0);
        for service in &services {
            leave(&mut held.services, service, connection.number);
        }
        for key in &configs {
            leave(&mut held.configs, key, connection.number);
        }
        held.patterns.remove(&connection.number);
    }

    /// How many connections subscribe to a service, and who they are.
    pub(crate) fn subscribers(&self, service: &ServiceKey) -> Vec<Arc<Connection>> {
        let held = lock(&self.0);
        let followers = held.services.get(service);
        followers.map_or_else(Vec::new, |all| all.values().cloned().collect())
    }

    /// Who listens to a configuration.
    pub(crate) fn listeners(&self, key: &Key) -> Vec<Arc<Connection>> {
        let held = lock(&self.0);
        let followers = held.configs.get(key);
        followers.map_or_else(Vec::new, |all| all.values().cloned().collect())
    }

    /// Reads changes for ever.
    pub(crate) async fn run(self: Arc<Hub>, registry: Registry) {
        let selectors = vec![
            Selector::Table(Table::Instances),
            Selector::Table(Table::Endpoints),
            Selector::Table(Table::Services),
            Selector::Table(Table::Nodes),
            Selector::Table(Table::Records(Keyspace::NacosConfig)),
        ];
        loop {
            let after = registry.read(|state| state.revision());
            let feed = registry.follow(selectors.clone(), after);
            // Whatever changed before that revision.
            self.mark_all();
            let Ok(mut feed) = feed else {
                // The history was cut between the two lines above.
                tokio::task::yield_now().await;
                continue;
            };
            while let Ok(batch) = feed.next().await {
                self.deliver(&batch);
            }
        }
    }

    fn deliver(&self, batch: &Batch) {
        let held = lock(&self.0);
        for service in &batch.services {
            if let Some(followers) = held.services.get(service) {
                for connection in followers.values() {
                    connection.mark(Due::Service(service.clone()));
                }
            }
            if let Some(udp) = &held.udp {
                udp.mark(service);
            }
        }
        for change in &batch.changes {
            let came_or_went = || change.presence() != (true, true);
            match change {
                Change::Record { space, key, .. } if *space == Keyspace::NacosConfig => {
                    let Some(key) = ConfigKey::base(key) else {
                        continue;
                    };
                    for connection in held
                        .configs
                        .get(&key)
                        .into_iter()
                        .flat_map(BTreeMap::values)
                    {
                        connection.mark(Due::Config(key.clone()));
                    }
                    for connection in held.patterns.values() {
                        connection.mark_config_pattern(&key);
                    }
                }
                Change::Service { before, after } if came_or_went() => {
                    let row = after.as_ref().or(before.as_ref());
                    for connection in held.patterns.values() {
                        if let Some(row) = row {
                            connection.mark_service_pattern(&row.key);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn mark_all(&self) {
        let held = lock(&self.0);
        for (service, followers) in &held.services {
            for connection in followers.values() {
                connection.mark(Due::Service(service.clone()));
            }
        }
        for (key, followers) in &held.configs {
            for connection in followers.values() {
                connection.mark(Due::Config(key.clone()));
            }
        }
        for connection in held.patterns.values() {
            connection.mark_patterns();
        }
        if let Some(udp) = &held.udp {
            udp.mark_all();
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Connections>, key: &K, number: u64) {
    if let Some(followers) = all.get_mut(key) {
        followers.remove(&number);
        if followers.is_empty() {
            all.remove(key);
        }
    }
}
