//! One service as one thread has it.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use portolan_balance::{
    Balancer, Breaker, Breakers, Budget, Moment, Outcome, Pick, RetryBudget, Settings, Tried,
};
use portolan_catalog::{Revision, ServiceKey};
use portolan_registry::{Registry, View};

use super::endpoint::{Endpoint, facts, id};
use crate::figures::{Figures, ServiceFigures};
use crate::policy::Policy;

/// One service.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) key: ServiceKey,
    /// The name that messages and metrics have.
    pub(crate) name: Arc<str>,
    view: RefCell<Arc<View>>,
    /// The catalog was looked at up to here.
    seen: Cell<Revision>,
    policy: RefCell<Rc<Policy>>,
    balancer: RefCell<Balancer>,
    endpoints: RefCell<HashMap<u64, Rc<Endpoint>>>,
    pub(crate) breaker: RefCell<Breaker>,
    pub(crate) budget: RefCell<RetryBudget>,
    pub(crate) figures: Arc<ServiceFigures>,
}

/// An endpoint that was chosen for a request; it counts as under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Chosen {
    cluster: Rc<Cluster>,
    pub(crate) endpoint: Rc<Endpoint>,
    pick: Pick,
    outcome: Outcome,
    now: Moment,
}

impl Chosen {
    /// Remembered for the next attempt.
    pub(crate) fn pick(&self) -> Pick {
        self.pick
    }

    /// What came of it, as of a moment.
    pub(crate) fn came(&mut self, outcome: Outcome, now: Moment) {
        (self.outcome, self.now) = (outcome, now);
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        let outcome = self.outcome;
        let mut balancer = self.cluster.balancer.borrow_mut();
        if balancer.end(self.pick, outcome, self.now) {
            self.endpoint.figures.ejections.inc();
            tracing::warn!(
                service = &*self.cluster.name,
                endpoint = &*self.endpoint.address,
                "an endpoint failed too often in a row and is not asked for a while"
            );
        }
        self.endpoint.figures.in_flight.dec();
    }
}

impl Cluster {
    /// The service as the catalog has it now.
    pub(crate) fn new(
        key: &ServiceKey,
        view: Arc<View>,
        figures: &Figures,
        requests: usize,
        now: Moment,
    ) -> Cluster {
        let name = match (key.namespace(), key.group()) {
            (portolan_catalog::DEFAULT, portolan_catalog::DEFAULT) => key.name().to_owned(),
            (namespace, group) => format!("{namespace}/{group}/{}", key.name()),
        };
        let name: Arc<str> = name.into();
        let seed = portolan_environment::random_u64();
        let breakers = Breakers {
            requests,
            connections: requests.saturating_mul(2),
        };
        let cluster = Cluster {
            key: key.clone(),
            figures: figures.service(&name),
            name,
            view: RefCell::new(view),
            seen: Cell::new(Revision(0)),
            policy: RefCell::default(),
            balancer: RefCell::new(Balancer::new(
                portolan_balance::Policy::default(),
                Settings::default(),
                seed,
            )),
            endpoints: RefCell::default(),
            breaker: RefCell::new(Breaker::new(breakers)),
            budget: RefCell::new(RetryBudget::new(Budget::default())),
        };
        cluster.take(figures, now);
        cluster
    }

    /// Takes what the catalog has now, if that is something else. False when the service is gone.
    pub(crate) fn refresh(&self, registry: &Registry, figures: &Figures, now: Moment) -> bool {
        let revision = registry.read(|state| state.revision());
        if revision == self.seen.get() {
            return true;
        }
        let view = registry.view(&self.key);
        // It stays gone for the next one who asks, too.
        if view.service.is_none() {
            return false;
        }
        self.seen.set(revision);
        if !Arc::ptr_eq(&view, &self.view.borrow()) {
            *self.view.borrow_mut() = view;
            self.take(figures, now);
        }
        true
    }

    fn take(&self, figures: &Figures, now: Moment) {
        let view = self.view.borrow().clone();
        let rows = view.endpoints.iter();
        let service = view.service.as_deref();
        let (policy, _) = Policy::of(service, rows.clone().map(|row| &**row));
        let mut balancer = self.balancer.borrow_mut();
        balancer.set_policy(policy.way, Settings::default(), now);
        *self.policy.borrow_mut() = Rc::new(policy);
        let all: Vec<_> = rows.clone().filter_map(|row| facts(row)).collect();
        balancer.set_endpoints(&all, now);
        let mut endpoints = self.endpoints.borrow_mut();
        let mut kept = HashMap::with_capacity(all.len());
        for row in rows {
            let id = id(row);
            let endpoint = endpoints.remove(&id).unwrap_or_else(|| {
                let address = row.key.host.with_port(row.key.port);
                Rc::new(Endpoint::new(row, figures.endpoint(&self.name, &address)))
            });
            let main = row.primary().endpoint.ports.first();
            endpoint.secure.set(main.is_some_and(|port| port.secure));
            kept.insert(id, endpoint);
        }
        for gone in endpoints.values() {
            gone.leave();
        }
        *endpoints = kept;
    }

    /// How it wants to be called.
    pub(crate) fn policy(&self) -> Rc<Policy> {
        Ref::clone(&self.policy.borrow()).clone()
    }

    /// Chooses an endpoint for a request.
    pub(crate) fn choose(
        self: &Rc<Cluster>,
        key: Option<u64>,
        tried: &Tried,
        now: Moment,
    ) -> Option<Chosen> {
        let mut balancer = self.balancer.borrow_mut();
        let pick = balancer.pick(key, tried, now)?;
        let endpoint = self.endpoints.borrow().get(&pick.id).cloned();
        let Some(endpoint) = endpoint else {
            balancer.end(pick, Outcome::Unknown, now);
            return None;
        };
        endpoint.figures.in_flight.inc();
        Some(Chosen {
            cluster: self.clone(),
            endpoint,
            pick,
            outcome: Outcome::Unknown,
            now,
        })
    }

    /// Whether there is an endpoint that a request was not tried at.
    pub(crate) fn has_other(&self, tried: &Tried) -> bool {
        self.endpoints.borrow().keys().any(|id| !tried.has(*id))
    }

    /// Closes what has waited for too long.
    pub(crate) fn sweep(&self, longest: std::time::Duration) {
        for endpoint in self.endpoints.borrow().values() {
            endpoint.sweep(longest);
        }
    }

    /// The service is gone.
    pub(crate) fn leave(&self) {
        for endpoint in self.endpoints.borrow().values() {
            endpoint.leave();
        }
    }

    /// Whether nothing of it is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.breaker.borrow().requests() == 0
    }
}
