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
    /// Bytes ever written to the log by this process, and found in it at the start.
    pub log_written: Figure,
    /// Barriers of the log.
    pub log_syncs: Figure,
    /// Microseconds spent in writing and syncing the log.
    pub log_sync_us: Figure,
    /// Index of the last applied entry (gauge).
    pub applied_index: Figure,
    /// Commands applied.
    pub commands: Figure,
    /// Runs of entries applied and published together.
    pub applies: Figure,
    /// Snapshots written.
    pub snapshots: Figure,
    /// Snapshots that failed for lack of space.
    pub snapshots_failed: Figure,
    /// Size of the current snapshot (gauge).
    pub snapshot_bytes: Figure,
    /// Last entry in the current snapshot (gauge).
    pub snapshot_index: Figure,
    /// Revision of the current snapshot (gauge).
    pub snapshot_revision: Figure,
    pub(crate) written_at_snapshot: Figure,
    /// Batches proposed.
    pub batches: Figure,
    /// Proposals refused because the disk is full.
    pub refused_full: Figure,
    /// Leases that are timed (gauge).
    pub leases: Figure,
    /// Renewals.
    pub renewals: Figure,
    /// Lapses proposed.
    pub lapses: Figure,
    /// Pauses of the process for which expiry was held back.
    pub pauses: Figure,
    /// 1 while the mass-expiry guard holds removals of silent instances back (gauge).
    pub guard: Figure,
    /// Leases the guard holds back (gauge).
    pub guarded_leases: Figure,
    /// Instances with a critical check that the guard holds back (gauge).
    pub guarded_checks: Figure,
    /// 1 while no leader has been heard of for longer than an election takes (gauge).
    pub leader_lost: Figure,
    /// 1 while the disk is full (gauge).
    pub disk_full: Figure,
}

impl Stats {
    pub(crate) fn note_snapshot(&self, index: u64, revision: u64) {
        self.snapshot_index.set(index);
        self.snapshot_revision.set(revision);
    }
}
