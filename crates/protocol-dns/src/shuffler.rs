//! Cheap randomness for the order of answers: not secret, only without pattern.

/// A xorshift generator and a permutation it works on; one per serving thread.
#[derive(Debug)]
pub(crate) struct Shuffler {
    state: u64,
    /// Always the identity between two calls.
    order: Vec<u32>,
    swaps: Vec<(u32, u32)>,
}

impl Shuffler {
    /// A generator from a seed; zero is as good as any.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed | 1,
            order: Vec::new(),
            swaps: Vec::new(),
        }
    }

    /// A number below `bound`, all alike.
    #[inline]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high.wrapping_mul(u64::from(bound)) >> 32) as u32
    }

    /// Calls `take` with numbers below `count` in random order, each at most once, until it answers `false` or all were given.
    ///
    /// The first k are a random k-subset, so what is cut off for want of room is random too. Costs O(k); allocates only when `count` is
    /// larger than ever before.
    #[inline]
    pub(crate) fn draw(&mut self, count: u32, mut take: impl FnMut(u32) -> bool) {
        if count == 1 {
            take(0);
            return;
        }
        let known = self.order.len() as u32;
        if known < count {
            self.order.extend(known..count);
        }
        self.swaps.clear();
        for at in 0..count {
            let other = at + self.below(count - at);
            self.order.swap(at as usize, other as usize);
            self.swaps.push((at, other));
            if !take(self.order[at as usize]) {
                break;
            }
        }
        while let Some((at, other)) = self.swaps.pop() {
            self.order.swap(at as usize, other as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_a_permutation_and_leaves_no_trace() {
        let mut shuffler = Shuffler::new(7);
        for count in [0, 1, 2, 3, 100, 5] {
            let mut seen = Vec::new();
            shuffler.draw(count, |n| {
                seen.push(n);
                true
            });
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            assert!(
                shuffler
                    .order
                    .iter()
                    .enumerate()
                    .all(|(at, n)| at == *n as usize)
            );
        }
    }

    #[test]
    fn every_number_comes_first_about_as_often() {
        let mut shuffler = Shuffler::new(99);
        let mut first = [0_u32; 10];
        for _ in 0..10_000 {
            shuffler.draw(10, |n| {
                first[n as usize] += 1;
                false
            });
        }
        assert!(first.iter().all(|n| (850..1150).contains(n)), "{first:?}");
    }
}
