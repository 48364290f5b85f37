//! In turn, by weight.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::generator::Generator;

/// Up to so many endpoints a look at each of them is cheaper than a heap.
const FEW: usize = 64;

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// Equal shares: one after the other.
    Equal { count: usize, next: usize },
    /// nginx' smooth weighted round robin: everyone gets its share, whoever has most is taken and pays the sum of all.
    Smooth {
        shares: Vec<i64>,
        credit: Vec<i64>,
        sum: i64,
    },
    /// Earliest deadline first: a turn puts one's next deadline off by one over its share.
    Deadlines(BinaryHeap<Reverse<Due>>),
}

/// When an endpoint's next turn is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    at: f64,
    step: f64,
    position: usize,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        let by_time = self.at.total_cmp(&other.at);
        by_time.then(self.position.cmp(&other.position))
    }
}

impl Turn {
    /// Begins somewhere: if every gateway began with the first endpoint, that would be asked by all of them. Goes on where `before` was when
    /// only shares or endpoints changed.
    pub(super) fn new(shares: &[u32], generator: &mut Generator, before: Option<Turn>) -> Turn {
        let count = shares.len();
        if shares.windows(2).all(|pair| pair[0] == pair[1]) {
            let next = match before {
                Some(Turn::Equal { next, .. }) => next % count.max(1),
                _ => generator.below(count),
            };
            return Turn::Equal { count, next };
        }
        let sum: i64 = shares.iter().map(|share| i64::from(*share)).sum();
        if count <= FEW {
            if let Some(Turn::Smooth { credit, .. }) = before
                && credit.len() == count
            {
                let shares = shares.iter().map(|share| i64::from(*share)).collect();
                return Turn::Smooth {
                    shares,
                    credit,
                    sum,
                };
            }
            let mut turn = Turn::Smooth {
                shares: shares.iter().map(|share| i64::from(*share)).collect(),
                credit: vec![0; count],
                sum,
            };
            for _ in 0..generator.below(count * 4) {
                turn.next();
            }
            return turn;
        }
        let due = shares.iter().enumerate().map(|(position, share)| {
            let step = 1.0 / f64::from((*share).max(1));
            // Anywhere in its first round, so that those with equal shares do not come together.
            let at = step * generator.fraction();
            Reverse(Due { at, step, position })
        });
        Turn::Deadlines(due.collect())
    }

    pub(super) fn next(&mut self) -> Option<usize> {
        match self {
            Turn::Equal { count: 0, .. } => None,
            Turn::Equal { count, next } => {
                let taken = *next;
                *next = if taken + 1 < *count { taken + 1 } else { 0 };
                Some(taken)
            }
            Turn::Smooth {
                shares,
                credit,
                sum,
            } => {
                let mut most = None;
                for (position, (credit, share)) in credit.iter_mut().zip(&*shares).enumerate() {
                    *credit += share;
                    if most.is_none_or(|(_, held)| *credit > held) {
                        most = Some((position, *credit));
                    }
                }
                let (position, _) = most?;
                credit[position] -= *sum;
                Some(position)
            }
            Turn::Deadlines(heap) => {
                let mut first = heap.peek_mut()?;
                let position = first.0.position;
                first.0.at += first.0.step;
                Some(position)
            }
        }
    }
}
