//! A refused command leaves no trace, however far it had come.

use std::convert::Infallible;

use portolan_catalog::*;
use proptest::prelude::*;

use crate::laws::commands;
use crate::support::*;

fn bytes(state: &State) -> Vec<u8> {
    let mut all = Vec::new();
    let written: Result<(), Infallible> = stored::snapshot(state, |record| {
        all.extend_from_slice(record);
        Ok(())
    });
    let Ok(()) = written;
    all
}

/// Runs a command at the time of the last one, which is all that a refused command may move.
fn at_once(world: &mut World, command: Command) -> Applied {
    let mut entry = world.entry(command);
    entry.at = world.state.last_at();
    world.state.apply(&entry)
}

fn check(world: &mut World, command: Command) -> bool {
    let before = bytes(&world.state);
    let applied = at_once(world, command.clone());
    let refused = applied.settled.outcome.is_err();
    if refused {
        assert!(
            applied.batch.is_none() && applied.leases.is_empty(),
            "{command:?}"
        );
        assert!(
            bytes(&world.state) == before,
            "{command:?} left something behind"
        );
    }
    refused
}

/// Commands that change what is not in the change stream.
fn aside() -> Vec<Command> {
    let session = SessionId([9; 16]);
    vec![
        Command::Grant {
            lease: LeaseId::Session(session),
            terms: Some(Terms::strict(10_000)),
            session: Some(Box::new(Session {
                id: session,
                node: n1(),
                name: "s".into(),
                behaviour: Behaviour::Delete,
                lock_delay_ms: 15_000,
                ttl_ms: 10_000,
                node_checks: [].into(),
                service_checks: [].into(),
                created: Revision(0),
                modified: Revision(0),
            })),
        },
        write(Op::Acquire {
            put: Box::new(Put::new(Keyspace::ConsulKv, "lock".into(), "v".into())),
            session,
        }),
        Command::Revoke {
            lease: LeaseId::Session(session),
        },
        Command::SetLayout {
            layout: "kitex".into(),
            state: None,
        },
        Command::SetLayout {
            layout: "tree".into(),
            state: Some(layout::LayoutState {
                form: layout::Form::Template(
                    layout::Template::parse("znodes:/s/{service}/{address}").unwrap(),
                ),
                mode: layout::Mode::Awake,
                level: 1,
            }),
        },
        Command::Compact {
            space: None,
            revision: Revision(2),
        },
        Command::Compact {
            space: Some(Keyspace::Etcd),
            revision: Revision(2),
        },
        Command::DropNode {
            name: n1(),
            expect: None,
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_was_done_before_the_refusal_is_undone(
        first in commands(30),
        then in commands(12),
        mixed in prop::collection::vec(prop::sample::select(aside()), 0..4),
        report_all in any::<bool>(),
    ) {
        let mut world = World::new();
        for command in first.into_iter().chain(mixed.iter().take(1).cloned()) {
            world.run(command);
        }
        for command in &then {
            check(&mut world.clone(), command.clone());
        }
        let fails = Op::Check {
            space: Keyspace::Etcd,
            key: "absent".into(),
            expect: Expect::Present,
        };
        let mut ops: Vec<Op> = then.into_iter().chain(mixed)
            .filter(|command| !matches!(command, Command::Bootstrap(_) | Command::RaiseLevel { .. }))
            .map(|command| Op::Command(Box::new(command)))
            .collect();
        ops.insert(0, Op::Nested(Write { then: vec![Op::Put(Box::new(put_op("a/b", "1"))), fails.clone()], ..Write::default() }));
        ops.rotate_left(1);
        ops.push(fails);
        let refused = check(&mut world, Command::Write(Write { then: ops, report_all, ..Write::default() }));
        prop_assert!(refused);
    }
}

#[test]
fn a_set_of_registrations_is_taken_whole_or_not_at_all() {
    let mut world = World::new();
    let lease = LeaseId::Etcd(5);
    world.ok(Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(5000)),
        session: None,
    });
    let one = |id: usize| {
        let key = InstanceKey::new(Protocol::Nacos, format!("c/{id}"));
        let host = Host::new(&format!("10.{}.{}.{}", id >> 16, id >> 8 & 255, id & 255));
        let mut facts = Registration::new(key, ServiceKey::plain("web"), Endpoint::new(host, 80));
        facts.lease = Some(lease.clone());
        Register::new(facts)
    };
    let set = |instances: Vec<Register>| Command::RegisterSet {
        lease: lease.clone(),
        service: ServiceKey::plain("web"),
        instances,
    };
    let ids = |world: &World| -> Vec<String> {
        let rows = world.state.instances(&ServiceKey::plain("web"));
        rows.map(|row| row.key.id.to_string()).collect()
    };
    world.ok(set((0..3).map(one).collect()));
    world.ok(set((1..4).map(one).collect()));
    assert_eq!(ids(&world), ["c/1", "c/2", "c/3"]);
    let mut wrong = one(9);
    let mut facts = (*wrong.facts).clone();
    facts.lease = Some(LeaseId::Etcd(404));
    wrong.facts = facts.into();
    assert!(check(&mut world, set(vec![one(7), wrong])));
    assert_eq!(ids(&world), ["c/1", "c/2", "c/3"]);
    let limit = limits::INSTANCES as usize;
    assert!(
        check(&mut world, set((0..=limit).map(one).collect())),
        "more than a service may have"
    );
    world.ok(set((0..limit).map(one).collect()));
    assert!(check(&mut world, register(one(limit))));
    world.ok(set((1..=limit).map(one).collect()));
}
