//! Who gets how much.

use super::*;
use crate::SlowStart;

/// Checks counts against a binomial distribution: each within three standard deviations of its share.
fn within_three_sigma(policy: Policy, counts: &[(u64, usize)], weights: &[Endpoint]) {
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let sum: u64 = weights.iter().map(|one| u64::from(one.weight)).sum();
    for one in weights {
        let share = f64::from(one.weight) / sum as f64;
        let expected = total as f64 * share;
        let sigma = (total as f64 * share * (1.0 - share)).sqrt();
        let found = counts.iter().find(|(id, _)| *id == one.id);
        let found = found.map_or(0, |(_, count)| *count) as f64;
        assert!(
            (found - expected).abs() <= 3.0 * sigma,
            "{policy}: {} of weight {} got {found}, not {expected} +- {sigma}",
            one.id,
            one.weight
        );
    }
}

#[test]
fn weights_are_kept() {
    let weights: Vec<Endpoint> = (1..=8).map(|id| endpoint(id, id as u32 * 500)).collect();
    for policy in [Policy::Random, Policy::RoundRobin, Policy::Rendezvous] {
        let mut balancer = balancer(policy, &weights);
        let counts = shares(&mut balancer, 200_000, SECOND);
        within_three_sigma(policy, &counts, &weights);
    }
}

#[test]
fn weights_are_kept_among_many() {
    let weights: Vec<Endpoint> = (1..=100)
        .map(|id| endpoint(id, 500 + id as u32 % 4 * 500))
        .collect();
    let sum: u64 = weights.iter().map(|one| u64::from(one.weight)).sum();
    for policy in [Policy::Random, Policy::RoundRobin, Policy::Rendezvous] {
        let mut balancer = balancer(policy, &weights);
        let counts = shares(&mut balancer, 200_000, SECOND);
        assert_eq!(counts.len(), 100);
        // Of a hundred counts some are three deviations off: all together are judged, by chi-squared within three of its own.
        let squares: f64 = counts
            .iter()
            .zip(&weights)
            .map(|((_, found), one)| {
                let expected = 200_000.0 * f64::from(one.weight) / sum as f64;
                (*found as f64 - expected).powi(2) / expected
            })
            .sum();
        let bound = 99.0 + 3.0 * (2.0_f64 * 99.0).sqrt();
        assert!(squares <= bound, "{policy}: {squares} of {bound}");
        if policy == Policy::RoundRobin {
            assert!(squares < 1.0, "turns leave nothing to chance: {squares}");
        }
    }
}

#[test]
fn equal_shares_are_equal() {
    for policy in [
        Policy::Random,
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::LeastConnections,
        Policy::Rendezvous,
    ] {
        let mut balancer = balancer(policy, &equal(10));
        let counts = shares(&mut balancer, 100_000, SECOND);
        within_three_sigma(policy, &counts, &equal(10));
    }
}

#[test]
fn tables_keep_weights_nearly() {
    let weights: Vec<Endpoint> = (1..=10).map(|id| endpoint(id, id as u32 * 200)).collect();
    // The table's own promise is one in a hundred; the ring's points lie where they lie.
    for (policy, off) in [(Policy::Maglev, 0.03), (Policy::Ring, 0.4)] {
        let mut balancer = balancer(policy, &weights);
        let counts = shares(&mut balancer, 200_000, SECOND);
        for (id, count) in counts {
            let expected = 200_000.0 * id as f64 / 55.0;
            let found = count as f64 / expected;
            assert!(
                (1.0 - off..1.0 + off).contains(&found),
                "{policy} {id}: {found}"
            );
        }
    }
}

#[test]
fn turns_are_mixed_and_begin_anywhere() {
    let weights = [endpoint(1, 5000), endpoint(2, 1000), endpoint(3, 1000)];
    let mut smooth = balancer(Policy::RoundRobin, &weights);
    let taken: Vec<u64> = (0..70).map(|_| ask(&mut smooth, None, SECOND)).collect();
    for seven in taken.chunks(7) {
        assert_eq!(seven.iter().filter(|id| **id == 1).count(), 5, "{taken:?}");
    }
    let longest = taken.split(|id| *id != 1).map(<[u64]>::len).max();
    assert!(longest <= Some(4), "never all five in a row: {taken:?}");
    let first = |seed| {
        let mut one = Balancer::new(Policy::RoundRobin, Settings::default(), seed);
        one.set_endpoints(&equal(10), SECOND);
        ask(&mut one, None, SECOND)
    };
    let begun: std::collections::BTreeSet<u64> = (0..100).map(first).collect();
    assert_eq!(begun.len(), 10);
}

