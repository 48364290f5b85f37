//! Certificates of services that were given out by this server: whoever asks again gets the same one until it is time for another.
//!
//! They are in memory alone: their keys are nobody's business but of those who may write the service. A server that starts anew gives out new
//! ones, as in any rotation; their index is the time they were made at, so that one from any server is later than an older one.

use super::authority::{Leaf, Root};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Services whose certificates are remembered; beyond that the one that is nearest to its end is forgotten.
const MOST: usize = 4096;

/// A certificate that was given out.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) leaf: Leaf,
    /// The root that signed it.
    pub(super) root: String,
    /// From when on another one is given, milliseconds since 1970.
    pub(super) renew_ms: u64,
    /// What its readers wait by: when it was made, milliseconds since 1970.
    pub(super) index: u64,
}

/// By service.
#[derive(Debug, Default)]
pub(crate) struct Leaves(Mutex<BTreeMap<String, Arc<Given>>>);

impl Leaves {
    /// The one of a service that is still good.
    pub(super) fn current(&self, service: &str, root: &Root, now_ms: u64) -> Option<Arc<Given>> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given
            .get(service)
            .filter(|one| one.root == root.id && now_ms < one.renew_ms)
            .cloned()
    }

    /// Remembers one, unless somebody else was faster: the one that counts.
    pub(super) fn keep(
        &self,
        service: &str,
        root: &Root,
        leaf: Leaf,
        now_ms: u64,
        early: f64,
    ) -> Arc<Given> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = given.get(service);
        if let Some(old) = old.filter(|one| one.root == root.id && now_ms < one.renew_ms) {
            return old.clone();
        }
        // Between 60 and 90 hundredths of its life, so that not all come at once.
        let life = leaf.until_ms.saturating_sub(leaf.from_ms) as f64;
        let made = Arc::new(Given {
            root: root.id.clone(),
            renew_ms: leaf.from_ms + (life * (0.6 + 0.3 * early)) as u64,
            index: now_ms.max(old.map_or(0, |old| old.index + 1)),
            leaf,
        });
        if given.len() >= MOST && !given.contains_key(service) {
            let soonest = given.iter().min_by_key(|(_, one)| one.renew_ms);
            if let Some(name) = soonest.map(|(name, _)| name.clone()) {
                given.remove(&name);
            }
        }
        given.insert(service.to_owned(), made.clone());
        made
    }
}
