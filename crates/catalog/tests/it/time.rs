//! Replicated time: clocks that are ahead, are set back, and differ a little.

use std::sync::Arc;

use portolan_catalog::stored::LEVEL;
use portolan_catalog::*;

use crate::support::World;

const YEAR: u64 = 365 * 24 * 3_600_000;

/// A key that was locked by a session which ended, with the delay that keeps others from locking it.
fn delayed(world: &mut World, delay_ms: u64) {
    let id = SessionId([7; 16]);
    world.ok(session(id, delay_ms));
    world.ok(acquire(id));
    world.ok(Command::Revoke {
        lease: LeaseId::Session(id),
    });
    world.ok(session(SessionId([8; 16]), 0));
}

fn session(id: SessionId, lock_delay_ms: u64) -> Command {
    Command::Grant {
        lease: LeaseId::Session(id),
        terms: None,
        session: Some(Box::new(Session {
            id,
            node: NodeName::new("n1"),
            name: "s".into(),
            behaviour: Behaviour::Release,
            lock_delay_ms,
            ttl_ms: 0,
            node_checks: Default::default(),
            service_checks: Default::default(),
            created: Revision(0),
            modified: Revision(0),
        })),
    }
}

fn acquire(session: SessionId) -> Command {
    let put = Put::new(Keyspace::ConsulKv, Key::from("lock"), "v".into());
    Command::Write(Write::one(Op::Acquire {
        put: Box::new(put),
        session,
    }))
}

/// Whether another session gets the lock `after` milliseconds.
fn locked_after(world: &mut World, after: u64) -> bool {
    world.clock += after - 1000;
    let outcome = world.run(acquire(SessionId([8; 16]))).settled.outcome;
    match outcome {
        Ok(_) => false,
        Err(Refusal::Locked) => true,
        other => panic!("{other:?}"),
    }
}

fn world() -> World {
    let mut world = World::new();
    world.ok(Command::RaiseLevel { level: LEVEL });
    world
}

#[test]
fn a_lock_delay_ends_in_its_time_though_the_clock_was_a_year_ahead() {
    let mut world = world();
    let before = world.clock;
    world.clock += YEAR;
    delayed(&mut world, 15_000);
    assert!(world.state.last_at().0 > before + YEAR);
    world.clock -= YEAR;
    assert!(locked_after(&mut world, 10_000), "it still runs");
    assert_eq!(world.state.last_at().0, world.clock, "time goes on");
    // How much time went by at the step cannot be told: the delay keeps what was left of it before.
    assert!(!locked_after(&mut world, 15_000), "it is over");
}

#[test]
fn a_clock_that_is_a_little_behind_makes_time_stand_and_nothing_shorter() {
    let mut world = world();
    delayed(&mut world, 15_000);
    let at = world.state.last_at();
    world.clock -= 30_000;
    assert!(locked_after(&mut world, 2_000));
    assert_eq!(world.state.last_at(), at);
    assert!(locked_after(&mut world, 30_000));
    assert!(!locked_after(&mut world, 20_000));
}

#[test]
fn below_level_two_an_old_log_gives_the_old_state() {
    let mut world = World::new();
    let old = world.state.last_at();
    let mut entry = world.entry(crate::support::put("k", "v"));
    entry.at = Timestamp(old.0 - 200_000);
    entry.cause = Arc::new(Cause::call(Protocol::Etcd, None));
    world.state.apply(&entry);
    assert_eq!(world.state.last_at(), old);
    let before = world.state.revision();
    world.ok(put_and_delete("new"));
    assert_eq!(world.state.revision(), before, "it comes to nothing");
    world.ok(Command::RaiseLevel { level: LEVEL });
    assert_eq!(world.state.level(), LEVEL);
    world.ok(put_and_delete("new"));
    assert_eq!(world.state.revision(), before.next(), "two changes of one");
    world.ok(Command::RaiseLevel { level: 1 });
    assert_eq!(world.state.level(), LEVEL, "never lowered");
}

/// A put of a key that is not there, and its deletion, in one transaction.
fn put_and_delete(key: &str) -> Command {
    let gone = Op::Delete {
        space: Keyspace::Etcd,
        range: KeyRange::One(key.into()),
        expect: Expect::Any,
    };
    Command::Write(Write {
        then: vec![Op::Put(Box::new(crate::support::put_op(key, "v"))), gone],
        ..Write::default()
    })
}
