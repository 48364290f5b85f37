//! Layouts of the tree of znodes: Curator's discovery with its dialects, and Dubbo by interface.

use std::sync::Arc;

use portolan_catalog::layout::{self, Dialect, Form, LayoutState};
use portolan_catalog::*;
use serde_json::Value;

use crate::support::*;

fn world(form: &Form) -> World {
    let mut world = World::new();
    world.ok(Command::RaiseLevel {
        level: stored::LEVEL,
    });
    world.ok(set(form));
    world
}

fn set(form: &Form) -> Command {
    Command::SetLayout {
        layout: "tree".into(),
        state: Some(LayoutState::asleep(form.clone())),
    }
}

fn curator() -> Form {
    Form::Curator {
        root: "/services".into(),
        dialect: Dialect::Open,
    }
}

fn dubbo() -> Form {
    Form::Dubbo {
        root: "/dubbo".into(),
    }
}

/// A client's node, with what a front end recognises in it.
fn write(world: &World, path: &str, value: &str, sequential: bool) -> Op {
    let whole = if sequential {
        format!("{path}0000000000")
    } else {
        path.to_owned()
    };
    let key = Key::znode(&whole);
    let found = layout::recognise(
        world.state.layouts(),
        Keyspace::Znodes,
        &key,
        value.as_bytes(),
    );
    Op::Put(Box::new(Put {
        create: Some(ZnodeKind::Persistent),
        sequential,
        recognised: found
            .into_iter()
            .map(|(_, facts)| Arc::new(facts))
            .collect(),
        ..Put::new(Keyspace::Znodes, Key::znode(path), value.to_owned().into())
    }))
}

fn tree(ops: Vec<Op>) -> Command {
    Command::Tree(TreeWrite {
        who: None,
        session: None,
        ops,
    })
}

fn value(world: &World, path: &str) -> Option<String> {
    let record = world.state.znode(&Key::znode(path))?;
    Some(String::from_utf8(record.bytes().to_vec()).unwrap())
}

fn below(world: &World, path: &str) -> Vec<String> {
    let range = KeyRange::prefix(format!("{path}\0").as_bytes());
    let rows = world.state.range(Keyspace::Znodes, &range);
    rows.map(|(key, _)| key.znode_path()).collect()
}

const NODE: &str = r#"{"name":"web","id":"i1","address":"10.0.0.1","port":80,"sslPort":443,"payload":PAYLOAD,"registrationTimeUTC":1,"serviceType":"DYNAMIC","uriSpec":null}"#;
const SPRING: &str = r#"{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"a-1","name":"web","metadata":{"instance_status":"UP","zone":"z1"}}"#;
const DUBBO: &str = r#"{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"10.0.0.1:80","name":"web","metadata":{"dubbo.metadata.revision":"1"}}"#;

