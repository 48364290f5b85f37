//! Places: the endpoints at one distance, and how much of the traffic stays there.

use crate::choose::Chooser;
use crate::endpoint::Distance;

/// The endpoints at one distance that may be chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Indexes of slots, in the order in which the endpoints were given.
    pub(crate) members: Vec<u32>,
    /// The share of each in thousandths.
    pub(crate) shares: Vec<u32>,
    pub(crate) chooser: Chooser,
    /// Which part of the traffic goes here.
    pub(crate) part: f64,
}

/// How many endpoints there are at a distance, and how many of them work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) all: usize,
    pub(crate) working: usize,
}

/// Which part of the traffic goes to each distance: as much as its working endpoints take, the rest spills over to the next.
pub(crate) fn parts(
    counts: &[Count; Distance::COUNT],
    overprovisioning: f64,
) -> [f64; Distance::COUNT] {
    let mut left = 1.0_f64;
    let mut parts = [0.0; Distance::COUNT];
    for (part, count) in parts.iter_mut().zip(counts) {
        if count.all > 0 {
            let healthy = count.working as f64 / count.all as f64;
            *part = (healthy * overprovisioning).min(left);
            left -= *part;
        }
    }
    // What nobody would take is shared by all as they stand.
    let taken: f64 = parts.iter().sum();
    if taken > 0.0 {
        parts.map(|part| part / taken)
    } else {
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_place_cannot_take_spills_over() {
        let rows = [
            ([(10, 10), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
            // Seven in ten still take nearly everything, five in ten do not.
            ([(10, 8), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
            ([(10, 5), (10, 10), (0, 0)], [0.7, 0.3, 0.0]),
            ([(10, 0), (10, 5), (10, 10)], [0.0, 0.7, 0.3]),
            ([(0, 0), (0, 0), (3, 3)], [0.0, 0.0, 1.0]),
            ([(10, 2), (10, 2), (0, 0)], [0.5, 0.5, 0.0]),
            ([(10, 0), (10, 0), (0, 0)], [0.0, 0.0, 0.0]),
        ];
        for (counts, expected) in rows {
            let counts = counts.map(|(all, working)| Count { all, working });
            let found = parts(&counts, 1.4);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{counts:?}: {found}");
            }
        }
    }
}
