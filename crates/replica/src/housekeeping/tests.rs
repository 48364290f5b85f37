//! Housekeeping over a state and two clocks, all given.

use std::sync::Arc;

use portolan_catalog::{
    CheckFacts, CheckKey, Endpoint, Entry, Expect, Host, InstanceKey, Key, KeyRange, Keyspace,
    NewCheck, NodeFacts, NodeName, Op, Protocol, Put, Register, Registration, Revision, Status,
    TreeWrite, Write, ZnodeKind,
};

use super::*;

struct World {
    state: State,
    history: Arc<History>,
    now: Instant,
    at: u64,
}

impl World {
    fn new() -> Self {
        World {
            state: State::default(),
            history: Arc::new(History::in_memory(1 << 20)),
            now: Instant::now(),
            at: 1_700_000_000_000,
        }
    }

    fn apply(&mut self, command: Command) {
        let applied = self.state.apply(&Entry {
            at: Timestamp(self.at),
            cause: Arc::new(Cause::call(Protocol::Consul, None)),
            command,
        });
        applied.settled.outcome.unwrap();
        if let Some(batch) = &applied.batch {
            self.history.push(batch);
        }
        self.history.reached(self.state.revision());
        self.history.set_floors(self.state.floors());
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.at += seconds * 1000;
    }

    fn round(&mut self, housekeeping: &mut Housekeeping) -> Vec<Command> {
        let commands = housekeeping.round(&self.state, self.now);
        let commands: Vec<_> = commands.into_iter().map(|(_, command)| command).collect();
        for command in commands.clone() {
            self.apply(command);
        }
        commands
    }

    fn register(&mut self, service: &str, host: &str, reap_after_ms: Option<u64>) -> InstanceKey {
        let node = NodeName::new("n1");
        let key = InstanceKey::consul(&node, &format!("{service}-{host}"));
        let mut facts = Registration::new(
            key.clone(),
            ServiceKey::plain(service),
            Endpoint::new(Host::new(host), 80),
        );
        facts.node = node.clone();
        let mut check = CheckFacts::new(CheckKey::new(&node, &format!("c-{service}-{host}")), "c");
        check.instance = Some(key.clone());
        check.reap_after_ms = reap_after_ms;
        let checks = vec![NewCheck {
            facts: Arc::new(check),
            status: Status::Critical,
            output: Arc::default(),
            reported: true,
        }];
        self.apply(Command::Register(Box::new(Register {
            checks,
            ..Register::new(facts)
        })));
        key
    }
}

fn world_with_node() -> World {
    let mut world = World::new();
    world.apply(Command::PutNode {
        node: Arc::new(NodeFacts::new("n1", Host::new("10.0.0.1"))),
        terms: None,
        expect: None,
    });
    world
}

fn housekeeping(world: &World) -> Housekeeping {
    let retention = Retention {
        age_ms: 3_600_000,
        changes: 100,
        ..Retention::default()
    };
    let history = world.history.clone();
    Housekeeping::new(retention, history, GuardOptions::default(), Arc::default())
}

#[test]
fn an_empty_service_is_forgotten_after_a_minute_of_our_own_time() {
    let mut world = world_with_node();
    let key = world.register("web", "10.0.0.1", None);
    let mut housekeeping = housekeeping(&world);
    assert!(world.round(&mut housekeeping).is_empty());
    world.apply(Command::Deregister {
        target: Target::Instance(key),
        expect: None,
    });
    assert!(world.round(&mut housekeeping).is_empty());
    // The wall clock jumps by ten years: nothing happens to the service, nor to the history.
    world.at += 10 * 365 * 86_400_000;
    let forgets = |world: &mut World, housekeeping: &mut Housekeeping| {
        world
            .round(housekeeping)
            .iter()
            .filter(|command| matches!(command, Command::Forget { .. }))
            .count()
    };
    world.pass(59);
    assert_eq!(forgets(&mut world, &mut housekeeping), 0);
    world.pass(1);
    assert_eq!(forgets(&mut world, &mut housekeeping), 1);
    assert!(world.state.service(&ServiceKey::plain("web")).is_none());
    world.pass(100);
    assert_eq!(forgets(&mut world, &mut housekeeping), 0);
}

#[test]
fn a_critical_check_takes_its_instance_along_in_time() {
    let mut world = world_with_node();
    world.register("web", "10.0.0.1", Some(60_000));
    world.register("web", "10.0.0.2", None);
    let mut housekeeping = housekeeping(&world);
    assert!(world.round(&mut housekeeping).is_empty());
    world.pass(59);
    assert!(world.round(&mut housekeeping).is_empty());
    world.pass(1);
    assert!(matches!(
        world.round(&mut housekeeping)[..],
        [Command::Deregister { .. }]
    ));
    assert_eq!(world.state.instances(&ServiceKey::plain("web")).count(), 1);
}

