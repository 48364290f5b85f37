//! Views: one service, or the whole registry, as readers want it, encoded once per form.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use portolan_catalog::{EndpointRow, Revision, Service, ServiceKey, State};

/// A form of one service's answer. Each protocol numbers its own from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    const EACH: u8 = 8;
    /// How many there are for all protocols together.
    pub const COUNT: usize = 5 * Slot::EACH as usize;

    const fn of(protocol: u8, number: u8) -> Slot {
        assert!(
            number < Slot::EACH,
            "a protocol has eight forms of a service"
        );
        Slot(protocol * Slot::EACH + number)
    }

    /// One of Consul's.
    pub const fn consul(number: u8) -> Slot {
        Slot::of(0, number)
    }

    /// One of DNS'.
    pub const fn dns(number: u8) -> Slot {
        Slot::of(1, number)
    }

    /// One of Eureka's.
    pub const fn eureka(number: u8) -> Slot {
        Slot::of(2, number)
    }

    /// One of Nacos'.
    pub const fn nacos(number: u8) -> Slot {
        Slot::of(3, number)
    }

    /// One of the native protocol's.
    pub const fn native(number: u8) -> Slot {
        Slot::of(4, number)
    }
}

/// One service at one moment, with its encoded forms. Valid until something about the service changes.
#[derive(Debug)]
pub struct View {
    /// The service.
    pub key: ServiceKey,
    /// Its row; none for a service that does not exist.
    pub service: Option<Arc<Service>>,
    /// Its endpoints, by host and port.
    pub endpoints: Box<[Arc<EndpointRow>]>,
    /// The revision that made it what it is: Consul's index, see `State::service_index`.
    pub changed: Revision,
    /// Of the registry: the same revision of another one is another state.
    pub(crate) era: u64,
    forms: OnceLock<Box<[OnceLock<Bytes>; Slot::COUNT]>>,
}

impl View {
    pub(crate) fn of(state: &State, era: u64, key: &ServiceKey) -> View {
        View {
            key: key.clone(),
            service: state.service(key).cloned(),
            endpoints: state.endpoints(key).cloned().collect(),
            changed: state.service_index(key),
            era,
            forms: OnceLock::new(),
        }
    }

    /// The encoded form: rendered the first time, a reference afterwards. `render` must depend on the service alone.
    pub fn form(&self, slot: Slot, render: impl FnOnce() -> Bytes) -> &Bytes {
        let forms = self
            .forms
            .get_or_init(|| Box::new([const { OnceLock::new() }; Slot::COUNT]));
        forms[usize::from(slot.0)].get_or_init(render)
    }
}

/// A form of an answer about the whole registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeSlot(u8);

impl WholeSlot {
    const EACH: u8 = 8;
    const COUNT: usize = 2 * WholeSlot::EACH as usize;

    /// One of Eureka's (`/apps`: JSON or XML, full or compact, plain or gzip).
    pub const fn eureka(number: u8) -> WholeSlot {
        assert!(
            number < WholeSlot::EACH,
            "a protocol has eight forms of the registry"
        );
        WholeSlot(number)
    }

    /// One of Consul's (`/catalog/services`).
    pub const fn consul(number: u8) -> WholeSlot {
        assert!(
            number < WholeSlot::EACH,
            "a protocol has eight forms of the registry"
        );
        WholeSlot(WholeSlot::EACH + number)
    }
}

/// Answers about the whole registry, each with the stamp of what it was made from.
#[derive(Debug)]
pub(crate) struct Wholes([ArcSwapOption<Whole>; WholeSlot::COUNT]);

#[derive(Debug)]
struct Whole {
    /// Era and revision.
    stamp: (u64, Revision),
    bytes: OnceLock<Bytes>,
}

impl Default for Wholes {
    fn default() -> Wholes {
        Wholes([const { ArcSwapOption::const_empty() }; WholeSlot::COUNT])
    }
}

impl Wholes {
    /// The form made at `stamp`; rendered once, others who ask meanwhile wait for it.
    pub(crate) fn form(
        &self,
        slot: WholeSlot,
        stamp: (u64, Revision),
        render: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let place = &self.0[usize::from(slot.0)];
        let held = place.load();
        let whole = match &*held {
            Some(whole) if whole.stamp == stamp => whole.clone(),
            Some(newer) if newer.stamp > stamp => return render(),
            _ => {
                let fresh = Arc::new(Whole {
                    stamp,
                    bytes: OnceLock::new(),
                });
                let previous = place.compare_and_swap(&held, Some(fresh.clone()));
                let installed =
                    previous.as_ref().map(Arc::as_ptr) == held.as_ref().map(Arc::as_ptr);
                match &*previous {
                    Some(theirs) if !installed && theirs.stamp == stamp => theirs.clone(),
                    _ => fresh,
                }
            }
        };
        whole.bytes.get_or_init(render).clone()
    }
}
