//! Faults planted on purpose, to prove that the simulation finds them.
//!
//! A place in the product asks `mutated("drop-event")` and does the wrong thing if so. Only a build with `--cfg portolan_mutations` can answer
//! yes, and only in a thread that asked for that fault; in every other build the answer is a constant, and nothing is left of the question.

/// Whether this fault is planted here.
#[cfg(not(portolan_mutations))]
#[inline(always)]
#[must_use]
pub const fn mutated(_fault: &str) -> bool {
    false
}

#[cfg(portolan_mutations)]
pub use planted::{mutate, mutated};

#[cfg(portolan_mutations)]
mod planted {
    use std::cell::Cell;

    thread_local! {
        static FAULT: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants a fault in this thread, or none.
    pub fn mutate(fault: Option<&'static str>) {
        FAULT.set(fault);
    }

    /// Whether this fault is planted here.
    #[must_use]
    pub fn mutated(fault: &str) -> bool {
        FAULT.get() == Some(fault)
    }
}
