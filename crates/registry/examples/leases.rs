//! What deadlines cost: memory and time for many leases, printed as a table.
//!
//! `cargo run --release -p portolan-registry --example leases -- 100000 1000000`

use std::time::{Duration, Instant as Wall};

use portolan_catalog::{Cause, Command, Entry, LeaseId, Protocol, State, Terms, Timestamp};
use portolan_registry::Deadlines;
use tokio::time::Instant;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    pages.and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// A catalog with so many leases of 90 s.
fn catalog(leases: i64) -> State {
    let mut state = State::default();
    for id in 0..leases {
        state.apply(&Entry {
            at: Timestamp(1),
            cause: Cause::call(Protocol::Etcd, None).into(),
            command: Command::Grant {
                lease: LeaseId::Etcd(id),
                terms: Some(Terms::heartbeat(90_000)),
                session: None,
            },
        });
    }
    state
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Wall::now();
    (work(), start.elapsed())
}

fn main() {
    let counts = std::env::args().skip(1).filter_map(|n| n.parse().ok());
    println!(
        "leases  bytes/lease  start  renew(ns)  grant-again(ns)  tick-all-stale(ms)  longest-renewal-meanwhile(ms)  10M-grants-again-bytes"
    );
    for count in counts {
        let count: i64 = count;
        let state = catalog(count);
        let deadlines = Deadlines::default();
        let before = resident();
        let now = Instant::now();
        let ((), start) = timed(|| deadlines.reset(&state, now));
        let bytes = resident().saturating_sub(before) / count as usize;
        let ids: Vec<LeaseId> = (0..count)
            .map(|n| LeaseId::Etcd(n.wrapping_mul(7919) % count))
            .collect();
        let ((), renew) = timed(|| {
            for id in &ids {
                deadlines.renew(id, now + Duration::from_secs(30));
            }
        });
        let ((), again) = timed(|| {
            for id in &ids {
                deadlines.update(&state, id, now + Duration::from_secs(31));
            }
        });
        // All entries stand for the time of the grant: one look at all of them, with a client that renews beside it.
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (tick, longest) = std::thread::scope(|threads| {
            let renewals = threads.spawn(|| {
                let mut longest = Duration::ZERO;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let (_, took) =
                        timed(|| deadlines.renew(&LeaseId::Etcd(1), now + Duration::from_secs(91)));
                    longest = longest.max(took);
                    std::thread::sleep(Duration::from_micros(50));
                }
                longest
            });
            let (_, tick) = timed(|| deadlines.due(now + Duration::from_secs(91), 500));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            (tick, renewals.join().unwrap_or_default())
        });
        let before = resident();
        for step in 0..10_000_000_u64 {
            deadlines.update(&state, &LeaseId::Etcd(7), now + Duration::from_micros(step));
        }
        let leaked = resident().saturating_sub(before);
        let each = |time: Duration| time.as_nanos() / ids.len() as u128;
        println!(
            "{count}  {bytes}  {start:?}  {}  {}  {:.1}  {:.2}  {leaked}",
            each(renew),
            each(again),
            tick.as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3,
        );
    }
}
