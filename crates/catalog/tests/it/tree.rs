//! The tree of znodes: order of checks, counters, sequences, ACLs, sessions.

use std::sync::Arc;

use portolan_catalog::*;

use crate::support::*;

/// A catalog whose members know the tree.
fn world() -> World {
    let mut world = World::new();
    world.ok(Command::RaiseLevel {
        level: stored::LEVEL,
    });
    world
}

fn znode(path: &str) -> Put {
    Put {
        create: Some(ZnodeKind::Persistent),
        extension: Some(Extension::Znode(Arc::default())),
        ..Put::new(Keyspace::Znodes, Key::znode(path), "x".into())
    }
}

fn create(put: Put) -> Op {
    Op::Put(Box::new(put))
}

fn sequential(parent: &str, name: &str) -> Op {
    create(Put {
        key: Key::znode_child(parent, name),
        sequential: true,
        ..znode("/")
    })
}

fn set(path: &str, expect: Expect) -> Op {
    let put = Put {
        keep_lease: true,
        expect,
        ..Put::new(Keyspace::Znodes, Key::znode(path), "y".into())
    };
    Op::Put(Box::new(put))
}

fn delete(path: &str, expect: Expect) -> Op {
    Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(Key::znode(path)),
        expect,
    }
}

fn check(path: &str, expect: Expect) -> Op {
    Op::Check {
        space: Keyspace::Znodes,
        key: Key::znode(path),
        expect,
    }
}

fn set_acl(path: &str, permissions: i32, version: Option<i32>) -> Op {
    let entry = AclEntry {
        permissions,
        scheme: "digest".into(),
        id: "ann:x".into(),
    };
    Op::SetAcl {
        key: Key::znode(path),
        acl: Acl::new(vec![entry]),
        version,
    }
}

fn by(who: &str, ops: Vec<Op>) -> Command {
    let identity = Identity {
        scheme: "digest".into(),
        id: who.into(),
    };
    Command::Tree(TreeWrite {
        who: Some([identity].into()),
        session: None,
        ops,
    })
}

fn node(world: &World, path: &str) -> Znode {
    world.state.znode(&Key::znode(path)).unwrap().znode()
}

#[test]
fn each_operation_is_refused_by_the_first_check_that_fails() {
    let mut world = world();
    let lease = LeaseId::ZooKeeper(7);
    world.ok(Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(4000)),
        session: None,
    });
    world.ok(by(
        "ann:x",
        vec![create(znode("/a")), create(znode("/a/b"))],
    ));
    world.ok(by(
        "ann:x",
        vec![create(Put {
            create: Some(ZnodeKind::Ephemeral),
            lease: Some(lease.clone()),
            ..znode("/e")
        })],
    ));
    world.ok(by(
        "ann:x",
        vec![create(znode("/closed")), set_acl("/closed", 31, Some(0))],
    ));
    let owned = |path: &str, lease| {
        create(Put {
            create: Some(ZnodeKind::Ephemeral),
            lease: Some(lease),
            ..znode(path)
        })
    };
    let rows: [(Op, Refusal); 16] = [
        (create(znode("/no/where")), Refusal::NoKey),
        (create(znode("/a")), Refusal::Exists),
        (create(znode("/zookeeper")), Refusal::Exists),
        (create(znode("/e/child")), Refusal::EphemeralParent),
        (create(znode("/closed/child")), Refusal::Denied),
        (owned("/f", LeaseId::ZooKeeper(8)), Refusal::NoLease),
        (delete("/none", Expect::Any), Refusal::NoKey),
        (delete("/a", Expect::Any), Refusal::NotEmpty),
        (delete("/a", Expect::Version(7)), Refusal::BadVersion),
        (
            delete("/zookeeper/quota", Expect::Any),
            Refusal::Reserved("/zookeeper/quota".into()),
        ),
        (set("/none", Expect::Any), Refusal::NoKey),
        (set("/a", Expect::Version(2)), Refusal::BadVersion),
        (set("/closed", Expect::Any), Refusal::Denied),
        (check("/closed", Expect::Present), Refusal::Denied),
        (check("/none", Expect::Present), Refusal::NoKey),
        (set_acl("/a", 1, Some(3)), Refusal::BadVersion),
    ];
    for (op, refusal) in rows {
        let before = world.clone();
        let told = format!("{op:?}");
        let applied = world.run(by("bob:x", vec![check("/", Expect::Present), op]));
        assert_eq!(
            applied.settled.outcome,
            Err(Refusal::Ops(vec![(1, refusal)])),
            "{told}"
        );
        assert!(
            applied.batch.is_none() && world.state.same_rows(&before.state),
            "{told}"
        );
    }
    let late = Command::Tree(TreeWrite {
        who: None,
        session: Some(8),
        ops: vec![create(znode("/late"))],
    });
    assert_eq!(world.run(late).settled.outcome, Err(Refusal::NoLease));
    world.ok(Command::Revoke { lease });
    assert!(world.state.znode(&Key::znode("/e")).is_none());
}

