//! Tables of steps: what moves the revision, what is refused.

use portolan_catalog::*;

use crate::support::*;

#[track_caller]
fn check_steps(steps: &[(&str, Command, u64)]) {
    let mut world = World::new();
    for (name, command, expected) in steps {
        let applied = world.run(command.clone());
        assert!(
            applied.settled.outcome.is_ok(),
            "{name}: {:?}",
            applied.settled.outcome
        );
        assert_eq!(applied.settled.revision.0, *expected, "{name}");
        assert_eq!(world.state.revision().0, *expected, "{name}");
    }
}

#[test]
fn the_revision_moves_exactly_with_the_changes() {
    let a = || eureka_key("web", "a");
    let lease = LeaseId::Etcd(7);
    let grant = || Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(2000)),
        session: None,
    };
    let quiet = |value: &str| {
        let put = Put {
            space: Keyspace::ConsulKv,
            quiet: true,
            ..put_op("kv", value)
        };
        write(Op::Put(Box::new(put)))
    };
    check_steps(&[
        ("first", register(eureka("web", "a", "10.0.0.1", 80)), 2),
        (
            "the same facts again",
            register(eureka("web", "a", "10.0.0.1", 80)),
            2,
        ),
        ("moved", register(eureka("web", "a", "10.0.0.1", 81)), 3),
        ("gone", deregister(a()), 4),
        ("gone twice", deregister(a()), 4),
        ("put", put("k", "v"), 5),
        ("an equal etcd put is a change", put("k", "v"), 6),
        ("delete of nothing", delete(KeyRange::One("x".into())), 6),
        ("delete", delete(KeyRange::One("k".into())), 7),
        ("grant", grant(), 7),
        (
            "revoke without keys",
            Command::Revoke {
                lease: lease.clone(),
            },
            7,
        ),
        ("Consul put", quiet("1"), 8),
        ("an equal Consul put is none", quiet("1"), 8),
        (
            "layout asleep to awake with nothing to show",
            Command::Wake {
                layout: "kitex".into(),
            },
            8,
        ),
        (
            "compaction",
            Command::Compact {
                space: None,
                revision: Revision(5),
            },
            8,
        ),
        (
            "node with equal facts",
            Command::PutNode {
                node: node_n1(),
                terms: None,
                expect: None,
            },
            8,
        ),
    ]);
}

fn node_n1() -> std::sync::Arc<NodeFacts> {
    World::new().state.node(&n1()).unwrap().facts.clone()
}

#[test]
fn refusals_leave_everything_as_it_was() {
    let mut world = World::new();
    world.ok(register(consul("web", "w", "10.0.0.1", 80, true)));
    world.ok(put("k", "v"));
    let leased = Put {
        lease: Some(LeaseId::Etcd(404)),
        ..put_op("k", "x")
    };
    let on = |node: &str| {
        let mut register = consul("web", "x", "10.0.0.9", 80, false);
        let facts = Registration {
            node: NodeName::new(node),
            ..(*register.facts).clone()
        };
        register.facts = facts.into();
        self::register(register)
    };
    let session = |check: &str| Session {
        id: SessionId([1; 16]),
        node: n1(),
        name: "".into(),
        behaviour: Behaviour::Release,
        lock_delay_ms: 0,
        ttl_ms: 0,
        node_checks: [check.into()].into(),
        service_checks: [].into(),
        created: Revision(0),
        modified: Revision(0),
    };
    let granted = |check: &str| Command::Grant {
        lease: LeaseId::Session(SessionId([1; 16])),
        terms: None,
        session: Some(Box::new(session(check))),
    };
    let two = Write {
        then: vec![
            Op::Put(Box::new(put_op("k2", "v"))),
            Op::Put(Box::new(leased.clone())),
        ],
        ..Write::default()
    };
    let all = Write {
        report_all: true,
        ..two.clone()
    };
    let expecting = |revision| Register {
        expect: Some(Revision(revision)),
        ..consul("web", "w", "10.0.0.1", 81, true)
    };
    let rows: Vec<(Command, Refusal)> = vec![
        (write(Op::Put(Box::new(leased))), Refusal::NoLease),
        (Command::Write(two), Refusal::NoLease),
        (
            Command::Write(all),
            Refusal::Ops(vec![(1, Refusal::NoLease)]),
        ),
        (on("nowhere"), Refusal::NoNode("nowhere".into())),
        (
            on("10-0-0-1.virtual"),
            Refusal::Reserved("10-0-0-1.virtual".into()),
        ),
        (register(expecting(99)), Refusal::Changed(Revision(2))),
        (
            granted("absent"),
            Refusal::NoCheck(CheckKey::new(&n1(), "absent")),
        ),
        (granted("service:w"), Refusal::CheckCritical(ttl_check("w"))),
        (
            Command::Revoke {
                lease: LeaseId::Etcd(1),
            },
            Refusal::NoLease,
        ),
        (
            report("absent", Status::Passing),
            Refusal::NoCheck(ttl_check("absent")),
        ),
        (
            Command::Compact {
                space: None,
                revision: Revision(99),
            },
            Refusal::Future(Revision(3)),
        ),
        (
            Command::Wake {
                layout: "absent".into(),
            },
            Refusal::NoLayout,
        ),
        (
            Command::Forget {
                service: ServiceKey::plain("web"),
                protocol: None,
            },
            Refusal::NotEmpty,
        ),
        (
            admin(eureka_key("x", "y"), None, Protocol::Eureka),
            Refusal::NoInstance,
        ),
        (first(), Refusal::Exists),
    ];
    for (command, refusal) in rows {
        let before = world.state.clone();
        let applied = world.run(command.clone());
        assert_eq!(applied.settled.outcome, Err(refusal), "{command:?}");
        assert_eq!(applied.settled.revision, before.revision(), "{command:?}");
        assert!(
            applied.batch.is_none() && world.state.same_rows(&before),
            "{command:?}"
        );
    }
}

