//! Policies by key: what moves when endpoints come and go.

use super::*;

const KEYED: [Policy; 3] = [Policy::Maglev, Policy::Ring, Policy::Rendezvous];

fn owners(balancer: &mut Balancer) -> Vec<u64> {
    (0..20_000_u64)
        .map(|key| ask(balancer, Some(crate::hash(&key.to_le_bytes())), SECOND))
        .collect()
}

fn moved(before: &[u64], after: &[u64]) -> f64 {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    moved as f64 / before.len() as f64
}

#[test]
fn one_key_stays_where_it_is() {
    for policy in KEYED {
        let mut forward = balancer(policy, &equal(20));
        let mut backward: Vec<Endpoint> = equal(20);
        backward.reverse();
        let mut backward = balancer(policy, &backward);
        let first = owners(&mut forward);
        assert_eq!(first, owners(&mut forward), "{policy}");
        assert_eq!(
            first,
            owners(&mut backward),
            "{policy}: the order of a list is nobody's business"
        );
    }
}

#[test]
fn little_moves_when_one_goes_or_comes() {
    // What has to move is one in twenty. A ring's endpoints have more or less than their share, Maglev moves a little more.
    for (policy, most) in [
        (Policy::Rendezvous, 1.1),
        (Policy::Ring, 1.4),
        (Policy::Maglev, 1.6),
    ] {
        let mut balancer = balancer(policy, &equal(20));
        let before = owners(&mut balancer);
        let without: Vec<Endpoint> = equal(20).into_iter().filter(|one| one.id != 7).collect();
        balancer.set_endpoints(&without, SECOND);
        let after = owners(&mut balancer);
        let share = moved(&before, &after);
        assert!(share <= most / 20.0, "{policy}: {share}");
        if policy != Policy::Maglev {
            let strays = before
                .iter()
                .zip(&after)
                .filter(|(a, b)| **a != 7 && a != b);
            assert_eq!(
                strays.count(),
                0,
                "{policy}: only the keys of the one that went move"
            );
        }
        balancer.set_endpoints(&equal(20), SECOND);
        assert_eq!(
            moved(&before, &owners(&mut balancer)),
            0.0,
            "{policy}: and back"
        );
    }
}

#[test]
fn a_bound_sends_the_rest_on() {
    let settings = Settings {
        bounded_load: Some(0.25),
        ..Settings::default()
    };
    for policy in KEYED {
        let mut balancer = with(policy, settings, &equal(10));
        // One key alone, and nothing comes to an end: nobody gets more than a quarter above the mean.
        for held in 1..=1000_u32 {
            pick(&mut balancer, Some(42), SECOND);
            let most = (1..=10).map(|id| balancer.in_flight(id)).max().unwrap();
            let bound = (1.25 * f64::from(held) / 10.0).ceil() as u32;
            assert!(most <= bound.max(1), "{policy}: {most} of {held}");
        }
    }
}

#[test]
fn without_a_key_requests_are_spread() {
    for policy in KEYED {
        let mut balancer = balancer(policy, &equal(4));
        let seen: std::collections::BTreeSet<u64> =
            (0..100).map(|_| ask(&mut balancer, None, SECOND)).collect();
        assert_eq!(seen.len(), 4, "{policy}");
    }
}
