//! The balancer of one service: it keeps what is known of each endpoint and picks one for each request.

use crate::choose::Chooser;
use crate::endpoint::{Distance, Endpoint, Moment, Outcome};
use crate::generator::Generator;
use crate::hash::mix;
use crate::outlier;
use crate::place::{Count, Place, parts};
use crate::policy::Policy;
use crate::settings::Settings;
use crate::slot::Slot;

/// How often shares are computed again while an endpoint's grows.
const GROWING: Moment = Moment::from_secs(1);
/// Draws that may hit an endpoint that was tried already, before all are looked through.
const REDRAWS: usize = 4;

/// An endpoint that was picked: give it back with [`Balancer::end`], each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    slot: u32,
    generation: u32,
    /// The endpoint's id.
    pub id: u64,
}

/// Endpoints that a request was tried at already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    ids: [u64; 3],
    count: usize,
}

impl Tried {
    /// Adds one; of more than three the last ones count.
    pub fn add(&mut self, pick: Pick) {
        self.ids[self.count % 3] = pick.id;
        self.count += 1;
    }

    /// Whether an endpoint was tried.
    pub fn has(&self, id: u64) -> bool {
        self.ids[..self.count.min(3)].contains(&id)
    }
}

/// How a service stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Endpoints with a share.
    pub endpoints: usize,
    /// Those that work.
    pub working: usize,
    /// Those that are taken out for what was seen here.
    pub ejected: usize,
    /// Whether health is ignored because too few work.
    pub panic: bool,
}

/// The balancer of one service.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: Policy,
    settings: Settings,
    slots: Vec<Slot>,
    /// The slots of the endpoints, in the order in which they were given.
    order: Vec<u32>,
    places: [Place; Distance::COUNT],
    standing: Standing,
    /// Requests under way at all of them.
    in_flight: u32,
    generator: Generator,
    /// When places have to be made again without anybody saying so.
    due: Option<Moment>,
    compared: Moment,
    ejections: u64,
}

impl Balancer {
    /// One without endpoints. Two with one seed that are told the same choose the same.
    pub fn new(policy: Policy, settings: Settings, seed: u64) -> Balancer {
        Balancer {
            policy,
            settings,
            slots: Vec::new(),
            order: Vec::new(),
            places: Default::default(),
            standing: Standing::default(),
            in_flight: 0,
            generator: Generator::new(seed),
            due: None,
            compared: Moment::ZERO,
            ejections: 0,
        }
    }

    /// How the next one is chosen.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Chooses otherwise from now on; what is known of the endpoints stays.
    pub fn set_policy(&mut self, policy: Policy, settings: Settings, now: Moment) {
        if (self.policy, self.settings) != (policy, settings) {
            (self.policy, self.settings) = (policy, settings);
            self.arrange(now);
        }
    }

