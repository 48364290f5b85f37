//! Rendezvous (Thaler and Ravishankar): every endpoint wants a key by a number of its own, and the highest has it. When one goes, only its
//! keys move.

use crate::hash::{fraction, pair};

pub(super) fn find(
    key: u64,
    count: usize,
    ids: impl Fn(usize) -> (u64, u32),
    takes: impl Fn(usize) -> bool,
) -> Option<usize> {
    // The logarithm makes the chances those of the shares.
    let wish = |position: usize| {
        let (id, share) = ids(position);
        let drawn = fraction(pair(id, key)).max(f64::MIN_POSITIVE);
        -f64::from(share.max(1)) / drawn.ln()
    };
    let highest = |takes: &dyn Fn(usize) -> bool| {
        let mut best: Option<(usize, f64)> = None;
        for position in (0..count).filter(|position| takes(*position)) {
            let wish = wish(position);
            if best.is_none_or(|(_, held)| wish > held) {
                best = Some((position, wish));
            }
        }
        best.map(|(position, _)| position)
    };
    highest(&takes).or_else(|| highest(&|_| true))
}
