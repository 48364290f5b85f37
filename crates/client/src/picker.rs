//! The balancer of one service, kept as the catalog is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use portolan_balance::{self as balance, Balancer, Breaker, Outcome, Pick, RetryBudget, Tried};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::discovery::Listing;
use crate::settings::Settings;

/// Endpoints, what is under way at them, and the budget of retries.
#[derive(Debug)]
pub(crate) struct Picker {
    state: Mutex<State>,
    begun: Instant,
    region: String,
    zone: String,
    port: Option<String>,
}

#[derive(Debug)]
struct State {
    balancer: Balancer,
    breaker: Breaker,
    budget: RetryBudget,
    listing: watch::Receiver<Arc<Listing>>,
    authorities: HashMap<u64, Authority>,
}

impl Picker {
    pub(crate) fn new(
        mut listing: watch::Receiver<Arc<Listing>>,
        (region, zone): (&str, &str),
        settings: &Settings,
    ) -> Picker {
        listing.mark_changed();
        let numbers = balance::Settings {
            outlier: settings.outlier,
            slow_start: settings.slow_start,
            ..balance::Settings::default()
        };
        Picker {
            state: Mutex::new(State {
                balancer: Balancer::new(settings.policy, numbers, rand::random()),
                breaker: Breaker::new(settings.breakers),
                budget: RetryBudget::new(settings.budget),
                listing,
                authorities: HashMap::new(),
            }),
            begun: Instant::now(),
            region: region.to_owned(),
            zone: zone.to_owned(),
            port: settings.port.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A request begins; false when there are too many.
    pub(crate) fn enter(&self) -> bool {
        let mut state = self.state();
        let entered = state.breaker.begin().is_ok();
        if entered {
            state.budget.earn(self.now());
        }
        entered
    }

    /// A request that began is over.
    pub(crate) fn leave(&self) {
        self.state().breaker.end();
    }

    /// Whether there may be another try.
    pub(crate) fn spend(&self) -> bool {
        self.state().budget.spend(self.now())
    }

    /// Requests under way at an endpoint.
    pub(crate) fn in_flight(&self, id: u64) -> u32 {
        self.state().balancer.in_flight(id)
    }

    /// An endpoint for the next try; none when there is none.
    pub(crate) fn pick(
        self: &Arc<Self>,
        key: Option<u64>,
        tried: &Mutex<Tried>,
    ) -> Option<(Flight, Authority)> {
        let mut state = self.state();
        if state.listing.has_changed().unwrap_or(false) {
            self.take(&mut state);
        }
        let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
        let pick = state.balancer.pick(key, &tried, self.now())?;
        tried.add(pick);
        let authority = state.authorities.get(&pick.id)?.clone();
        let flight = Flight {
            picker: self.clone(),
            pick,
            begun: Instant::now(),
            outcome: Outcome::Unknown,
        };
        Some((flight, authority))
    }

    fn take(&self, state: &mut State) {
        let listing = state.listing.borrow_and_update().clone();
        state.authorities.clear();
        let mut endpoints = Vec::with_capacity(listing.endpoints.len());
        for endpoint in &listing.endpoints {
            let port = match &self.port {
                None => Some(endpoint.port),
                Some(name) => endpoint.ports.get(name).copied(),
            };
            let authority = port
                .filter(|port| *port > 0)
                .and_then(|port| endpoint.authority_at(port).parse().ok());
            // What has no port to be asked at is no endpoint here; what has no share is never asked.
            let (Some(authority), true) = (authority, endpoint.weight > 0.0) else {
                continue;
            };
            let id = endpoint.id();
            state.authorities.insert(id, authority);
            endpoints.push(balance::Endpoint {
                id,
                weight: ((endpoint.weight * 1000.0) as u32).max(1),
                healthy: endpoint.healthy,
                distance: endpoint.distance(&self.region, &self.zone),
            });
        }
        state.balancer.set_endpoints(&endpoints, self.now());
    }
}

/// A request that is under way at an endpoint; what came of it counts when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    picker: Arc<Picker>,
    pick: Pick,
    begun: Instant,
    outcome: Outcome,
}

impl Flight {
    /// There is an answer: `good` when the endpoint is not at fault.
    pub(crate) fn answered(&mut self, good: bool) {
        let took = self.begun.elapsed();
        self.outcome = match good {
            true => Outcome::Answered(took),
            false => Outcome::Failed(took),
        };
    }

    /// There is none.
    pub(crate) fn unreachable(&mut self) {
        self.outcome = Outcome::Unreachable;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = self.picker.now();
        self.picker
            .state()
            .balancer
            .end(self.pick, self.outcome, now);
    }
}

/// A request that counts until it is over.
#[derive(Debug)]
pub(crate) struct Entered(Arc<Picker>);

impl Entered {
    /// None when there are too many.
    pub(crate) fn new(picker: &Arc<Picker>) -> Option<Entered> {
        picker.enter().then(|| Entered(picker.clone()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave();
    }
}