#[test]
fn sessions_lock_release_and_delay() {
    let mut world = World::new();
    let id = SessionId([7; 16]);
    let session = |behaviour| Session {
        id,
        node: n1(),
        name: "".into(),
        behaviour,
        lock_delay_ms: 15_000,
        ttl_ms: 10_000,
        node_checks: ["serfHealth".into()].into(),
        service_checks: [].into(),
        created: Revision(0),
        modified: Revision(0),
    };
    let create = |behaviour| Command::Grant {
        lease: LeaseId::Session(id),
        terms: Some(Terms::strict(10_000)),
        session: Some(Box::new(session(behaviour))),
    };
    let kv = || {
        Box::new(Put {
            space: Keyspace::ConsulKv,
            ..put_op("lock", "v")
        })
    };
    let acquire = || {
        write(Op::Acquire {
            put: kv(),
            session: id,
        })
    };
    world.ok(create(Behaviour::Release));
    world.ok(acquire());
    let holder = |world: &World| {
        world
            .state
            .record(Keyspace::ConsulKv, b"lock")
            .and_then(|r| r.holder())
    };
    assert_eq!(holder(&world), Some(id));
    world.ok(Command::Revoke {
        lease: LeaseId::Session(id),
    });
    assert_eq!(holder(&world), None);
    world.ok(create(Behaviour::Delete));
    assert_eq!(
        world.run(acquire()).settled.outcome,
        Err(Refusal::Locked),
        "the lock delay runs"
    );
    world.clock += 15_000;
    world.ok(acquire());
    // The node's check fails: the session ends, and deletes what it held.
    let critical = Command::Report {
        check: CheckKey::new(&n1(), "serfHealth"),
        status: Status::Critical,
        output: "".into(),
    };
    world.ok(critical);
    assert!(world.state.session(&id).is_none());
    assert!(world.state.record(Keyspace::ConsulKv, b"lock").is_none());
    let removed = world.state.revision();
    assert_eq!(
        world
            .state
            .records_index(Keyspace::ConsulKv, &KeyRange::prefix(b"lo")),
        removed,
        "tombstones count"
    );
}

#[test]
fn comparisons_decide_on_the_state_before() {
    let compare = |key: &str, relation, comparand| Compare {
        space: Keyspace::Etcd,
        range: KeyRange::One(key.into()),
        relation,
        comparand,
    };
    let mut world = World::new();
    world.ok(put("k", "b"));
    let rows = [
        (compare("k", Relation::Equal, Comparand::Version(1)), true),
        (compare("k", Relation::Equal, Comparand::Created(2)), true),
        (
            compare("k", Relation::Greater, Comparand::Modified(2)),
            false,
        ),
        (
            compare("k", Relation::Greater, Comparand::Value("a".into())),
            true,
        ),
        (
            compare("k", Relation::NotEqual, Comparand::Value("b".into())),
            false,
        ),
        (
            compare("absent", Relation::Equal, Comparand::Version(0)),
            true,
        ),
        (
            compare("absent", Relation::Less, Comparand::Created(1)),
            true,
        ),
        (
            compare("absent", Relation::NotEqual, Comparand::Value("x".into())),
            false,
        ),
        (
            compare("absent", Relation::Equal, Comparand::Lease(0)),
            true,
        ),
    ];
    for (compare, expected) in rows {
        let outcome = world.run(Command::Write(Write {
            when: vec![compare.clone()],
            ..Write::default()
        }));
        let Ok(Done::Written(written)) = outcome.settled.outcome else {
            panic!("refused")
        };
        assert_eq!(written.succeeded, expected, "{compare:?}");
    }
    // A nested comparison does not see what an earlier operation of the same write does.
    let nested = Write {
        when: vec![compare("new", Relation::Equal, Comparand::Version(0))],
        then: vec![Op::Put(Box::new(put_op("inner", "yes")))],
        or_else: vec![Op::Put(Box::new(put_op("inner", "no")))],
        ..Write::default()
    };
    let outer = Write {
        then: vec![Op::Put(Box::new(put_op("new", "1"))), Op::Nested(nested)],
        ..Write::default()
    };
    assert_eq!(
        world.ok(Command::Write(outer)),
        3,
        "one revision for all of it"
    );
    assert_eq!(world.record("inner").unwrap().bytes(), "yes");
}
