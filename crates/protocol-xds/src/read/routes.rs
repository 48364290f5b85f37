//! Routes: of one service, and the table of all of them that a proxy has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_catalog::{Service, ServiceKey, State, name};
use portolan_registry::Registry;
use prost_types::Duration;

use crate::client::Flavor;
use crate::kind::Kind;
use crate::names::Zones;
use crate::policy::{Policy, Retry};
use crate::resource::Resource;
use crate::wire::route::{
    ClusterSpecifier, MaxStreamDuration, RetryBackOff, RetryPolicy, Route, RouteAction,
    RouteConfiguration, RouteKind, RouteMatch, VirtualHost,
};

/// What all requests of a listener do that is a service's own.
pub(crate) fn of_service(
    name: &str,
    cluster: &str,
    policy: &Policy,
    flavor: Flavor,
) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: cluster.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route(cluster, policy, flavor)],
        }],
        ignore_port_in_host_matching: false,
    }
}

/// The requests of a proxy that are for one service. The first of its domains is its own, the others may be taken.
pub(crate) fn host(zones: &Zones, state: &State, service: &Service, flavor: Flavor) -> VirtualHost {
    let flat = name::flat(&service.key);
    let (policy, _) = Policy::of(state, &service.key);
    let mut domains = vec![flat.clone()];
    domains.extend(zones.hosts(&flat, service.key.namespace(), &service.label));
    // A star would be a pattern, and what no head can carry is refused together with everything else.
    let usable = |domain: &String| {
        !domain.is_empty() && !domain.bytes().any(|b| b == b'*' || b < b' ' || b == 0x7f)
    };
    domains.retain(usable);
    VirtualHost {
        name: flat.clone(),
        domains,
        routes: vec![route(&flat, &policy, flavor)],
    }
}

/// One table of hosts. A domain that two have refuses the whole of it, so each goes to the first who has it: services by their own names
/// first, then by the further ones.
pub(crate) fn table(name: &str, hosts: impl Iterator<Item = VirtualHost>) -> RouteConfiguration {
    let mut hosts: Vec<VirtualHost> = hosts.collect();
    let own: BTreeSet<String> = hosts.iter().map(|host| host.name.clone()).collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for host in &mut hosts {
        let VirtualHost { name, domains, .. } = host;
        domains.retain(|domain| {
            (domain == name || !own.contains(domain)) && taken.insert(domain.clone())
        });
    }
    hosts.retain(|host| !host.domains.is_empty());
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts,
        ignore_port_in_host_matching: true,
    }
}

fn route(cluster: &str, policy: &Policy, flavor: Flavor) -> Route {
    let mut action = RouteAction {
        cluster: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        retry_policy: retries(&policy.retry),
        ..RouteAction::default()
    };
    match flavor {
        // Without a word a proxy would end every stream after 15 s.
        Flavor::Envoy => action.timeout = Some(policy.timeout.unwrap_or_default()),
        Flavor::Grpc => {
            action.max_stream_duration = policy.timeout.map(|limit| MaxStreamDuration {
                max_stream_duration: Some(limit),
            });
        }
    }
    Route {
        r#match: Some(RouteMatch::everything()),
        kind: Some(RouteKind::Route(action)),
    }
}

fn retries(retry: &Retry) -> Option<RetryPolicy> {
    (!retry.on.is_empty()).then(|| RetryPolicy {
        retry_on: retry.on.clone(),
        num_retries: Some(retry.times.unwrap_or(1)),
        per_try_timeout: retry.per_try,
        retry_back_off: back_off(retry.back_off, retry.max_back_off),
    })
}

/// The longer may not be below the shorter, which has to be there: both clients refuse that.
fn back_off(base: Option<Duration>, most: Option<Duration>) -> Option<RetryBackOff> {
    let base = base?;
    let span = |time: &Duration| (time.seconds, time.nanos);
    Some(RetryBackOff {
        base_interval: Some(base),
        max_interval: most.filter(|most| span(most) >= span(&base)),
    })
}

/// The table of whoever may see everything: kept, and made again where something about a service changed.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Hosts>);

#[derive(Debug, Default)]
struct Hosts {
    /// All services were looked at once.
    complete: bool,
    hosts: BTreeMap<ServiceKey, VirtualHost>,
    changed: BTreeSet<ServiceKey>,
    built: Option<Arc<Resource>>,
}

impl Table {
    pub(crate) fn changed<'a>(&self, services: impl Iterator<Item = &'a ServiceKey>) {
        let mut held = self.lock();
        if held.complete {
            held.changed.extend(services.cloned());
        }
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Hosts::default();
    }

    /// The table of now. What it is made from is read under the lock: whatever changed before was noted, or is in the state.
    pub(crate) fn get(&self, registry: &Registry, zones: &Zones, name: &str) -> Arc<Resource> {
        let mut held = self.lock();
        let held = &mut *held;
        let state = &*registry.snapshot();
        let looked_at: Vec<ServiceKey> = match held.complete {
            true => std::mem::take(&mut held.changed).into_iter().collect(),
            false => state
                .services()
                .map(|service| service.key.clone())
                .collect(),
        };
        held.complete = true;
        for key in looked_at {
            let row = state.service(&key).filter(|_| !state.is_own_service(&key));
            let host = row.map(|service| host(zones, state, service, Flavor::Envoy));
            let before = match &host {
                Some(host) => held.hosts.insert(key, host.clone()),
                None => held.hosts.remove(&key),
            };
            if before != host {
                held.built = None;
            }
        }
        let hosts = &held.hosts;
        let build = || {
            let table = table(name, hosts.values().cloned());
            Arc::new(Resource::new(Kind::Routes, &name.into(), &table))
        };
        held.built.get_or_insert_with(build).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
