//! Counts what a command works on, for tests that say what its cost follows. Outside tests nothing is counted.

/// Something that is done once per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// An endpoint is worked out again.
    Settled,
    /// An endpoint is rendered for a layout.
    Rendered,
    /// A row is looked at that may turn out not to be concerned.
    Looked,
}

#[cfg(test)]
thread_local! {
    static DONE: std::cell::Cell<[usize; 3]> = const { std::cell::Cell::new([0; 3]) };
}

#[inline]
pub(crate) fn count(work: Work) {
    #[cfg(test)]
    DONE.with(|done| {
        let mut counts = done.get();
        counts[work as usize] += 1;
        done.set(counts);
    });
    #[cfg(not(test))]
    let _ = work;
}

/// What was counted since the last call.
#[cfg(test)]
pub(crate) fn taken(work: Work) -> usize {
    DONE.with(|done| {
        let mut counts = done.get();
        let count = std::mem::take(&mut counts[work as usize]);
        done.set(counts);
        count
    })
}
