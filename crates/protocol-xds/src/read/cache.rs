//! Resources that were rendered, for the next client that asks for the same.
//!
//! What is kept of a service is valid until something about the service changes. It is bounded by what was asked for: a service with too many
//! forms (of clients in many places, under many spellings) loses all of them, and all services lose theirs when they are too many together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::{Revision, ServiceKey, State};

use crate::client::{Flavor, Place};
use crate::kind::Kind;
use crate::resource::Resource;

/// Forms of one service.
const FORMS: usize = 256;
/// Forms of all services.
const ALL: usize = 1 << 18;

/// What a resource of a service depends on beside the service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) flavor: Flavor,
    /// Where the client is, if that matters.
    pub(crate) place: Option<Arc<Place>>,
    pub(crate) name: Arc<str>,
}

#[derive(Debug)]
struct Kept {
    /// What the service was at.
    stamp: Revision,
    resource: Arc<Resource>,
}

#[derive(Debug, Default)]
struct Held {
    services: BTreeMap<ServiceKey, BTreeMap<Form, Kept>>,
    count: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Held>);

impl Cache {
    /// The form of a service that is there; rendered if there is none of the present.
    pub(crate) fn get(
        &self,
        state: &State,
        service: &ServiceKey,
        form: Form,
        render: impl FnOnce() -> Resource,
    ) -> Arc<Resource> {
        let row = state
            .service(service)
            .map_or(Revision::FIRST, |row| row.modified);
        let stamp = state.service_index(service).max(row);
        let before = {
            let held = self.lock();
            let kept = held
                .services
                .get(service)
                .and_then(|forms| forms.get(&form));
            match kept {
                Some(kept) if kept.stamp == stamp => return kept.resource.clone(),
                kept => kept.map(|kept| kept.resource.clone()),
            }
        };
        // Outside of the lock: two may render the same, and nobody waits for a large one.
        let fresh = render();
        let resource = match before {
            Some(before) if *before == fresh => before,
            _ => Arc::new(fresh),
        };
        let mut held = self.lock();
        if held.count >= ALL {
            *held = Held::default();
        }
        let held = &mut *held;
        let forms = held.services.entry(service.clone()).or_default();
        if forms.len() >= FORMS && !forms.contains_key(&form) {
            held.count -= forms.len();
            forms.clear();
        }
        let kept = Kept {
            stamp,
            resource: resource.clone(),
        };
        if forms.insert(form, kept).is_none() {
            held.count += 1;
        }
        resource
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Held::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
