//! Random numbers from a seed, the same on every machine and in every version: what is tested with a seed stays true.

/// A generator of random numbers (SplitMix64: public domain, by Sebastiano Vigna). Not for secrets.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// One that begins with `seed`.
    pub fn new(seed: u64) -> Generator {
        Generator(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::hash::mix(self.0)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a product: no division, and a bias far below what anybody could measure.
        let wide = u128::from(self.draw()) * bound as u128;
        (wide >> 64) as usize
    }

    /// A number from 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        crate::hash::fraction(self.draw())
    }

    /// Two different numbers below `bound`, which is at least 2.
    pub(crate) fn pair(&mut self, bound: usize) -> (usize, usize) {
        let first = self.below(bound);
        let second = self.below(bound - 1);
        (first, second + usize::from(second >= first))
    }
}