#[test]
fn a_node_of_each_dialect_is_an_instance_and_decides_how_others_are_shown() {
    for (payload, dialect, class) in [
        ("null", Dialect::Plain, None),
        (
            SPRING,
            Dialect::Spring,
            Some("org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"),
        ),
        (
            DUBBO,
            Dialect::Dubbo,
            Some("org.apache.dubbo.registry.zookeeper.ZookeeperInstance"),
        ),
    ] {
        let mut world = world(&curator());
        world.ok(register(eureka("web", "b", "10.0.0.2", 81)));
        assert_eq!(below(&world, "/services"), [""; 0], "asleep");
        world.ok(tree(vec![
            write(&world, "/services", "", false),
            write(&world, "/services/web", "", false),
        ]));
        let node = NODE.replace("PAYLOAD", payload);
        world.ok(tree(vec![write(&world, "/services/web/i1", &node, false)]));
        let rows: Vec<_> = world
            .state
            .instances(&ServiceKey::plain("web"))
            .cloned()
            .collect();
        let own = rows
            .iter()
            .find(|row| row.key.origin == Protocol::ZooKeeper)
            .unwrap();
        assert_eq!(own.key.to_string(), "zookeeper:/services/web/i1");
        assert_eq!(
            (own.host().to_string(), own.endpoint.port()),
            ("10.0.0.1".into(), 80)
        );
        assert_eq!(own.endpoint.ports[1].number, 443);
        let form = world
            .state
            .layouts()
            .find(|(name, _)| &***name == "tree")
            .map(|(_, l)| l.form.clone());
        assert_eq!(
            form,
            Some(Form::Curator {
                root: "/services".into(),
                dialect
            })
        );
        // The other instance is there, in the same words.
        let paths = below(&world, "/services/web");
        assert_eq!(paths.len(), 2, "{paths:?}");
        let other = paths
            .iter()
            .find(|path| *path != "/services/web/i1")
            .unwrap();
        let shown: Value = serde_json::from_str(&value(&world, other).unwrap()).unwrap();
        assert_eq!(shown["address"], "10.0.0.2");
        assert_eq!(shown["port"], 81);
        assert_eq!(shown["payload"]["@class"].as_str(), class);
        assert_eq!(shown["id"].as_str(), other.rsplit('/').next());
        // Every start says it again.
        world.ok(set(&curator()));
        assert_eq!(below(&world, "/services/web").len(), 2);
        // The client's node goes with its instance, and the other way round.
        world.ok(deregister(own.key.clone()));
        assert_eq!(below(&world, "/services/web").len(), 1);
    }
}

#[test]
fn levels_on_the_way_to_derived_nodes_are_containers() {
    let mut world = world(&curator());
    world.ok(Command::Wake {
        layout: "tree".into(),
    });
    world.ok(register(eureka("web", "b", "10.0.0.2", 81)));
    let node = |world: &World, path: &str| world.state.znode(&Key::znode(path)).map(|r| r.znode());
    assert_eq!(
        node(&world, "/services/web").map(|n| n.kind),
        Some(ZnodeKind::Container)
    );
    assert_eq!(
        node(&world, "/").map(|n| n.kind),
        Some(ZnodeKind::Persistent)
    );
    world.ok(deregister(eureka_key("web", "b")));
    assert_eq!(
        node(&world, "/services/web").map(|n| (n.creates, n.children)),
        Some((1, 0))
    );
    let passing: Vec<String> = world
        .state
        .passing_znodes()
        .map(|(key, _)| key.znode_path())
        .collect();
    assert_eq!(passing, ["/services", "/services/web"]);
}

#[test]
fn a_numbered_node_is_an_instance_under_its_final_name() {
    let mut world = world(&curator());
    world.ok(tree(vec![
        write(&world, "/services", "", false),
        write(&world, "/services/web", "", false),
    ]));
    let node = NODE.replace("PAYLOAD", "null");
    world.ok(tree(vec![write(&world, "/services/web/i1", &node, true)]));
    let keys: Vec<_> = world
        .state
        .instances(&ServiceKey::plain("web"))
        .map(|row| row.key.to_string())
        .collect();
    assert_eq!(keys, ["zookeeper:/services/web/i10000000000"]);
    world.ok(tree(vec![Op::Delete {
        space: Keyspace::Znodes,
        range: KeyRange::One(Key::znode("/services/web/i10000000000")),
        expect: Expect::Any,
    }]));
    assert_eq!(world.state.instances(&ServiceKey::plain("web")).count(), 0);
}

