//! Which protocols may be sent clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use portolan_api::ProtocolState;
use portolan_catalog::Protocol;

const STARTING: u8 = 0;
const READY: u8 = 1;
const LEAVING: u8 = 2;

/// The open protocols and whether they are ready. A protocol opens its port only when the state behind it is what it was, so all become
/// ready together and leave together. Cloning is a pointer copy.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    protocols: Vec<Protocol>,
    state: AtomicU8,
}

impl Readiness {
    /// Of these protocols, starting.
    pub fn new(protocols: impl IntoIterator<Item = Protocol>) -> Readiness {
        Readiness(Arc::new(Inner {
            protocols: protocols.into_iter().collect(),
            state: AtomicU8::new(STARTING),
        }))
    }

    /// All ports are open.
    pub fn ready(&self) {
        self.0.state.store(READY, Ordering::Release);
    }

    /// The server is about to stop: send no more clients.
    pub fn leaving(&self) {
        self.0.state.store(LEAVING, Ordering::Release);
    }

    pub(crate) fn state(&self) -> ProtocolState {
        match self.0.state.load(Ordering::Acquire) {
            STARTING => ProtocolState::Starting,
            READY => ProtocolState::Ready,
            _ => ProtocolState::Leaving,
        }
    }

    pub(crate) fn protocols(&self) -> &[Protocol] {
        &self.0.protocols
    }
}
