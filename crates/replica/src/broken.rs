//! Whether the connection to the leader is known to be broken, which a dead process shows at once and a slow one never.

use std::sync::atomic::{AtomicU64, Ordering};

/// The leader whose connection broke, and its term. A leader of another term is another one.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    leader: AtomicU64,
    term: AtomicU64,
}

impl Broken {
    /// Notes it; 0 says that all is well.
    pub(crate) fn note(&self, leader: u64, term: u64) {
        self.term.store(term, Ordering::Release);
        self.leader.store(leader, Ordering::Release);
    }

    /// Whether it is about this leader in this term.
    pub(crate) fn is(&self, leader: u64, term: u64) -> bool {
        leader != 0
            && self.leader.load(Ordering::Acquire) == leader
            && self.term.load(Ordering::Acquire) == term
    }
}