#[test]
fn dubbo_s_providers_go_both_ways() {
    let mut world = world(&dubbo());
    let url = "tri%3A%2F%2F10.0.0.1%3A50051%2Fcom.foo.Bar%3Fapplication%3Da%26group%3Dg%26interface%3Dcom.foo.Bar%26methods%3Da%2Cb%26version%3D2.0%26weight%3D50";
    for path in [
        "/dubbo",
        "/dubbo/com.foo.Bar",
        "/dubbo/com.foo.Bar/providers",
    ] {
        world.ok(tree(vec![write(&world, path, "", false)]));
    }
    let path = format!("/dubbo/com.foo.Bar/providers/{url}");
    world.ok(tree(vec![write(&world, &path, "", false)]));
    let service = name::read_flat("providers:com.foo.Bar:2.0:g");
    let row = world.state.instances(&service).next().cloned().unwrap();
    assert_eq!(
        (row.host().to_string(), row.endpoint.port()),
        ("10.0.0.1".into(), 50051)
    );
    assert_eq!(&*row.endpoint.ports[0].name, "tri");
    assert_eq!(row.weight, Weight(500));
    assert_eq!(row.meta.get("methods"), Some("a,b"));
    // Dubbo's clients of Nacos look for these in the metadata.
    assert_eq!(row.meta.get("protocol"), Some("tri"));
    assert_eq!(row.meta.get("path"), Some("com.foo.Bar"));
    // What Nacos' Dubbo registers shows as a provider; other services do not.
    let mut other = eureka("providers:com.foo.Baz::", "x", "10.0.0.2", 20880);
    other.facts = Arc::new(Registration {
        spelling: "providers:com.foo.Baz::".into(),
        ..(*other.facts).clone()
    });
    world.ok(register(other));
    world.ok(register(eureka("web", "y", "10.0.0.3", 80)));
    let shown = below(&world, "/dubbo/com.foo.Baz/providers");
    let [path] = &shown[..] else {
        panic!("{shown:?}")
    };
    let found = dubbo().recognise(&Key::znode(path), b"").unwrap();
    assert_eq!(found.service, name::read_flat("providers:com.foo.Baz::"));
    assert_eq!(
        (found.endpoint.host.to_string(), found.endpoint.port()),
        ("10.0.0.2".into(), 20880)
    );
    assert_eq!(
        below(&world, "/dubbo"),
        ["/dubbo/com.foo.Bar", "/dubbo/com.foo.Baz"]
    );
}

/// An instance as Dubbo registers it in Nacos, where it says what it is in its metadata.
fn dubbos(service: &str, id: &str, meta: &[(&str, &str)]) -> Command {
    let mut other = eureka(service, id, "10.0.0.2", 20880);
    other.facts = Arc::new(Registration {
        spelling: service.into(),
        meta: meta.iter().copied().collect(),
        ..(*other.facts).clone()
    });
    register(other)
}

#[test]
fn dubbo_finds_its_own_kind_before_any_payload_was_seen() {
    let mut world = World::new();
    world.ok(Command::RaiseLevel { level: 4 });
    world.ok(set(&curator()));
    world.ok(Command::Wake {
        layout: "tree".into(),
    });
    let revision = [("dubbo.metadata.revision", "5bdc")];
    world.ok(dubbos("shop", "x", &revision));
    world.ok(dubbos("web", "y", &[]));
    let payload = |world: &World, service: &str| -> (String, Value) {
        let paths = below(world, &format!("/services/{service}"));
        let [path] = &paths[..] else {
            panic!("{paths:?}")
        };
        let shown: Value = serde_json::from_str(&value(world, path).unwrap()).unwrap();
        (path.clone(), shown["payload"].clone())
    };
    // As an earlier version has it.
    assert_eq!(payload(&world, "shop").1, Value::Null);
    world.ok(Command::RaiseLevel { level: 5 });
    let (path, shown) = payload(&world, "shop");
    assert_eq!(path, "/services/shop/10.0.0.2:20880");
    assert_eq!(
        shown["@class"],
        "org.apache.dubbo.registry.zookeeper.ZookeeperInstance"
    );
    assert_eq!(shown["metadata"]["dubbo.metadata.revision"], "5bdc");
    assert_eq!(payload(&world, "web").1, Value::Null);
}

#[test]
fn a_provider_of_another_registry_keeps_its_protocol() {
    let mut world = world(&dubbo());
    world.ok(Command::Wake {
        layout: "tree".into(),
    });
    let said = [("protocol", "tri"), ("path", "com.foo.Baz")];
    world.ok(dubbos("providers:com.foo.Baz::", "x", &said));
    let shown = below(&world, "/dubbo/com.foo.Baz/providers");
    assert!(
        shown[0].contains("tri%3A%2F%2F10.0.0.2%3A20880"),
        "{shown:?}"
    );
}
