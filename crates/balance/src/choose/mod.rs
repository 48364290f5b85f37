//! What each policy prepares for the endpoints of a place, and how it chooses with that.

mod lot;
mod maglev;
mod rendezvous;
mod ring;
mod turn;

use crate::generator::Generator;
use crate::policy::Policy;

use lot::Lot;
use maglev::Maglev;
use ring::Ring;
use turn::Turn;

/// What was prepared for a policy. All that it answers with are positions in the place's list of members.
#[derive(Clone, Debug, Default)]
pub(crate) enum Chooser {
    /// Nothing: the policy looks at the endpoints as they are.
    #[default]
    None,
    Lot(Lot),
    Turn(Turn),
    Maglev(Maglev),
    Ring(Ring),
    Rendezvous,
}

impl Chooser {
    /// Prepares `policy` for endpoints with these ids and shares.
    pub(crate) fn new(
        policy: Policy,
        ids: &[u64],
        shares: &[u32],
        generator: &mut Generator,
        before: Chooser,
    ) -> Chooser {
        match policy {
            Policy::Random => Chooser::Lot(Lot::new(shares)),
            Policy::RoundRobin => {
                let before = match before {
                    Chooser::Turn(turn) => Some(turn),
                    _ => None,
                };
                Chooser::Turn(Turn::new(shares, generator, before))
            }
            Policy::Maglev => Chooser::Maglev(Maglev::new(ids, shares)),
            Policy::Ring => Chooser::Ring(Ring::new(ids, shares)),
            Policy::Rendezvous => Chooser::Rendezvous,
            Policy::LeastRequest | Policy::PeakEwma | Policy::LeastConnections | Policy::First => {
                Chooser::None
            }
        }
    }

    /// The next one, of policies that need no key; none where this policy is not one of them.
    pub(crate) fn next(&mut self, generator: &mut Generator) -> Option<usize> {
        match self {
            Chooser::Lot(lot) => lot.next(generator),
            Chooser::Turn(turn) => turn.next(),
            Chooser::None | Chooser::Maglev(_) | Chooser::Ring(_) | Chooser::Rendezvous => None,
        }
    }

    /// The first one in the order of a key that `takes`; the very first when none does.
    pub(crate) fn by_key(
        &self,
        key: u64,
        ids: impl Fn(usize) -> (u64, u32),
        count: usize,
        takes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Chooser::Maglev(table) => table.find(key, count, takes),
            Chooser::Ring(ring) => ring.find(key, takes),
            Chooser::Rendezvous => rendezvous::find(key, count, ids, takes),
            Chooser::None | Chooser::Lot(_) | Chooser::Turn(_) => None,
        }
    }
}
