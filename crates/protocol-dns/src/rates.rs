//! How many replies over UDP a network gets: who asks in somebody else's name must not have them flooded through us.
//!
//! A bucket for each network (/24, /56) and kind of reply, refilled steadily, as deep as a second. The table has a fixed size and no locks; under
//! an attack from more networks than it has places the least busy ones lose theirs.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::{Network, Options};

/// Places; half a megabyte.
const PLACES: usize = 1 << 16;

/// Bits of a place that say when its bucket is full again, in microseconds since the start; the others say whose it is.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// What a reply says: each has a bucket of its own, so that a flood of one does not use up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Answer,
    /// Nothing of the kind, or no such name.
    Absent,
    Error,
}

impl Kind {
    /// That of a reply.
    pub(crate) fn of(reply: &[u8]) -> Self {
        let code = reply.get(3).map_or(0, |flags| flags & 0x0f);
        match (code, reply.get(6..8)) {
            (0, Some([0, 0]) | None) | (3, _) => Self::Absent,
            (0, Some(_)) => Self::Answer,
            _ => Self::Error,
        }
    }
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Rates {
    places: Box<[AtomicU64]>,
    /// Microseconds that one reply takes of a bucket.
    each: u64,
    exempt: Vec<Network>,
    hasher: RandomState,
    start: Instant,
}

impl Rates {
    /// As the options have it. `None`: nobody is limited.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        let rate = u64::from(options.rate_limit);
        (rate > 0).then(|| Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            each: (1_000_000 / rate).max(1),
            exempt: options.rate_limit_exempt.clone(),
            hasher: RandomState::new(),
            start: Instant::now(),
        })
    }

    /// Whether a client at `ip` is never limited.
    #[inline]
    pub(crate) fn exempts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.exempt.iter().any(|network| network.contains(ip))
    }

    /// Takes a reply of `kind` out of the bucket of the client's network; `false`: it is empty.
    pub(crate) fn take(&self, ip: IpAddr, kind: Kind) -> bool {
        self.take_at(ip, kind, self.start.elapsed())
    }

    fn take_at(&self, ip: IpAddr, kind: Kind, now: Duration) -> bool {
        let network = match ip.to_canonical() {
            IpAddr::V4(v4) => u128::from(u32::from(v4) >> 8),
            IpAddr::V6(v6) => (1 << 127) | u128::from(v6) >> 72,
        };
        let hash = self.hasher.hash_one((network, kind));
        // Never 0: that is a place nobody has.
        let tag = (hash >> TIME_BITS).max(1);
        let now = u64::try_from(now.as_micros()).unwrap_or(0) & TIME;
        let at = hash as usize % PLACES;
        let two = [at, at ^ 1].map(|at| &self.places[at]);
        let seen = two.map(|place| place.load(Ordering::Relaxed));
        let own = seen.iter().position(|seen| seen >> TIME_BITS == tag);
        let index = own.unwrap_or(usize::from(seen[1] & TIME < seen[0] & TIME));
        let full_at = match own {
            Some(_) => (seen[index] & TIME).max(now),
            None => now,
        };
        // A bucket is a second deep.
        if full_at - now > 1_000_000 - self.each.min(1_000_000) {
            return false;
        }
        let next = tag << TIME_BITS | (full_at + self.each) & TIME;
        // Who was faster has taken one as well; that one is lost to the count.
        let _ =
            two[index].compare_exchange(seen[index], next, Ordering::Relaxed, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_a_second_deep_and_fill_again() {
        let rates = Rates::new(&Options {
            rate_limit: 10,
            ..Options::default()
        })
        .expect("a limit");
        let count = |ip: &str, kind, ms| {
            let ip = ip.parse().expect("an address");
            let now = Duration::from_millis(ms);
            (0..30).filter(|_| rates.take_at(ip, kind, now)).count()
        };
        assert_eq!(count("192.0.2.1", Kind::Answer, 1000), 10);
        // The same network, then other kinds and networks.
        assert_eq!(count("192.0.2.200", Kind::Answer, 1000), 0);
        assert_eq!(count("192.0.2.1", Kind::Absent, 1000), 10);
        assert_eq!(count("192.0.2.1", Kind::Error, 1000), 10);
        assert_eq!(count("192.0.3.1", Kind::Answer, 1000), 10);
        assert_eq!(count("2001:db8:0:100::1", Kind::Answer, 1000), 10);
        assert_eq!(count("2001:db8:0:1ff::2", Kind::Answer, 1000), 0);
        assert_eq!(count("2001:db8:0:200::1", Kind::Answer, 1000), 10);
        assert_eq!(count("192.0.2.1", Kind::Answer, 1500), 5);
        assert_eq!(count("192.0.2.1", Kind::Answer, 9000), 10);
        for (ip, exempt) in [
            ("127.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.1", false),
        ] {
            assert_eq!(
                rates.exempts(ip.parse().expect("an address")),
                exempt,
                "{ip}"
            );
        }
        let off = Options {
            rate_limit: 0,
            ..Options::default()
        };
        assert!(Rates::new(&off).is_none());
    }

    #[test]
    fn kinds_of_replies() {
        let reply = |code: u8, answers: u8| [0, 0, 0x80, code, 0, 1, 0, answers, 0, 0, 0, 0];
        for (code, answers, kind) in [
            (0, 1, Kind::Answer),
            (0, 0, Kind::Absent),
            (3, 0, Kind::Absent),
            (3, 1, Kind::Absent),
            (5, 0, Kind::Error),
            (0x80, 2, Kind::Answer),
        ] {
            assert_eq!(Kind::of(&reply(code, answers)), kind, "{code} {answers}");
        }
    }
}
