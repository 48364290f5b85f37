//! Records with several instances, and layouts of other keyspaces than etcd's.

use std::sync::Arc;

use portolan_catalog::layout::{Form, LayoutState, Mode, Template};
use portolan_catalog::*;

use crate::support::*;

/// An instance of a record as a front end would recognise several: with a key of its own.
fn part(id: &str, service: &str, host: &str) -> Arc<Registration> {
    let key = InstanceKey::new(Protocol::Kubernetes, id);
    let mut facts = Registration::new(
        key,
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), 80),
    );
    facts.via = Via::Record;
    Arc::new(facts)
}

fn slice(key: &str, parts: Vec<Arc<Registration>>) -> Command {
    write(Op::Put(Box::new(Put {
        recognised: parts,
        ..Put::new(Keyspace::Kubernetes, key.into(), "{}".into())
    })))
}

fn hosts(world: &World, service: &str) -> Vec<String> {
    let rows = world.state.instances(&ServiceKey::plain(service));
    rows.map(|row| row.host().to_string()).collect()
}

#[test]
fn one_record_may_be_several_instances() {
    let mut world = World::new();
    let record = |world: &World| world.state.record(Keyspace::Kubernetes, b"ns/s1").cloned();
    world.ok(slice(
        "ns/s1",
        vec![
            part("ns/s1/0", "web", "10.0.0.1"),
            part("ns/s1/1", "web", "10.0.0.2"),
        ],
    ));
    assert_eq!(hosts(&world, "web"), ["10.0.0.1", "10.0.0.2"]);
    let row = world
        .state
        .instance(&InstanceKey::new(Protocol::Kubernetes, "ns/s1/1"))
        .unwrap();
    assert_eq!(
        world.state.record_of(row),
        Some((Keyspace::Kubernetes, "ns/s1".into()))
    );

    world.ok(slice(
        "ns/s1",
        vec![
            part("ns/s1/1", "web", "10.0.0.9"),
            part("ns/s1/2", "api", "10.0.0.3"),
        ],
    ));
    assert_eq!(
        (hosts(&world, "web"), hosts(&world, "api")),
        (vec!["10.0.0.9".into()], vec!["10.0.0.3".into()])
    );

    let taken = slice(
        "ns/s2",
        vec![
            part("ns/s2/0", "web", "10.0.0.4"),
            part("ns/s1/2", "web", "10.0.0.5"),
        ],
    );
    let outcome = world.run(taken).settled.outcome;
    assert_eq!(
        outcome,
        Err(Refusal::Reserved("kubernetes:ns/s1/2".into())),
        "it is in the other record"
    );
    let twice = slice(
        "ns/s2",
        vec![part("x", "web", "10.0.0.4"), part("x", "web", "10.0.0.5")],
    );
    assert_eq!(
        world.run(twice).settled.outcome,
        Err(Refusal::Reserved("kubernetes:x".into()))
    );

    world.ok(deregister(InstanceKey::new(
        Protocol::Kubernetes,
        "ns/s1/1",
    )));
    assert!(
        record(&world).is_some(),
        "the other instance is still in it"
    );
    world.ok(deregister(InstanceKey::new(
        Protocol::Kubernetes,
        "ns/s1/2",
    )));
    assert!(record(&world).is_none(), "nothing is in it any more");

    world.ok(slice(
        "ns/s1",
        vec![
            part("ns/s1/0", "web", "10.0.0.1"),
            part("ns/s1/1", "web", "10.0.0.2"),
        ],
    ));
    world.ok(write(Op::Delete {
        space: Keyspace::Kubernetes,
        range: KeyRange::prefix(b"ns/"),
        expect: Expect::Any,
    }));
    assert_eq!(world.state.instances(&ServiceKey::plain("web")).count(), 0);
}

#[test]
fn a_record_with_several_instances_goes_through_a_snapshot() {
    let mut world = World::new();
    world.ok(slice(
        "ns/s1",
        vec![
            part("ns/s1/0", "web", "10.0.0.1"),
            part("ns/s1/1", "web", "10.0.0.2"),
        ],
    ));
    let mut restore = stored::Restore::new();
    stored::snapshot(&world.state, |record| restore.record(record)).unwrap();
    let mut again = World {
        state: restore.finish().unwrap(),
        clock: world.clock,
    };
    assert!(again.state.same_rows(&world.state));
    again.ok(deregister(InstanceKey::new(
        Protocol::Kubernetes,
        "ns/s1/0",
    )));
    again.ok(deregister(InstanceKey::new(
        Protocol::Kubernetes,
        "ns/s1/1",
    )));
    assert!(again.state.record(Keyspace::Kubernetes, b"ns/s1").is_none());
}