#[test]
fn first_stays_with_the_first_that_works() {
    let mut all = equal(3);
    let mut balancer = balancer(Policy::First, &all);
    assert_eq!(ask(&mut balancer, None, SECOND), 1);
    all[0].healthy = false;
    balancer.set_endpoints(&all, SECOND);
    assert_eq!(ask(&mut balancer, None, SECOND), 2);
}

#[test]
fn whoever_is_busy_or_slow_is_avoided() {
    // One endpoint never answers: the others take what comes.
    for policy in [
        Policy::LeastRequest,
        Policy::LeastConnections,
        Policy::PeakEwma,
    ] {
        let mut balancer = balancer(policy, &equal(5));
        let mut stuck = 0;
        for step in 0..10_000_u32 {
            let now = Duration::from_millis(u64::from(step));
            let pick = pick(&mut balancer, None, now);
            match pick.id {
                1 => stuck += 1,
                _ => {
                    balancer.end(pick, Outcome::Answered(Duration::from_millis(1)), now);
                }
            }
        }
        assert!(stuck <= 20, "{policy}: {stuck}");
    }
    // One is ten times as slow as the others.
    let mut balancer = balancer(Policy::PeakEwma, &equal(5));
    let mut slow = 0;
    for step in 0..60_000_u32 {
        let now = Duration::from_millis(u64::from(step));
        let pick = pick(&mut balancer, None, now);
        let took = if pick.id == 1 { 50 } else { 5 };
        slow += u32::from(pick.id == 1);
        balancer.end(pick, Outcome::Answered(Duration::from_millis(took)), now);
    }
    assert!(slow < 600, "a fifth would be 12,000: {slow}");
    assert!(slow > 1, "it is tried again from time to time: {slow}");
}

#[test]
fn a_new_endpoint_begins_slowly() {
    let settings = Settings {
        slow_start: Some(SlowStart::default()),
        ..Settings::default()
    };
    for policy in [Policy::Random, Policy::RoundRobin] {
        let mut balancer = with(policy, settings, &equal(3));
        let begun = SECOND * 60;
        balancer.set_endpoints(&equal(4), begun);
        let share = |balancer: &mut Balancer, now| {
            let counts = shares(balancer, 10_000, now);
            let new = counts.iter().find(|(id, _)| *id == 4);
            new.map_or(0, |(_, count)| *count) as f64 / 10_000.0
        };
        let at = |seconds: u32| begun + SECOND * seconds;
        // A tenth of a share beside three whole ones, half a share, and all of it.
        assert!((0.02..0.045).contains(&share(&mut balancer, at(0))));
        assert!((0.12..0.17).contains(&share(&mut balancer, at(15))));
        assert!((0.23..0.27).contains(&share(&mut balancer, at(31))));
    }
}

#[test]
fn the_nearest_are_asked_and_what_they_cannot_take_spills_over() {
    let mut all = equal(20);
    for one in &mut all[10..] {
        one.distance = Distance::Elsewhere;
    }
    let far = |balancer: &mut Balancer| {
        let counts = shares(balancer, 20_000, SECOND);
        counts
            .iter()
            .filter(|(id, _)| *id > 10)
            .map(|(_, count)| count)
            .sum::<usize>()
    };
    for policy in [
        Policy::Random,
        Policy::RoundRobin,
        Policy::Maglev,
        Policy::LeastRequest,
    ] {
        let mut balancer = balancer(policy, &all);
        assert_eq!(far(&mut balancer), 0, "{policy}");
        let mut ill = all.clone();
        ill[..5].iter_mut().for_each(|one| one.healthy = false);
        balancer.set_endpoints(&ill, SECOND);
        let spilled = far(&mut balancer) as f64 / 20_000.0;
        assert!((0.28..0.32).contains(&spilled), "{policy}: {spilled}");
    }
}
