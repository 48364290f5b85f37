//! A ring of points (Karger and others; ketama): a key belongs to the first point after it.

use crate::hash::{mix, pair};

/// Points of an ordinary share.
const POINTS: u64 = 160;
/// Points of all endpoints together, at most; beyond that everyone has fewer.
const MOST: u64 = 1 << 20;

/// The points in order, each with its endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    pub(super) fn new(ids: &[u64], shares: &[u32]) -> Ring {
        let wanted = |share: u32| (u64::from(share) * POINTS).div_ceil(1000);
        let all: u64 = shares.iter().map(|share| wanted(*share)).sum();
        let scale = all.div_ceil(MOST).max(1);
        let mut points = Vec::new();
        for (position, (id, share)) in ids.iter().zip(shares).enumerate() {
            let count = (wanted(*share) / scale).max(1);
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            points.extend((0..count).map(|point| (pair(*id, point), position)));
        }
        points.sort_unstable();
        Ring { points }
    }

    pub(super) fn find(&self, key: u64, takes: impl Fn(usize) -> bool) -> Option<usize> {
        let key = mix(key);
        let start = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(start);
        let mut round = after.iter().chain(before).map(|(_, at)| *at as usize);
        let first = round.next()?;
        if takes(first) {
            return Some(first);
        }
        round.find(|position| takes(*position)).or(Some(first))
    }
}
