use std::collections::BTreeMap;

use portolan_catalog::Then;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const YEAR_MS: u64 = 365 * 86_400_000;

fn lease(id: i64, terms: Terms) -> Arc<Lease> {
    Arc::new(Lease {
        id: LeaseId::Etcd(id),
        terms,
        generation: 1,
        stage: 0,
        granted_at: Default::default(),
    })
}

fn ids(due: &[Due]) -> Vec<LeaseId> {
    due.iter().map(|due| due.lease.clone()).collect()
}

/// Slots in all, slots in use, entries in the order.
fn sizes(deadlines: &Deadlines) -> (usize, usize, usize) {
    let inner = deadlines.inner();
    (inner.slots.len(), inner.by_id.len(), inner.order.len())
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_comes_up_later() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    deadlines.inner().arm(&lease(1, Terms::strict(2000)), start);
    deadlines.inner().arm(&lease(2, Terms::strict(2000)), start);
    let renewed = deadlines.renew(&LeaseId::Etcd(1), start + SECOND);
    assert_eq!(renewed, Renewal::Renewed(2 * SECOND));
    let due = deadlines.due(start + 2 * SECOND, 10);
    assert_eq!(ids(&due), [LeaseId::Etcd(2)]);
    let late = deadlines.renew(&LeaseId::Etcd(2), start + 2 * SECOND);
    assert_eq!(late, Renewal::Deciding);
    assert_eq!(deadlines.renew(&LeaseId::Etcd(3), start), Renewal::Unknown);
    assert_eq!(deadlines.due(start + 3 * SECOND, 10).len(), 1);
    deadlines.spare(&LeaseId::Etcd(2), start + 3 * SECOND, SECOND);
    assert!(deadlines.due(start + 3 * SECOND, 10).is_empty());
    assert_eq!(deadlines.due(start + 4 * SECOND, 10).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_granted_again_and_again_has_one_entry() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    for step in 0..100_000 {
        let now = start + Duration::from_millis(step);
        deadlines.inner().arm(&lease(1, Terms::check(YEAR_MS)), now);
    }
    assert_eq!(sizes(&deadlines), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_leaves_nothing_behind() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    for id in 0..100_000 {
        deadlines
            .inner()
            .arm(&lease(id, Terms::strict(YEAR_MS)), start);
        deadlines.inner().remove(&LeaseId::Etcd(id));
    }
    assert_eq!(sizes(&deadlines), (1, 0, 0));
    for id in 0..100_000 {
        deadlines
            .inner()
            .arm(&lease(id, Terms::strict(YEAR_MS)), start);
    }
    for id in 0..99_000 {
        deadlines.inner().remove(&LeaseId::Etcd(id));
    }
    let (slots, leases, entries) = sizes(&deadlines);
    assert_eq!((leases, entries), (1000, 1000));
    assert!(slots < 4096, "{slots} slots for 1000 leases");
    assert!(deadlines.inner().slots.capacity() < 8192);
    for id in 99_000..100_000 {
        let renewed = deadlines.renew(&LeaseId::Etcd(id), start);
        assert_eq!(renewed, Renewal::Renewed(Duration::from_millis(YEAR_MS)));
    }
}

#[tokio::test(start_paused = true)]
async fn shorter_terms_move_an_entry_forward() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    deadlines
        .inner()
        .arm(&lease(1, Terms::strict(60_000)), start);
    deadlines.inner().arm(&lease(1, Terms::strict(1000)), start);
    assert_eq!(deadlines.due(start + SECOND, 10).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_silent_for_half_their_time_are_known() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    for id in 0..5000 {
        deadlines
            .inner()
            .arm(&lease(id, Terms::heartbeat(90_000)), start);
    }
    deadlines
        .inner()
        .arm(&lease(-1, Terms::strict(90_000)), start);
    assert!(deadlines.due(start + 45 * SECOND, 500).is_empty());
    assert!(deadlines.silent().is_empty(), "half is not more than half");
    for id in 3..5000 {
        deadlines.renew(&LeaseId::Etcd(id), start + 45 * SECOND);
    }
    assert!(deadlines.due(start + 46 * SECOND, 500).is_empty());
    assert_eq!(deadlines.silent(), [0, 1, 2].map(LeaseId::Etcd));
    deadlines.renew(&LeaseId::Etcd(1), start + 46 * SECOND);
    assert_eq!(deadlines.silent(), [0, 2].map(LeaseId::Etcd));
    deadlines.inner().remove(&LeaseId::Etcd(0));
    assert_eq!(deadlines.silent(), [2].map(LeaseId::Etcd));
    let due = deadlines.due(start + 90 * SECOND, 500);
    assert_eq!(ids(&due), [2, -1].map(LeaseId::Etcd));
    // The renewed ones fall silent in their turn.
    assert!(deadlines.due(start + 91 * SECOND, 500).is_empty());
    assert_eq!(deadlines.silent().len(), 4999 - 1);
}

/// Against the plainest way to say it: a map of leases and their times, all looked at each time.
#[tokio::test(start_paused = true)]
async fn any_course_of_events_ends_as_in_a_plain_map() {
    #[derive(Clone)]
    struct Plain {
        terms: Terms,
        since: u64,
        not_before: u64,
        deciding: bool,
    }
    let start = Instant::now();
    for seed in 1..40_u64 {
        let deadlines = Deadlines::default();
        let mut plain: BTreeMap<i64, Plain> = BTreeMap::new();
        let (mut random, mut now) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0_u64);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        // Deadlines count from the first time they see.
        assert!(deadlines.due(start, 1).is_empty());
        for _ in 0..3000 {
            let at = |ms: u64| start + Duration::from_millis(ms);
            let id = draw(40) as i64;
            let key = LeaseId::Etcd(id);
            match draw(10) {
                0 | 1 => {
                    let ttl = 100 * (1 + draw(50));
                    let terms = if draw(2) == 0 {
                        Terms::strict(ttl)
                    } else {
                        Terms::heartbeat(ttl)
                    };
                    deadlines.inner().arm(&lease(id, terms.clone()), at(now));
                    let row = Plain {
                        terms,
                        since: now,
                        not_before: 0,
                        deciding: false,
                    };
                    plain.insert(id, row);
                }
                2 => {
                    deadlines.inner().remove(&key);
                    plain.remove(&id);
                }
                3..=6 => {
                    let expected = match plain.get_mut(&id) {
                        None => Renewal::Unknown,
                        Some(row) if row.deciding => Renewal::Deciding,
                        Some(row) => {
                            (row.since, row.not_before) = (now, 0);
                            Renewal::Renewed(Duration::from_millis(row.terms.ttl_ms()))
                        }
                    };
                    assert_eq!(deadlines.renew(&key, at(now)), expected);
                }
                7 => {
                    let wait = 100 * draw(20);
                    deadlines.spare(&key, at(now), Duration::from_millis(wait));
                    if let Some(row) = plain.get_mut(&id) {
                        (row.deciding, row.not_before) = (false, now + wait);
                    }
                }
                _ => {
                    now += draw(1000);
                    let mut due: Vec<_> = ids(&deadlines.due(at(now), usize::MAX));
                    due.sort();
                    let mut expected = Vec::new();
                    for (id, row) in &mut plain {
                        let deadline = (row.since + row.terms.ttl_ms()).max(row.not_before);
                        if !row.deciding && deadline <= now {
                            row.deciding = true;
                            expected.push(LeaseId::Etcd(*id));
                        }
                    }
                    assert_eq!(due, expected, "seed {seed}, {now} ms");
                    let mut silent = deadlines.silent();
                    silent.sort();
                    let expected: Vec<_> = plain
                        .iter()
                        .filter(|(_, row)| {
                            row.terms.guarded && (now - row.since) * 2 > row.terms.ttl_ms()
                        })
                        .map(|(id, _)| LeaseId::Etcd(*id))
                        .collect();
                    assert_eq!(silent, expected, "seed {seed}, {now} ms");
                }
            }
            let (slots, leases, entries) = sizes(&deadlines);
            assert_eq!(leases, plain.len());
            assert!(entries <= leases && slots <= 40);
            if let Some(row) = plain.get(&id) {
                let deadline = (row.since + row.terms.ttl_ms()).max(row.not_before);
                let left = Duration::from_millis(deadline.saturating_sub(now));
                let since = at(row.since);
                assert_eq!(deadlines.remaining(&key, at(now)), Some((left, since)));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_stage_counts_from_the_same_silence() {
    let deadlines = Deadlines::default();
    let start = Instant::now();
    let mut row = (*lease(1, Terms::two_stages(15_000, 30_000))).clone();
    deadlines.inner().arm(&Arc::new(row.clone()), start);
    assert_eq!(deadlines.due(start + 15 * SECOND, 10).len(), 1);
    row.stage = 1;
    deadlines.inner().arm(&Arc::new(row), start + 16 * SECOND);
    assert!(deadlines.due(start + 29 * SECOND, 10).is_empty());
    let due = deadlines.due(start + 30 * SECOND, 10);
    assert_eq!((due.len(), due[0].stage), (1, 1));
    assert_eq!(due[0].terms.stages[1].then, Then::Remove);
    assert_eq!(due[0].since, start);
}

/// What was handed in and may be decided yet: renewals wait until it is known, and it comes up again so that it will be.
#[tokio::test(start_paused = true)]
async fn a_lapse_whose_outcome_is_not_known_is_not_renewed_away() {
    let mut state = State::default();
    state.apply(&portolan_catalog::Entry {
        at: Default::default(),
        cause: Arc::new(portolan_catalog::Cause::own(portolan_catalog::Why::Call)),
        command: portolan_catalog::Command::Grant {
            lease: LeaseId::Etcd(1),
            terms: Some(Terms::strict(2000)),
            session: None,
        },
    });
    let id = LeaseId::Etcd(1);
    let generation = state.lease(&id).unwrap().generation;
    let deadlines = Deadlines::default();
    let start = Instant::now();
    deadlines.reset(&state, start);
    assert!(!deadlines.is_deciding(&id, 0, generation));
    assert_eq!(deadlines.due(start + 2 * SECOND, 10).len(), 1);
    assert!(deadlines.is_deciding(&id, 0, generation));
    assert!(!deadlines.is_deciding(&id, 0, generation + 1));
    deadlines.ask_again(&id, start + 2 * SECOND, SECOND);
    let renew = |at| deadlines.renew(&id, start + at);
    assert_eq!(renew(2 * SECOND), Renewal::Deciding);
    assert!(deadlines.due(start + 2 * SECOND, 10).is_empty());
    assert_eq!(deadlines.due(start + 3 * SECOND, 10).len(), 1);
    // A pause gives time to all others.
    deadlines.prolong(&state, start + 4 * SECOND);
    assert_eq!(renew(4 * SECOND), Renewal::Deciding);
    assert!(deadlines.is_deciding(&id, 0, generation));
    assert!(deadlines.due(start + 5 * SECOND, 10).is_empty());
    assert_eq!(deadlines.due(start + 6 * SECOND, 10).len(), 1);
    // Another reign knows that nothing is on its way.
    deadlines.reset(&state, start + 7 * SECOND);
    assert!(!deadlines.is_deciding(&id, 0, generation));
    assert_eq!(renew(7 * SECOND), Renewal::Renewed(2 * SECOND));
}
