//! By lot, by weight.

use crate::generator::Generator;

/// Sums of shares to be drawn from.
#[derive(Clone, Debug)]
pub(crate) enum Lot {
    /// So many with equal shares.
    Equal(usize),
    /// The sum of shares up to and with each.
    Sums(Vec<u64>),
}

impl Lot {
    pub(super) fn new(shares: &[u32]) -> Lot {
        if shares.windows(2).all(|pair| pair[0] == pair[1]) {
            return Lot::Equal(shares.len());
        }
        let sums = shares.iter().scan(0_u64, |sum, share| {
            *sum += u64::from(*share);
            Some(*sum)
        });
        Lot::Sums(sums.collect())
    }

    pub(super) fn next(&self, generator: &mut Generator) -> Option<usize> {
        match self {
            Lot::Equal(0) => None,
            Lot::Equal(count) => Some(generator.below(*count)),
            Lot::Sums(sums) => {
                let total = usize::try_from(*sums.last()?).unwrap_or(usize::MAX);
                let drawn = generator.below(total) as u64;
                Some(sums.partition_point(|sum| *sum <= drawn))
            }
        }
    }
}
