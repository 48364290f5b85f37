//! Other datacenters, as protocols answer from them: a registry each, which is a copy of what their servers have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::registry::Registry;

/// Another datacenter: its name, how far it is, and the copy of its catalog once there is one.
#[derive(Debug)]
pub struct Datacenter {
    name: Arc<str>,
    copy: OnceLock<Registry>,
    /// Microseconds; 0 while nothing was measured.
    round_trip: AtomicU64,
}

impl Datacenter {
    /// A datacenter nothing is known of yet.
    #[must_use]
    pub fn new(name: &str) -> Datacenter {
        Datacenter {
            name: name.into(),
            copy: OnceLock::new(),
            round_trip: AtomicU64::new(0),
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The copy; none before its servers were reached for the first time.
    #[must_use]
    pub fn copy(&self) -> Option<&Registry> {
        self.copy.get()
    }

    /// How long a question to its servers takes, lately; none before one was answered.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        match self.round_trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// There is a copy now. The first one counts: it is the same from then on, and follows.
    pub fn set_copy(&self, copy: Registry) {
        // Whoever follows a datacenter does it once.
        let _first = self.copy.set(copy);
    }

    /// A question took this long. One that took longer than usual moves the measure little.
    pub fn measured(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let smooth = |before: u64| match before {
            0 => took,
            before => (before.saturating_mul(7).saturating_add(took) / 8).max(1),
        };
        let before = self.round_trip.load(Ordering::Relaxed);
        // One task measures.
        self.round_trip.store(smooth(before), Ordering::Relaxed);
    }
}

/// The other datacenters that are followed here. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Datacenters(Arc<[Arc<Datacenter>]>);

impl Datacenters {
    /// These.
    #[must_use]
    pub fn new(others: Vec<Arc<Datacenter>>) -> Datacenters {
        Datacenters(others.into())
    }

    /// All of them, as they were configured.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Datacenter>> {
        self.0.iter()
    }

    /// The one of this name, however it is spelled.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Datacenter>> {
        self.iter().find(|one| one.name.eq_ignore_ascii_case(name))
    }

    /// The nearest first; those that were never reached last, by name.
    #[must_use]
    pub fn by_distance(&self) -> Vec<&Arc<Datacenter>> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|one| (one.round_trip().unwrap_or(Duration::MAX), one.name.clone()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_and_one_slow_answer_moves_little() {
        let all = ["b", "a", "far", "near"].map(|name| Arc::new(Datacenter::new(name)));
        all[2].measured(Duration::from_millis(80));
        all[3].measured(Duration::from_millis(2));
        let datacenters = Datacenters::new(all.to_vec());
        let names = || {
            let sorted = datacenters.by_distance();
            sorted
                .iter()
                .map(|one| one.name().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["near", "far", "a", "b"]);
        all[3].measured(Duration::from_millis(90));
        assert_eq!(names(), ["near", "far", "a", "b"]);
        assert!(datacenters.find("NEAR").is_some());
        assert!(datacenters.find("none").is_none());
    }
}