#[test]
fn parents_count_and_number_their_children() {
    let mut world = world();
    assert_eq!(node(&world, "/").creates, 0);
    world.ok(by("", vec![create(znode("/p"))]));
    let made = world.run(by(
        "",
        vec![
            sequential("/p", "s-"),
            create(znode("/p/plain")),
            sequential("/p", ""),
        ],
    ));
    let Ok(Done::Written(written)) = made.settled.outcome else {
        panic!("refused")
    };
    let paths: Vec<String> = written
        .results
        .iter()
        .map(|done| match done {
            OpDone::Put { key, .. } => key.znode_path(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, ["/p/s-0000000000", "/p/plain", "/p/0000000002"]);
    let revision = made.settled.revision;
    let parent = node(&world, "/p");
    assert_eq!(
        (parent.creates, parent.children, parent.children_modified),
        (3, 3, revision)
    );
    let record = world.state.znode(&Key::znode("/p")).unwrap();
    assert!(
        record.modified < revision && record.version == 1,
        "its own data did not change"
    );
    world.ok(by("", vec![delete("/p/plain", Expect::Version(1))]));
    assert_eq!(
        (node(&world, "/p").creates, node(&world, "/p").children),
        (3, 2)
    );
    // Nodes of the beginning have a row once something about them changes, and are not new then.
    world.ok(by(
        "",
        vec![
            create(znode("/zookeeper/quota/p")),
            set("/", Expect::Version(1)),
        ],
    ));
    assert_eq!(node(&world, "/zookeeper/quota").children, 1);
    let root = world.state.znode(&Key::znode("/")).unwrap();
    assert_eq!((root.created, root.version), (Revision(0), 2));
}

#[test]
fn a_create_and_a_delete_in_one_command_are_both_seen() {
    let mut world = world();
    let applied = world.run(by("", vec![create(znode("/a")), delete("/a", Expect::Any)]));
    assert_eq!(
        record_events(&applied),
        ["PUT \0a v1", "PUT  v1", "DELETE \0a"]
    );
    let mut earlier = World::new();
    let applied = earlier.run(by("", vec![create(znode("/a")), delete("/a", Expect::Any)]));
    assert_eq!(
        record_events(&applied),
        ["PUT  v1"],
        "as it was before level 3"
    );
}

#[test]
fn a_session_may_get_other_terms_while_it_lives() {
    let mut world = world();
    let lease = LeaseId::ZooKeeper(1);
    let other = Command::Retime {
        lease: lease.clone(),
        terms: Terms::strict(9000),
    };
    assert_eq!(
        world.run(other.clone()).settled.outcome,
        Err(Refusal::NoLease)
    );
    world.ok(Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(4000)),
        session: None,
    });
    let late = lapse(&world, &lease);
    world.ok(other);
    assert_eq!(
        world.state.lease(&lease).map(|l| l.terms.ttl_ms()),
        Some(9000)
    );
    assert_eq!(world.run(late).settled.outcome, Err(Refusal::Stale));
}
