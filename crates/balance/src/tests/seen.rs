//! What follows from health and from what was seen: panic, outliers.

use super::*;
use crate::OutlierSettings;

fn fail(balancer: &mut Balancer, id: u64, times: usize, now: Moment) -> bool {
    let mut ejected = false;
    let mut failures = 0;
    while failures < times {
        let pick = pick(balancer, None, now);
        let outcome = match pick.id == id {
            true => Outcome::Unreachable,
            false => Outcome::Answered(Duration::from_millis(1)),
        };
        failures += usize::from(pick.id == id);
        ejected |= balancer.end(pick, outcome, now);
    }
    ejected
}

#[test]
fn below_half_everybody_is_asked() {
    let mut all = equal(10);
    let ill = |all: &mut Vec<Endpoint>, count: usize| {
        for (at, one) in all.iter_mut().enumerate() {
            one.healthy = at >= count;
        }
    };
    for policy in Policy::ALL
        .into_iter()
        .filter(|policy| *policy != Policy::First)
    {
        let mut balancer = balancer(policy, &[]);
        ill(&mut all, 5);
        balancer.set_endpoints(&all, SECOND);
        assert!(!balancer.standing().panic);
        assert_eq!(shares(&mut balancer, 2_000, SECOND).len(), 5, "{policy}");
        ill(&mut all, 6);
        balancer.set_endpoints(&all, SECOND);
        assert!(balancer.standing().panic);
        assert_eq!(shares(&mut balancer, 2_000, SECOND).len(), 10, "{policy}");
        ill(&mut all, 10);
        balancer.set_endpoints(&all, SECOND);
        assert_eq!(shares(&mut balancer, 2_000, SECOND).len(), 10, "{policy}");
    }
}

#[test]
fn five_failures_in_a_row_take_an_endpoint_out() {
    let mut balancer = balancer(Policy::RoundRobin, &equal(10));
    assert!(!fail(&mut balancer, 3, 4, SECOND));
    let good = pick(&mut balancer, None, SECOND);
    balancer.end(good, Outcome::Answered(SECOND), SECOND);
    assert!(fail(&mut balancer, 3, 1, SECOND), "the fifth");
    assert_eq!(balancer.standing().ejected, 1);
    assert_eq!(shares(&mut balancer, 1_000, SECOND * 2).len(), 9);
    assert_eq!(shares(&mut balancer, 1_000, SECOND * 30).len(), 9);
    assert_eq!(
        shares(&mut balancer, 1_000, SECOND * 31).len(),
        10,
        "back after 30 s"
    );
    // The second time it is out for twice as long.
    assert!(fail(&mut balancer, 3, 5, SECOND * 32));
    assert_eq!(shares(&mut balancer, 1_000, SECOND * 91).len(), 9);
    assert_eq!(shares(&mut balancer, 1_000, SECOND * 92).len(), 10);
    assert_eq!(balancer.ejections(), 2);
}

#[test]
fn not_everybody_is_taken_out() {
    let mut balancer = balancer(Policy::RoundRobin, &equal(20));
    let ejected = (1..=5).filter(|id| fail(&mut balancer, *id, 5, SECOND));
    assert_eq!(ejected.count(), 2, "a tenth of twenty");
    let mut pair = super::balancer(Policy::RoundRobin, &equal(2));
    assert!(fail(&mut pair, 1, 5, SECOND), "one always may");
    let out = (0..50).any(|_| {
        let pick = pick(&mut pair, None, SECOND);
        pair.end(pick, Outcome::Unreachable, SECOND)
    });
    assert!(!out, "the other stays");
}

#[test]
fn a_success_rate_far_below_the_others_is_an_outlier() {
    let settings = Settings {
        outlier: Some(OutlierSettings {
            consecutive: 0,
            ..OutlierSettings::default()
        }),
        ..Settings::default()
    };
    let mut balancer = with(Policy::RoundRobin, settings, &equal(10));
    for step in 0..3_000_u64 {
        let now = SECOND + Duration::from_millis(step);
        let pick = pick(&mut balancer, None, now);
        let failed = pick.id == 4 && step % 2 == 0 || step % 50 == 0;
        let took = Duration::from_millis(1);
        let outcome = match failed {
            true => Outcome::Failed(took),
            false => Outcome::Answered(took),
        };
        balancer.end(pick, outcome, now);
    }
    let counts = shares(&mut balancer, 1_000, SECOND * 12);
    assert_eq!(counts.len(), 9);
    assert!(counts.iter().all(|(id, _)| *id != 4));
}

#[test]
fn requests_at_an_endpoint_that_went_end_without_harm() {
    let mut balancer = balancer(Policy::RoundRobin, &equal(2));
    let open: Vec<Pick> = (0..10).map(|_| pick(&mut balancer, None, SECOND)).collect();
    balancer.set_endpoints(&equal(1), SECOND);
    balancer.set_endpoints(&[endpoint(9, 1000), endpoint(1, 1000)], SECOND);
    assert_eq!(balancer.in_flight(2), 5, "they go on");
    for pick in open {
        balancer.end(pick, Outcome::Unreachable, SECOND);
        balancer.end(pick, Outcome::Unreachable, SECOND);
    }
    assert_eq!(
        balancer.in_flight(9),
        0,
        "who comes after it has nothing to do with it"
    );
    assert_eq!(balancer.in_flight(2), 0);
}
