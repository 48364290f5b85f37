//! How much history is kept.

use portolan_catalog::{Revision, Timestamp};

use crate::view::View;

/// How much history is kept; whichever bound is reached first. Chunks are kept or forgotten whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds; 72 hours by default.
    pub age_ms: u64,
    /// Changes; 0, the default, is no bound.
    pub changes: u64,
    /// Bytes of files; 2 GiB by default, and never more than a tenth of what the disk has left for the history.
    pub disk_bytes: u64,
    /// Bytes of the newest part, which is in memory; 16 MiB by default.
    pub memory_bytes: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            age_ms: 72 * 3_600_000,
            changes: 0,
            disk_bytes: 2 << 30,
            memory_bytes: 16 << 20,
        }
    }
}

impl View {
    /// The oldest revision that retention keeps, given replicated time now: everything below may be forgotten. `disk_bytes` bounds
    /// the files.
    #[must_use]
    pub fn bound(&self, retention: &Retention, disk_bytes: u64, now: Timestamp) -> Revision {
        let most = match retention.changes {
            0 => u64::MAX,
            most => most,
        };
        let oldest = Timestamp(now.0.saturating_sub(retention.age_ms));
        let mut bytes: u64 = self.chunks.iter().map(|chunk| chunk.length).sum();
        let recent = || self.runs.iter().flat_map(|run| run.batches());
        let mut changes = match retention.changes {
            0 => 0,
            _ => {
                recent()
                    .map(|batch| batch.changes.len() as u64)
                    .sum::<u64>()
                    + self.chunks.iter().map(|chunk| chunk.changes()).sum::<u64>()
            }
        };
        let mut bound = self.first();
        for chunk in self.chunks.iter() {
            let old = chunk.last_at().is_some_and(|last| last < oldest);
            if !old && bytes <= disk_bytes && changes <= most {
                return bound;
            }
            bytes -= chunk.length;
            changes = changes.saturating_sub(chunk.changes());
            bound = chunk.through.next();
        }
        for batch in recent() {
            if batch.at >= oldest && changes <= most {
                break;
            }
            changes = changes.saturating_sub(batch.changes.len() as u64);
            bound = batch.revision.next();
        }
        // The newest batch stays: it tells when the present state was made.
        bound.min(self.through())
    }
}
