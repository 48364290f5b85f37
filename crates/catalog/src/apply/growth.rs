//! What the cost of a command follows, at one size and at ten times as much.

use std::sync::Arc;

use crate::layout::{Form, LayoutState, Mode};
use crate::work::{Work, taken};
use crate::*;

struct World(State);

impl World {
    fn new() -> World {
        let mut world = World(State::default());
        world.ok(Command::PutNode {
            node: Arc::new(NodeFacts::new("n1", Host::new("10.0.0.1"))),
            terms: None,
            expect: None,
        });
        world
    }

    fn ok(&mut self, command: Command) {
        let entry = Entry {
            at: Timestamp(self.0.last_at().0 + 1),
            cause: Arc::new(Cause::call(Protocol::Native, None)),
            command,
        };
        let outcome = self.0.apply(&entry).settled.outcome;
        assert!(outcome.is_ok(), "{outcome:?}");
        for work in [Work::Settled, Work::Rendered, Work::Looked] {
            taken(work);
        }
    }

    /// Runs a command and gives the work it took.
    fn work(&mut self, work: Work, command: Command) -> usize {
        taken(work);
        let entry = Entry {
            at: Timestamp(self.0.last_at().0 + 1),
            cause: Arc::new(Cause::call(Protocol::Native, None)),
            command,
        };
        let outcome = self.0.apply(&entry).settled.outcome;
        assert!(outcome.is_ok(), "{outcome:?}");
        taken(work)
    }

    /// Instances of ten services on one node.
    fn instances(&mut self, count: usize) {
        for id in 0..count {
            let node = NodeName::new("n1");
            let host = Host::new(&format!("10.1.{}.{}", id >> 8, id & 255));
            let mut facts = Registration::new(
                InstanceKey::consul(&node, &format!("i{id}")),
                ServiceKey::plain(&format!("s{}", id % 10)),
                Endpoint::new(host, 80),
            );
            facts.node = node;
            self.ok(Command::Register(Box::new(Register::new(facts))));
        }
    }
}

fn node_check(status: Status, output: &str) -> Command {
    let key = CheckKey::new(&NodeName::new("n1"), "mem");
    Command::PutCheck(Box::new(PutCheck {
        check: NewCheck {
            facts: Arc::new(CheckFacts::new(key, "memory")),
            status,
            output: output.into(),
            reported: true,
        },
        expect: None,
    }))
}

#[test]
fn what_a_check_of_a_node_prints_works_out_no_instance() {
    for size in [100, 1000] {
        let mut world = World::new();
        world.instances(size);
        world.ok(node_check(Status::Passing, "1 GB free"));
        let printed = node_check(Status::Passing, "2 GB free");
        let before = world.0.clone();
        assert_eq!(world.work(Work::Settled, printed), 0, "{size} instances");
        // Its readers see it all the same.
        for service in 0..10 {
            let key = ServiceKey::plain(&format!("s{service}"));
            assert!(world.0.service_index(&key) > before.service_index(&key));
        }
        let failed = node_check(Status::Critical, "2 GB free");
        assert_eq!(world.work(Work::Settled, failed), size);
        let facts = NodeFacts {
            meta: [("rack", "7")].into_iter().collect(),
            ..NodeFacts::new("n1", Host::new("10.0.0.1"))
        };
        let described = Command::PutNode {
            node: Arc::new(facts),
            terms: None,
            expect: None,
        };
        assert_eq!(world.work(Work::Settled, described), 0);
    }
}

#[test]
fn the_index_and_the_count_of_a_prefix_follow_its_ends() {
    let mut looked = Vec::new();
    for size in [10_000, 100_000] {
        let mut world = World::new();
        for key in 0..size {
            let put = Put::new(
                Keyspace::ConsulKv,
                format!("a/{key:06}").as_str().into(),
                "v".into(),
            );
            world.ok(Command::Write(Write::one(Op::Put(Box::new(put)))));
        }
        let gone = Op::Delete {
            space: Keyspace::ConsulKv,
            range: KeyRange::prefix(format!("a/{:03}", size / 1000 - 1).as_bytes()),
            expect: Expect::Any,
        };
        world.ok(Command::Write(Write::one(gone)));
        taken(Work::Looked);
        let most = KeyRange::Between(
            "a/000007".into(),
            format!("a/{:06}", size - 3).as_str().into(),
        );
        let removed = world.0.records_index(Keyspace::ConsulKv, &most);
        assert_eq!(removed, world.0.revision());
        assert!(world.0.count(Keyspace::ConsulKv, &most) < size);
        looked.push(taken(Work::Looked));
    }
    assert!(
        looked[1] <= looked[0] + 12 && looked[1] < 60,
        "nodes looked at: {looked:?}"
    );
}

