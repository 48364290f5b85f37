//! The trace of a run: a hash over everything that happened, in its order.

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
}

/// The multiplier of FNV-1a, which spreads well and is the same everywhere.
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
        }
    }

    /// Adds an event: what it was, its numbers, its bytes.
    pub(crate) fn note(&mut self, now: u64, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.events += 1;
        self.mix(now);
        self.mix_bytes(what.as_bytes());
        for number in numbers {
            self.mix(*number);
        }
        self.mix_bytes(bytes);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            self.mix(u64::from_le_bytes(eight));
        }
        for byte in words.remainder() {
            self.mix(u64::from(*byte));
        }
    }

    fn mix(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(PRIME);
        self.hash = mixed ^ (mixed >> 29);
    }

    /// The hash so far, and how many events there were.
    pub(crate) fn result(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_length_and_every_byte_count() {
        let hash = |events: &[(&str, &[u8])]| {
            let mut trace = Trace::new();
            for (what, bytes) in events {
                trace.note(1, what, &[], bytes);
            }
            trace.result().0
        };
        let long = [7_u8; 19];
        let mut other = long;
        other[17] = 8;
        let all = [
            hash(&[]),
            hash(&[("a", b""), ("b", b"")]),
            hash(&[("b", b""), ("a", b"")]),
            hash(&[("a", b"\0")]),
            hash(&[("a", b"\0\0")]),
            hash(&[("a", &long)]),
            hash(&[("a", &other)]),
        ];
        let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
