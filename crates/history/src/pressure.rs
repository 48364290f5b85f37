//! How much of the history is in memory, and how long who adds to it waits for who moves it into files.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One wait for the worker.
const PAUSE: Duration = Duration::from_millis(4);
/// So much may be added between two waits when memory has just reached its bound; the more it is above, the less.
const STRIDE: u64 = 64 << 10;
/// No batch waits longer, however large it is.
const LONGEST: Duration = Duration::from_millis(64);

/// Bytes in memory against their bound.
#[derive(Debug)]
pub(crate) struct Pressure {
    bound: u64,
    /// Of the batches in memory.
    held: AtomicU64,
    /// Of what is in memory for the files.
    directories: AtomicU64,
    /// Added since the last wait.
    added: AtomicU64,
    /// Somebody moves batches into files.
    attended: AtomicBool,
    /// It failed: waiting helps nobody.
    stuck: AtomicBool,
}

impl Pressure {
    pub(crate) fn new(bound: u64) -> Pressure {
        Pressure {
            bound,
            held: AtomicU64::new(0),
            directories: AtomicU64::new(0),
            added: AtomicU64::new(0),
            attended: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        }
    }

    pub(crate) fn set(&self, held: u64, directories: u64) {
        self.held.store(held, Relaxed);
        self.directories.store(directories, Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.held.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn attend(&self) {
        self.attended.store(true, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.attended.store(false, Relaxed);
    }

    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Relaxed);
    }

    /// What batches may take: the files' part is within the bound too, but leaves at least half of it.
    fn room(&self) -> u64 {
        self.bound - self.directories.load(Relaxed).min(self.bound / 2)
    }

    /// So much stays in memory when the rest is moved into a file.
    pub(crate) fn rest(&self) -> u64 {
        self.room() / 8
    }

    /// Whether some of it should go into a file.
    pub(crate) fn is_heavy(&self) -> bool {
        self.held.load(Relaxed) > self.room() / 2
    }

    pub(crate) fn is_over(&self) -> bool {
        self.held.load(Relaxed) > self.room()
    }

    /// How long who just added `bytes` waits, if at all. The rate falls from 16 MB/s at the bound to one batch in four milliseconds a
    /// quarter above it, so that what is added while a file is made durable slows down smoothly and not for long at a time.
    pub(crate) fn pause(&self, bytes: u64) -> Option<Duration> {
        let above = self.held.load(Relaxed).checked_sub(self.room() + 1)?;
        if !self.attended.load(Relaxed) || self.stuck.load(Relaxed) {
            return None;
        }
        let slack = (self.bound / 4).max(1);
        let stride = STRIDE.min(slack) * slack.saturating_sub(above) / slack;
        let added = self.added.fetch_add(bytes, Relaxed) + bytes;
        if added < stride {
            return None;
        }
        self.added.store(0, Relaxed);
        let pauses = u32::try_from(bytes / STRIDE).unwrap_or(u32::MAX).max(1);
        Some(PAUSE.saturating_mul(pauses).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_adds_waits_the_more_the_more_there_is_and_only_for_somebody_who_works() {
        let mib = 1 << 20;
        let pressure = Pressure::new(16 * mib);
        // Bytes added in the time of a thousand waits, with so much in memory.
        let rate = |held| {
            pressure.set(held, 0);
            let (mut waits, mut bytes) = (Duration::ZERO, 0_u64);
            while waits < 1000 * PAUSE && bytes < 1 << 30 {
                waits += pressure.pause(600).unwrap_or_default();
                bytes += 600;
            }
            bytes
        };
        assert_eq!(rate(64 * mib), (1 << 30) / 600 * 600 + 600, "no worker");
        pressure.attend();
        assert!(rate(16 * mib) >= 1 << 30);
        let rates = [17, 18, 19, 20, 30].map(|held| rate(held * mib));
        assert!(rates[0] > 45 << 20 && rates[0] < 64 << 20, "{rates:?}");
        assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");
        assert_eq!(rates[3], 600_000);
        // A large batch waits for as long as many small ones, but never very long.
        assert_eq!(pressure.pause(256 << 10), Some(4 * PAUSE));
        assert_eq!(pressure.pause(1 << 30), Some(LONGEST));
        // The files' part counts, up to half.
        pressure.set(14 * mib, 3 * mib);
        assert!(pressure.is_over());
        pressure.set(7 * mib, 100 * mib);
        assert!(!pressure.is_over() && pressure.is_heavy());
        pressure.set(64 * mib, 0);
        pressure.set_stuck(true);
        assert_eq!(pressure.pause(600), None, "the disk is full");
        pressure.set_stuck(false);
        pressure.leave();
        assert_eq!(pressure.pause(600), None, "stopped");
    }
}
