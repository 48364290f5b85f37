//! A state of elsewhere on its way in: the parts that have come, replicated like everything else, so that any member can go on with it.

use bytes::Bytes;
use imbl::Vector;

use crate::ids::Timestamp;

/// Parts of a state in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restoring {
    pub(crate) attempt: u64,
    /// When the first part came.
    pub(crate) began: Timestamp,
    pub(crate) parts: Vector<Bytes>,
    /// Bytes of all parts.
    pub(crate) length: usize,
}

/// Milliseconds after which an attempt is given up that has not come to its end.
const PATIENCE_MS: u64 = 600_000;

impl Restoring {
    pub(crate) fn begin(attempt: u64, began: Timestamp) -> Restoring {
        Restoring {
            attempt,
            began,
            parts: Vector::new(),
            length: 0,
        }
    }

    pub(crate) fn take(&mut self, part: Bytes) {
        self.length = self.length.saturating_add(part.len());
        self.parts.push_back(part);
    }

    /// Whether nobody goes on with it any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.began.0) > PATIENCE_MS
    }
}