#[test]
fn a_layout_wakes_in_slices() {
    for size in [500, 5000] {
        let mut world = World::new();
        world.ok(Command::RaiseLevel {
            level: stored::LEVEL,
        });
        world.instances(size);
        let kitex: Arc<str> = "kitex".into();
        let set = Command::SetLayout {
            layout: kitex.clone(),
            state: Some(LayoutState::asleep(Form::Kitex)),
        };
        world.ok(set);
        let below = KeyRange::prefix(b"kitex/registry-etcd/");
        let mut wakes = 0;
        while world.0.sleeping_layout(Keyspace::Etcd, &below).is_some() {
            let rendered = world.work(
                Work::Rendered,
                Command::Wake {
                    layout: kitex.clone(),
                },
            );
            assert!(rendered <= 1000, "{rendered} endpoints at once");
            wakes += 1;
            if wakes == 2 {
                assert_eq!(world.0.waking().count(), 1);
                // Whatever changes meanwhile is derived at once, on either side of where the waking has come to.
                for id in [0, size - 1] {
                    let key = InstanceKey::consul(&NodeName::new("n1"), &format!("i{id}"));
                    world.ok(Command::Deregister {
                        target: Target::Instance(key),
                        expect: None,
                    });
                }
                world.0 = restored(&world.0);
            }
        }
        let gone = if wakes > 1 { 2 } else { 0 };
        assert_eq!(wakes, size.div_ceil(1000), "{size} endpoints");
        assert_eq!(world.0.count(Keyspace::Etcd, &below), size - gone);
        assert_eq!(world.0.waking().count(), 0);
        let awake = world
            .0
            .layouts()
            .all(|(_, layout)| layout.mode == Mode::Awake);
        assert!(awake);
    }
}

fn restored(state: &State) -> State {
    let mut restore = stored::Restore::new();
    stored::snapshot(state, |record| restore.record(record)).unwrap();
    restore.finish().unwrap()
}

#[test]
fn sessions_and_empty_services_are_found_where_they_are() {
    let mut world = World::new();
    world.instances(20);
    let node = NodeName::new("n1");
    world.ok(Command::PutNode {
        node: Arc::new(NodeFacts::new("n2", Host::new("10.0.0.2"))),
        terms: None,
        expect: None,
    });
    for (id, node) in [(1, "n1"), (2, "n2"), (3, "n1")] {
        let id = SessionId([id; 16]);
        let session = Session {
            id,
            node: NodeName::new(node),
            name: Arc::default(),
            behaviour: Behaviour::Release,
            lock_delay_ms: 0,
            ttl_ms: 0,
            node_checks: Arc::default(),
            service_checks: Arc::default(),
            created: Revision(0),
            modified: Revision(0),
        };
        world.ok(Command::Grant {
            lease: LeaseId::Session(id),
            terms: None,
            session: Some(Box::new(session)),
        });
    }
    assert_eq!(world.0.services_on(&node).count(), 10);
    for id in [0, 10] {
        let key = InstanceKey::consul(&node, &format!("i{id}"));
        world.ok(Command::Deregister {
            target: Target::Instance(key),
            expect: None,
        });
    }
    let empty = |state: &State| -> Vec<String> {
        state
            .empty_services()
            .map(|(key, _)| key.to_string())
            .collect()
    };
    assert_eq!(
        (empty(&world.0), world.0.services_on(&node).count()),
        (vec!["s0".into()], 9)
    );
    let again = restored(&world.0);
    assert_eq!(
        (empty(&again), again.services_on(&node).count()),
        (vec!["s0".into()], 9)
    );
    world.ok(Command::DropNode {
        name: node,
        expect: None,
    });
    let left: Vec<_> = world.0.sessions().map(|session| session.id).collect();
    assert_eq!(left, [SessionId([2; 16])]);
    assert_eq!(empty(&world.0).len(), 10);
}
