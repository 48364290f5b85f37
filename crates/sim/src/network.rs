//! The network: which messages arrive, and when.
//!
//! A message that is lost is never answered: whoever waits for it runs into a time limit, since no network says that it lost something.
//! Messages overtake each other. None is delivered twice, and none is made up: the transport is a stream for each request, and neither can
//! happen there.

use std::collections::BTreeMap;

use portolan_environment::Channel;
use rand::RngExt;
use rand::rngs::StdRng;

/// Whoever is outside of the servers: clients.
pub(crate) const CLIENTS: u64 = 0;

/// A request as it travels.
#[derive(Debug)]
pub(crate) struct Letter {
    /// Who sent it, by the id its cluster has for it.
    pub(crate) node: u64,
    /// Whom it is for; [`ANYBODY`](portolan_environment::ANYBODY) for whoever is there.
    pub(crate) wanted: u64,
    pub(crate) channel: Channel,
    pub(crate) request: Vec<u8>,
}

/// Which links a rule is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links {
    /// All between servers.
    All,
    /// Both ways between two.
    Between(u64, u64),
    /// What one sends to servers.
    From(u64),
    /// What servers send to one.
    To(u64),
    /// Both ways between one and the servers.
    Around(u64),
    /// Both ways between one and everybody, clients too.
    Island(u64),
}

impl Links {
    fn hold(self, from: u64, to: u64) -> bool {
        let servers = from != CLIENTS && to != CLIENTS;
        match self {
            Links::All => servers,
            Links::Between(a, b) => (from, to) == (a, b) || (from, to) == (b, a),
            Links::From(a) => servers && from == a,
            Links::To(a) => servers && to == a,
            Links::Around(a) => servers && (from == a || to == a),
            Links::Island(a) => from == a || to == a,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Cut,
    /// Cut and whole by turns of so many milliseconds.
    Flap(u64),
    /// So many milliseconds more.
    Slow(u64),
    /// So many of a thousand are lost.
    Loss(u32),
    /// Up to so many milliseconds.
    Spread(u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    rng: StdRng,
    loss: u32,
    delay_ms: u64,
    rules: BTreeMap<usize, (Links, Effect)>,
}

impl Network {
    pub(crate) fn new(rng: StdRng, loss: u32, delay_ms: u64) -> Network {
        Network {
            rng,
            loss,
            delay_ms,
            rules: BTreeMap::new(),
        }
    }

    /// A rule in force until it is lifted by its number.
    pub(crate) fn rule(&mut self, number: usize, links: Links, effect: Effect) {
        self.rules.insert(number, (links, effect));
    }

    pub(crate) fn lift(&mut self, number: usize) {
        self.rules.remove(&number);
    }

    /// No more faults.
    pub(crate) fn heal(&mut self) {
        self.rules.clear();
        self.loss = 0;
    }

    /// How long a message that is sent now travels; none when it is lost.
    pub(crate) fn way(&mut self, now: u64, from: u64, to: u64) -> Option<u64> {
        let clients = from == CLIENTS || to == CLIENTS;
        // What clients send is not lost but where somebody is cut off: they have connections of their own, and a lost packet is a delay.
        let mut loss = if clients { 0 } else { self.loss };
        let mut most = if clients { 3 } else { self.delay_ms.max(1) };
        let mut more = 0;
        for (links, effect) in self.rules.values() {
            if !links.hold(from, to) {
                continue;
            }
            match *effect {
                Effect::Cut => return None,
                Effect::Flap(period) if (now / period.max(1)).is_multiple_of(2) => return None,
                Effect::Flap(_) => {}
                Effect::Slow(by) => more += by,
                Effect::Loss(permille) => loss = loss.max(permille),
                Effect::Spread(up_to) => most = most.max(up_to),
            }
        }
        if loss > 0 && self.rng.random_range(0..1000) < loss {
            return None;
        }
        Some(more + self.rng.random_range(1..=most))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn rules_cut_the_links_they_name_and_no_others() {
        let mut network = Network::new(StdRng::seed_from_u64(1), 0, 5);
        let mut open = |links, pairs: &[(u64, u64)]| {
            network.rule(1, links, Effect::Cut);
            let open = pairs
                .iter()
                .map(|(from, to)| network.way(0, *from, *to).is_some())
                .collect::<Vec<_>>();
            network.lift(1);
            assert!(pairs.iter().all(|(a, b)| network.way(0, *a, *b).is_some()));
            open
        };
        let pairs = [(1, 2), (2, 1), (2, 3), (CLIENTS, 1), (1, CLIENTS)];
        assert_eq!(
            open(Links::Between(1, 2), &pairs),
            [false, false, true, true, true]
        );
        assert_eq!(
            open(Links::From(1), &pairs),
            [false, true, true, true, true]
        );
        assert_eq!(open(Links::To(1), &pairs), [true, false, true, true, true]);
        assert_eq!(
            open(Links::Around(1), &pairs),
            [false, false, true, true, true]
        );
        assert_eq!(
            open(Links::Island(1), &pairs),
            [false, false, true, false, false]
        );
        assert_eq!(open(Links::All, &pairs), [false, false, false, true, true]);
    }

    #[test]
    fn a_flapping_link_is_whole_half_of_the_time_and_a_slow_one_is_slow() {
        let mut network = Network::new(StdRng::seed_from_u64(1), 0, 5);
        network.rule(1, Links::Between(1, 2), Effect::Flap(100));
        let whole = (0..1000).filter(|now| network.way(*now, 1, 2).is_some());
        assert_eq!(whole.count(), 500);
        network.rule(2, Links::Between(1, 3), Effect::Slow(300));
        assert!((0..100).all(|_| network.way(0, 1, 3).is_some_and(|way| way > 300)));
        network.heal();
        assert!((0..100).all(|_| network.way(0, 1, 3).is_some_and(|way| way <= 5)));
    }
}