    /// Takes the endpoints as they are now. What is known of those that stay stays; requests at those that went are still counted.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint], now: Moment) {
        let mut known: Vec<(u64, usize)> = Vec::with_capacity(self.slots.len());
        let mut free: Vec<usize> = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.present = false;
            match slot.in_use() {
                true => known.push((slot.facts.id, at)),
                false => free.push(at),
            }
        }
        known.sort_unstable();
        self.order.clear();
        for facts in endpoints {
            let found = known.binary_search_by_key(&facts.id, |(id, _)| *id);
            let at = match found {
                Ok(found) => {
                    let at = known[found].1;
                    let slot = &mut self.slots[at];
                    if facts.healthy && !slot.facts.healthy {
                        slot.since = Some(now);
                    }
                    (slot.facts, slot.present) = (*facts, true);
                    at
                }
                Err(_) => self.place_new(*facts, free.pop(), now),
            };
            self.order.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        for slot in &mut self.slots {
            if slot.in_use() {
                slot.leave();
            }
        }
        self.arrange(now);
    }

    fn place_new(&mut self, facts: Endpoint, free: Option<usize>, now: Moment) -> usize {
        // Those that were there first have no need of a slow start.
        let first = self.standing.endpoints == 0;
        let mut slot = Slot::new(facts, 1, now, &self.settings);
        if first {
            slot.since = None;
        }
        match free {
            Some(at) => {
                slot.generation = self.slots[at].generation.wrapping_add(1);
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Makes the places again from what is known.
    fn arrange(&mut self, now: Moment) {
        let mut standing = Standing::default();
        let mut due: Option<Moment> = None;
        let mut soonest = |at: Moment| due = Some(due.map_or(at, |due| due.min(at)));
        let counts_of = |slots: &[Slot], order: &[u32]| {
            let mut counts = [Count::default(); Distance::COUNT];
            for at in order {
                let slot = &slots[*at as usize];
                if slot.facts.weight > 0 {
                    let count = &mut counts[slot.facts.distance as usize];
                    count.all += 1;
                    count.working += usize::from(slot.works());
                }
            }
            counts
        };
        let mut counts = counts_of(&self.slots, &self.order);
        standing.endpoints = counts.iter().map(|count| count.all).sum();
        standing.working = counts.iter().map(|count| count.working).sum();
        let share = standing.working as f64 / standing.endpoints.max(1) as f64;
        standing.panic = standing.endpoints > 0 && share < self.settings.panic;
        if standing.panic {
            for count in &mut counts {
                count.working = count.all;
            }
        }
        let parts = parts(&counts, self.settings.overprovisioning);
        let slow = self
            .settings
            .slow_start
            .filter(|_| !self.policy.by_key() && self.policy != Policy::First);
        for place in &mut self.places {
            place.members.clear();
            place.shares.clear();
        }
        for at in &self.order {
            let slot = &mut self.slots[*at as usize];
            standing.ejected += usize::from(slot.record.is_ejected());
            if let Some(until) = slot.record.until() {
                soonest(until);
            }
            let (share, growing) = slot.share(slow, now);
            slot.cost = 1000.0 / f64::from(share.max(1));
            if slot.facts.weight == 0 || !(slot.works() || standing.panic) {
                continue;
            }
            if growing {
                soonest(now + GROWING);
            }
            let place = &mut self.places[slot.facts.distance as usize];
            place.members.push(*at);
            place.shares.push(share);
        }
        for (place, part) in self.places.iter_mut().zip(parts) {
            place.part = part;
            let slots = &self.slots;
            let ids: Vec<u64> = place
                .members
                .iter()
                .map(|at| slots[*at as usize].facts.id)
                .collect();
            let before = std::mem::take(&mut place.chooser);
            if part > 0.0 {
                let generator = &mut self.generator;
                place.chooser = Chooser::new(self.policy, &ids, &place.shares, generator, before);
            }
        }
        if let Some(outlier) = &self.settings.outlier {
            soonest(self.compared + outlier.interval);
        }
        (self.standing, self.due) = (standing, due);
    }

    /// Does what is due: lets outliers back in, compares success rates, lets shares grow.
    fn catch_up(&mut self, now: Moment) {
        let mut changed = false;
        for slot in &mut self.slots {
            if slot.record.readmit(now) {
                slot.since = Some(now);
                changed = true;
            }
            changed |= slot.since.is_some() && self.settings.slow_start.is_some();
        }
        if let Some(outlier) = self.settings.outlier
            && now >= self.compared + outlier.interval
        {
            self.compared = now;
            let ejected = outlier::compare(&mut self.slots, &outlier, now);
            self.ejections += ejected as u64;
            changed |= ejected > 0;
        }
        if changed {
            self.arrange(now);
        } else {
            let out = self.slots.iter().filter_map(|slot| slot.record.until());
            let next = self.settings.outlier.map(|o| self.compared + o.interval);
            self.due = out.chain(next).min();
        }
    }

    /// Picks an endpoint for a request: by `key` where the policy goes by one and there is one, never one of those it was tried at already
    /// unless there is no other. None when no endpoint may be asked.
    pub fn pick(&mut self, key: Option<u64>, tried: &Tried, now: Moment) -> Option<Pick> {
        if self.due.is_some_and(|due| due <= now) {
            self.catch_up(now);
        }
        let place = self.draw_place(key)?;
        let found = self.choose(place, key, tried, now)?;
        let at = self.places[place].members[found];
        let slot = &mut self.slots[at as usize];
        slot.in_flight += 1;
        self.in_flight += 1;
        Some(Pick {
            slot: at,
            generation: slot.generation,
            id: slot.facts.id,
        })
    }

    fn draw_place(&mut self, key: Option<u64>) -> Option<usize> {
        let whole = self.places.iter().position(|place| place.part >= 1.0);
        if whole.is_some() {
            return whole;
        }
        // One key goes to one place.
        let mut drawn = match key.filter(|_| self.policy.by_key()) {
            Some(key) => crate::hash::fraction(mix(key ^ 0x5bd1_e995)),
            None => self.generator.fraction(),
        };
        let mut last = None;
        for (at, place) in self.places.iter().enumerate() {
            if place.part > 0.0 {
                last = Some(at);
                if drawn < place.part {
                    break;
                }
                drawn -= place.part;
            }
        }
        last
    }

    /// The position of an endpoint in a place.
    fn choose(&mut self, at: usize, key: Option<u64>, tried: &Tried, now: Moment) -> Option<usize> {
        let place = &mut self.places[at];
        let (slots, generator) = (&self.slots, &mut self.generator);
        let members = &place.members;
        let count = members.len();
        let slot = |position: usize| &slots[members[position] as usize];
        let fresh = |position: usize| !tried.has(slot(position).facts.id);
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        let found = match self.policy {
            Policy::Maglev | Policy::Ring | Policy::Rendezvous => {
                let key = key.unwrap_or_else(|| generator.draw());
                let shares = &place.shares;
                let bound = self.settings.bounded_load.map(|over| {
                    let total: u64 = shares.iter().map(|share| u64::from(*share)).sum();
                    (1.0 + over) * f64::from(self.in_flight + 1) / total.max(1) as f64
                });
                let takes = |position: usize| {
                    let room = bound.is_none_or(|bound| {
                        let most = (bound * f64::from(shares[position])).ceil();
                        f64::from(slot(position).in_flight) < most
                    });
                    room && fresh(position)
                };
                let of = |position: usize| (slot(position).facts.id, shares[position]);
                return place.chooser.by_key(key, of, count, takes);
            }
            Policy::First => return (0..count).find(|position| fresh(*position)).or(Some(0)),
            Policy::LeastConnections => {
                // From anywhere on, so that of equals not always the first is taken.
                let from = generator.below(count);
                let round = (from..count).chain(0..from);
                let least = |positions: &mut dyn Iterator<Item = usize>| {
                    positions.min_by(|a, b| {
                        let (a, b) = (slot(*a).request_load(), slot(*b).request_load());
                        a.total_cmp(&b)
                    })
                };
                return least(&mut round.clone().filter(|position| fresh(*position)))
                    .or_else(|| least(&mut round.clone()));
            }
            Policy::LeastRequest | Policy::PeakEwma => {
                let decay = self.settings.decay;
                let load = |position: usize| match self.policy {
                    Policy::PeakEwma => slot(position).peak_load(now, decay),
                    _ => slot(position).request_load(),
                };
                (0..REDRAWS).find_map(|_| {
                    let (a, b) = generator.pair(count);
                    match (fresh(a), fresh(b)) {
                        (true, true) => Some(if load(b) < load(a) { b } else { a }),
                        (true, false) => Some(a),
                        (false, true) => Some(b),
                        (false, false) => None,
                    }
                })
            }
            Policy::Random | Policy::RoundRobin => (0..REDRAWS).find_map(|_| {
                let position = place.chooser.next(generator)?;
                fresh(position).then_some(position)
            }),
        };
        found.or_else(|| {
            let from = generator.below(count);
            let mut round = (from..count).chain(0..from);
            round.find(|position| fresh(*position)).or(Some(from))
        })
    }

    /// What came of a request. True when the endpoint is taken out for it.
    pub fn end(&mut self, pick: Pick, outcome: Outcome, now: Moment) -> bool {
        let Some(slot) = self.slots.get_mut(pick.slot as usize) else {
            return false;
        };
        if slot.generation != pick.generation {
            return false;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        slot.ended(outcome, now, &self.settings);
        if !slot.present {
            slot.leave();
            return false;
        }
        let (Some(outlier), Some(failed)) = (self.settings.outlier, outcome.failed()) else {
            return false;
        };
        let too_often = slot.record.note(failed, &outlier);
        let ejects =
            too_often && !slot.record.is_ejected() && outlier::may_eject(&self.slots, &outlier);
        if ejects {
            self.slots[pick.slot as usize].record.eject(now, &outlier);
            self.ejections += 1;
            self.arrange(now);
        }
        ejects
    }

    /// How the service stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How often an endpoint was taken out.
    pub fn ejections(&self) -> u64 {
        self.ejections
    }

    /// Requests under way at an endpoint; 0 for one that is not there.
    pub fn in_flight(&self, id: u64) -> u32 {
        let known = self.slots.iter().filter(|slot| slot.facts.id == id);
        known.map(|slot| slot.in_flight).sum()
    }
}