fn tree(mode: Mode) -> Command {
    let form = Form::Template(Template::parse("znodes:/services/{service}/{address}").unwrap());
    Command::SetLayout {
        layout: "tree".into(),
        state: Some(LayoutState {
            form,
            mode,
            level: 1,
        }),
    }
}

fn children(world: &World, path: &str) -> Option<(i64, i64)> {
    match &world
        .state
        .record(Keyspace::Znodes, &Key::znode(path))?
        .extension
    {
        Extension::Znode(node) => Some((node.children, node.creates)),
        other => panic!("{other:?}"),
    }
}

fn create(path: &str) -> Command {
    write(Op::Put(Box::new(Put {
        create: Some(ZnodeKind::Persistent),
        ..Put::new(Keyspace::Znodes, Key::znode(path), "".into())
    })))
}

#[test]
fn derived_znodes_are_counted_by_their_parents() {
    let mut world = World::new();
    world.ok(tree(Mode::Awake));
    world.ok(register(eureka("web", "a", "10.0.0.1", 80)));
    world.ok(register(eureka("web", "b", "10.0.0.2", 80)));
    let value = |world: &World, path: &str| {
        let record = world.state.record(Keyspace::Znodes, &Key::znode(path))?;
        Some((record.bytes(), record.derived_from.is_some()))
    };
    assert_eq!(
        value(&world, "/services/web/10.0.0.1:80"),
        Some(("10.0.0.1:80".into(), true))
    );
    assert_eq!(
        value(&world, "/services/web"),
        Some(("".into(), false)),
        "the way there"
    );
    assert_eq!(children(&world, "/services/web"), Some((2, 2)));
    assert_eq!(children(&world, "/services"), Some((1, 1)));
    assert_eq!(children(&world, ""), Some((1, 1)));
    world.ok(deregister(eureka_key("web", "a")));
    assert_eq!(children(&world, "/services/web"), Some((1, 2)));
    let gone = write(Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(Key::znode("/services/web")),
        expect: Expect::Any,
    });
    assert_eq!(world.run(gone).settled.outcome, Err(Refusal::NotEmpty));

    // A client's znode takes the place of the derived one, and gives it back.
    world.ok(create("/services/web/10.0.0.2:80"));
    assert_eq!(children(&world, "/services/web"), Some((1, 3)));
    assert_eq!(
        value(&world, "/services/web/10.0.0.2:80"),
        Some(("".into(), false))
    );
    world.ok(write(Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(Key::znode("/services/web/10.0.0.2:80")),
        expect: Expect::Any,
    }));
    assert_eq!(children(&world, "/services/web"), Some((1, 4)));
    assert_eq!(
        value(&world, "/services/web/10.0.0.2:80").map(|v| v.1),
        Some(true)
    );
    world.ok(tree(Mode::Off));
    assert_eq!(children(&world, "/services/web"), Some((0, 4)));
}

#[test]
fn a_znode_is_recognised_and_read_by_the_layout_of_its_keyspace() {
    let mut world = World::new();
    world.ok(tree(Mode::Asleep));
    world.ok(register(eureka("web", "a", "10.0.0.1", 80)));
    assert!(
        world
            .state
            .record(Keyspace::Znodes, &Key::znode("/services/web/10.0.0.1:80"))
            .is_none()
    );
    let read = KeyRange::prefix(b"/services/web\0");
    assert_eq!(
        world
            .state
            .sleeping_layout(Keyspace::Znodes, &read)
            .map(|name| &**name),
        Some("tree")
    );
    world.ok(create("/services"));
    world.ok(create("/services/web"));
    let key = Key::znode("/services/web/10.0.0.7:80");
    let (_, facts) =
        layout::recognise(world.state.layouts(), Keyspace::Znodes, &key, b"x").unwrap();
    world.ok(write(Op::Put(Box::new(Put {
        create: Some(ZnodeKind::Persistent),
        recognised: vec![Arc::new(facts)],
        ..Put::new(Keyspace::Znodes, key.clone(), "x".into())
    }))));
    assert_eq!(hosts(&world, "web"), ["10.0.0.1", "10.0.0.7"]);
    assert_eq!(
        children(&world, "/services/web"),
        Some((2, 2)),
        "its own, and the one derived when it woke the layout"
    );
    world.ok(write(Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(key),
        expect: Expect::Any,
    }));
    assert_eq!(hosts(&world, "web"), ["10.0.0.1"]);
    assert_eq!(children(&world, "/services/web"), Some((1, 2)));
}