#[test]
fn a_mass_of_critical_checks_is_held_back() {
    let mut world = world_with_node();
    for place in 0..20 {
        world.register("web", &format!("10.0.0.{place}"), Some(60_000));
    }
    let mut housekeeping = housekeeping(&world);
    assert!(world.round(&mut housekeeping).is_empty());
    world.pass(50);
    assert!(
        world.round(&mut housekeeping).is_empty(),
        "nothing is due yet"
    );
    world.pass(50);
    // The catalog is told, once: one revision.
    assert!(matches!(
        world.round(&mut housekeeping)[..],
        [Command::Write(_)]
    ));
    assert!(world.round(&mut housekeeping).is_empty());
    assert_eq!(world.state.instances(&ServiceKey::plain("web")).count(), 20);
    let held = held(&world.state, Removals::Critical).unwrap();
    assert_eq!((held.report.count, held.report.services), (20, vec![]));
    assert_eq!(housekeeping.stats.guarded_checks.get(), 20);
    assert_eq!(
        portolan_catalog::guard::held(&world.state, Removals::Silent),
        None
    );

    // An operator lets go: the setting goes with the instances.
    let put = Put::new(
        Keyspace::Settings,
        Key::from(portolan_catalog::guard::MODE),
        b"off".as_slice().into(),
    );
    world.apply(Command::Write(Write::one(Op::Put(Box::new(put)))));
    assert_eq!(world.round(&mut housekeeping).len(), 21);
    assert_eq!(world.state.instances(&ServiceKey::plain("web")).count(), 0);
    assert_eq!(
        portolan_catalog::guard::held(&world.state, Removals::Critical),
        None
    );
    assert_eq!(housekeeping.stats.guarded_checks.get(), 0);
}

#[test]
fn history_is_compacted_by_count_and_by_age() {
    let mut world = World::new();
    let mut housekeeping = housekeeping(&world);
    assert!(world.round(&mut housekeeping).is_empty());
    let put = |world: &mut World, round: u64| {
        let put = Put::new(
            Keyspace::Etcd,
            Key::from("k"),
            round.to_string().into_bytes().into(),
        );
        world.apply(Command::Write(Write::one(Op::Put(Box::new(put)))));
    };
    for round in 0..150 {
        put(&mut world, round);
    }
    assert!(matches!(
        world.round(&mut housekeeping)[..],
        [Command::Compact { .. }]
    ));
    assert_eq!(world.state.floor(None), Revision(52));
    // What is current is noted once a minute.
    world.pass(60);
    assert!(world.round(&mut housekeeping).is_empty());
    world.pass(3599);
    put(&mut world, 1000);
    world.pass(2);
    assert!(!world.round(&mut housekeeping).is_empty());
    assert_eq!(world.state.floor(None).next(), world.state.revision());
    assert!(world.round(&mut housekeeping).is_empty());
}

#[test]
fn a_wall_clock_that_jumps_makes_no_history_older() {
    let mut world = world_with_node();
    let mut housekeeping = housekeeping(&world);
    for _ in 0..10 {
        world.register("web", "10.0.0.1", None);
        assert!(world.round(&mut housekeeping).is_empty());
    }
    let floor = world.state.floor(None);
    world.at += 365 * 86_400_000;
    world.register("late", "10.0.0.2", None);
    world.pass(3000);
    assert!(world.round(&mut housekeeping).is_empty());
    assert_eq!(world.state.floor(None), floor);
    // An hour of our own time is an hour.
    world.pass(700);
    assert!(!world.round(&mut housekeeping).is_empty());
    assert!(world.state.floor(None) > floor);
}

#[test]
fn containers_go_with_their_last_child_and_others_when_their_time_is_over() {
    let mut world = World::new();
    let mut housekeeping = housekeeping(&world);
    let tree = |ops: Vec<Op>| {
        Command::Tree(TreeWrite {
            who: None,
            session: None,
            ops,
        })
    };
    let create = |path: &str, kind: ZnodeKind| {
        Op::Put(Box::new(Put {
            create: Some(kind),
            ..Put::new(Keyspace::Znodes, Key::znode(path), "".into())
        }))
    };
    let delete = |path: &str| Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(Key::znode(path)),
        expect: Expect::Any,
    };
    world.apply(tree(vec![
        create("/unused", ZnodeKind::Container),
        create("/used", ZnodeKind::Container),
        create("/used/a", ZnodeKind::Persistent),
        create("/short", ZnodeKind::Ttl(60_000)),
        create("/long", ZnodeKind::Ttl(600_000)),
        create("/parent", ZnodeKind::Ttl(1)),
        create("/parent/a", ZnodeKind::Persistent),
    ]));
    assert_eq!(world.round(&mut housekeeping), []);
    world.apply(tree(vec![delete("/used/a")]));
    world.pass(59);
    assert_eq!(world.round(&mut housekeeping), [], "not looked at yet");
    world.pass(1);
    assert_eq!(
        world.round(&mut housekeeping),
        ["/short", "/used"].map(|path| {
            let record = Revision(2);
            let Op::Delete { space, range, .. } = delete(path) else {
                unreachable!()
            };
            let expect = if path == "/short" {
                Expect::Modified(record)
            } else {
                Expect::Any
            };
            tree(vec![Op::Delete {
                space,
                range,
                expect,
            }])
        })
    );
    for (path, there) in [
        ("/unused", true),
        ("/used", false),
        ("/short", false),
        ("/long", true),
        ("/parent", true),
    ] {
        assert_eq!(
            world.state.znode(&Key::znode(path)).is_some(),
            there,
            "{path}"
        );
    }
}
