//! What holds for every policy, and what each of them promises. Seeds are fixed: a figure within three standard deviations stays there.

mod distribution;
mod keys;
mod seen;

use std::time::Duration;

use crate::{Balancer, Distance, Endpoint, Moment, Outcome, Pick, Policy, Settings, Tried};

const SECOND: Moment = Duration::from_secs(1);

fn endpoint(id: u64, weight: u32) -> Endpoint {
    Endpoint {
        id,
        weight,
        healthy: true,
        distance: Distance::Zone,
    }
}

fn equal(count: u64) -> Vec<Endpoint> {
    (1..=count).map(|id| endpoint(id, 1000)).collect()
}

fn balancer(policy: Policy, endpoints: &[Endpoint]) -> Balancer {
    with(policy, Settings::default(), endpoints)
}

fn with(policy: Policy, settings: Settings, endpoints: &[Endpoint]) -> Balancer {
    let mut balancer = Balancer::new(policy, settings, 7);
    balancer.set_endpoints(endpoints, Moment::ZERO);
    balancer
}

fn pick(balancer: &mut Balancer, key: Option<u64>, now: Moment) -> Pick {
    balancer.pick(key, &Tried::default(), now).unwrap()
}

/// Picks one and ends it at once.
fn ask(balancer: &mut Balancer, key: Option<u64>, now: Moment) -> u64 {
    let pick = pick(balancer, key, now);
    let took = Duration::from_millis(1);
    balancer.end(pick, Outcome::Answered(took), now);
    pick.id
}

fn shares(balancer: &mut Balancer, picks: usize, now: Moment) -> Vec<(u64, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for key in 0..picks as u64 {
        let key = crate::hash(&key.to_le_bytes());
        *counts.entry(ask(balancer, Some(key), now)).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn every_policy_serves_one_and_none() {
    for policy in Policy::ALL {
        let mut none = balancer(policy, &[]);
        assert!(none.pick(Some(1), &Tried::default(), SECOND).is_none());
        let mut one = balancer(policy, &equal(1));
        assert_eq!(ask(&mut one, Some(1), SECOND), 1, "{policy}");
        let mut idle = balancer(policy, &[endpoint(1, 0), endpoint(2, 1000)]);
        for key in 0..100 {
            assert_eq!(ask(&mut idle, Some(key), SECOND), 2, "{policy}");
        }
        assert_eq!(policy.as_str().parse(), Ok(policy));
    }
}

#[test]
fn an_endpoint_is_not_tried_twice_while_there_is_another() {
    for policy in Policy::ALL {
        let mut balancer = balancer(policy, &equal(4));
        for key in 0..50 {
            let mut tried = Tried::default();
            let mut seen = Vec::new();
            for _ in 0..4 {
                let pick = balancer.pick(Some(key), &tried, SECOND).unwrap();
                tried.add(pick);
                seen.push(pick.id);
                balancer.end(pick, Outcome::Unknown, SECOND);
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 4, "{policy}");
        }
    }
}

#[test]
fn two_with_one_seed_choose_the_same() {
    for policy in Policy::ALL {
        let (mut a, mut b) = (balancer(policy, &equal(9)), balancer(policy, &equal(9)));
        for step in 0..500 {
            let now = Duration::from_millis(step);
            assert_eq!(pick(&mut a, None, now), pick(&mut b, None, now), "{policy}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    /// Whatever comes and goes: a pick is one of those that are there, and what is under way adds up.
    #[test]
    fn picks_are_of_what_is_there(
        policy in 0..Policy::ALL.len(),
        steps in proptest::collection::vec((0..4_u8, 0..12_u64, 0..3000_u32), 1..60),
    ) {
        let mut balancer = balancer(Policy::ALL[policy], &[]);
        let mut there: Vec<Endpoint> = Vec::new();
        let mut open: Vec<Pick> = Vec::new();
        for (at, (what, id, weight)) in steps.into_iter().enumerate() {
            let now = SECOND * at as u32;
            match what {
                0 => {
                    there.retain(|one| one.id != id);
                    there.push(Endpoint { healthy: weight % 3 > 0, ..endpoint(id, weight) });
                    balancer.set_endpoints(&there, now);
                }
                1 => {
                    there.retain(|one| one.id != id);
                    balancer.set_endpoints(&there, now);
                }
                2 => {
                    let picked = balancer.pick(Some(id), &Tried::default(), now);
                    let may = there.iter().any(|one| one.weight > 0);
                    proptest::prop_assert_eq!(picked.is_some(), may);
                    if let Some(pick) = picked {
                        proptest::prop_assert!(there.iter().any(|one| one.id == pick.id && one.weight > 0));
                        open.push(pick);
                    }
                }
                _ => {
                    if let Some(pick) = open.pop() {
                        let failed = Outcome::Failed(Duration::from_millis(5));
                        let answered = Outcome::Answered(Duration::from_millis(u64::from(weight)));
                        balancer.end(pick, if id % 2 == 0 { failed } else { answered }, now);
                    }
                }
            }
            for one in &there {
                let counted = open.iter().filter(|pick| pick.id == one.id).count();
                proptest::prop_assert_eq!(balancer.in_flight(one.id) as usize, counted);
            }
        }
    }
}
