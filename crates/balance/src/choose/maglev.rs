//! Maglev's table (Eisenbud and others, NSDI 2016): every endpoint has an order of all places and takes its next free one in turn.

use crate::hash::{mix, pair};

/// A prime, about a hundred times the endpoints of a large service.
pub(crate) const PLACES: usize = 65_537;

/// Which endpoint has which place.
#[derive(Clone, Debug)]
pub(crate) struct Maglev {
    places: Vec<u32>,
}

impl Maglev {
    pub(super) fn new(ids: &[u64], shares: &[u32]) -> Maglev {
        const FREE: u32 = u32::MAX;
        if ids.is_empty() {
            return Maglev { places: Vec::new() };
        }
        // The order in which endpoints are asked must not depend on the order in which the catalog lists them.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|at| ids[*at]);
        let orders: Vec<(usize, usize)> = ids
            .iter()
            .map(|id| {
                let offset = (mix(*id) % PLACES as u64) as usize;
                let skip = (pair(*id, 1) % (PLACES as u64 - 1)) as usize + 1;
                (offset, skip)
            })
            .collect();
        let largest = f64::from(shares.iter().copied().max().unwrap_or(1).max(1));
        let parts: Vec<f64> = shares
            .iter()
            .map(|share| f64::from((*share).max(1)) / largest)
            .collect();
        let mut next: Vec<usize> = orders.iter().map(|(offset, _)| *offset).collect();
        let mut credit = vec![0.0_f64; ids.len()];
        let mut places = vec![FREE; PLACES];
        let mut taken = 0;
        'filling: loop {
            for at in &order {
                let at = *at;
                credit[at] += parts[at];
                if credit[at] < 1.0 {
                    continue;
                }
                credit[at] -= 1.0;
                let skip = orders[at].1;
                while places[next[at]] != FREE {
                    next[at] = (next[at] + skip) % PLACES;
                }
                places[next[at]] = u32::try_from(at).unwrap_or(FREE - 1);
                taken += 1;
                if taken == PLACES {
                    break 'filling;
                }
            }
        }
        Maglev { places }
    }

    pub(super) fn find(
        &self,
        key: u64,
        count: usize,
        takes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let at = |key: u64| {
            let place = (key % self.places.len().max(1) as u64) as usize;
            self.places.get(place).map(|position| *position as usize)
        };
        let first = at(key)?;
        if takes(first) {
            return Some(first);
        }
        // Other places of the same key; it meets every endpoint with a share in time.
        let tries = (count as u64).saturating_mul(8).min(4096);
        (1..=tries)
            .filter_map(|again| at(pair(key, again)))
            .find(|position| takes(*position))
            .or(Some(first))
    }
}
