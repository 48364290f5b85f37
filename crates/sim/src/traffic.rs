//! What a server was asked, in numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_environment::Channel;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub requests: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// The bytes of their answers.
    pub bytes_out: u64,
}

/// Counts by channel. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Mutex<BTreeMap<Channel, Traffic>>>);

impl Meter {
    fn count(&self, channel: Channel, count: impl FnOnce(&mut Traffic)) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(inner.entry(channel).or_default());
    }

    pub(crate) fn asked(&self, channel: Channel, bytes: usize) {
        self.count(channel, |traffic| {
            traffic.requests += 1;
            traffic.bytes_in += bytes as u64;
        });
    }

    pub(crate) fn answered(&self, channel: Channel, bytes: usize) {
        self.count(channel, |traffic| traffic.bytes_out += bytes as u64);
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Vec<(Channel, Traffic)> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *inner).into_iter().collect()
    }
}
