//! Figures for the outside: atomics that whoever exports metrics reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that goes up and down, or only up.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
}

/// All figures of a replica. Sizes in bytes, times in microseconds.
#[derive(Debug, Default)]
pub struct Stats {
    /// Bytes used in all log segments (gauge).
    pub log_bytes: Figure,
    /// Segment files (gauge).
    pub log_segments: Figure,
    /// Entries in the log (gauge).
    pub log_entries: Figure,
}
