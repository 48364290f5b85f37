//! What must hold, whatever went wrong. Each checker judges what was recorded, and has a test with a history that it must refuse.

pub(crate) mod agents;
pub(crate) mod catalog;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod linear;
pub(crate) mod raft;
pub(crate) mod replicas;
pub(crate) mod watches;

use std::fmt;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that found it.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// More of one kind are not told.
const MOST: usize = 5;

/// Collects what one checker finds.
#[derive(Debug)]
pub(crate) struct Findings {
    checker: &'static str,
    found: Vec<Violation>,
}

impl Findings {
    pub(crate) fn new(checker: &'static str) -> Findings {
        Findings {
            checker,
            found: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, what: impl FnOnce() -> String) {
        if self.found.len() < MOST {
            self.found.push(Violation {
                checker: self.checker,
                what: what(),
            });
        }
    }

    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.found
    }
}
