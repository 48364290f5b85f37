//! A state of elsewhere takes the place of the present one.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::servers::{self, ServerRecord};
use portolan_catalog::*;

use crate::support::*;

/// A catalog whose only server has this name and id.
fn of_server(name: &str, id: &str) -> World {
    let mut world = World {
        state: State::default(),
        clock: 2_000_000,
    };
    let mut node = NodeFacts::new(name, Host::new("10.0.0.1"));
    node.id = id.into();
    let key = InstanceKey::new(Protocol::Portolan, format!("{}/consul", node.name));
    let endpoint = Endpoint::new(Host::new("10.0.0.1"), 8300);
    let mut service = Registration::new(key, ServiceKey::plain("consul"), endpoint);
    (service.node, service.inherits_host) = (node.name.clone(), true);
    let check = CheckFacts::new(CheckKey::new(&node.name, "serfHealth"), "Serf");
    world.run(Command::Bootstrap(Box::new(Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: Vec::new(),
    })));
    world.ok(Command::RaiseLevel {
        level: stored::LEVEL,
    });
    world
}

/// A state as parts of about this many bytes.
fn parts(state: &State, length: usize) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let written: Result<(), Infallible> = stored::snapshot(state, |record| {
        if parts.last().is_some_and(|part| part.len() >= length) {
            parts.push(Vec::new());
        }
        let part = parts.last_mut().unwrap();
        part.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
        part.extend_from_slice(record);
        Ok(())
    });
    let Ok(()) = written;
    parts
}

fn commands(attempt: u64, parts: Vec<Vec<u8>>) -> Vec<Command> {
    let last = parts.len() - 1;
    parts
        .into_iter()
        .enumerate()
        .map(|(at, records)| {
            Command::Restore(RestorePart {
                attempt,
                part: u32::try_from(at).unwrap(),
                last: at == last,
                records: Bytes::from(records),
            })
        })
        .collect()
}

/// What was backed up: a service, keys, a lease.
fn backup() -> World {
    let mut world = of_server("old", "11111111-1111-4111-8111-111111111111");
    world.ok(Command::Grant {
        lease: LeaseId::Etcd(7),
        terms: Some(Terms::strict(60_000)),
        session: None,
    });
    let key = InstanceKey::new(Protocol::Native, "web/a");
    let endpoint = Endpoint::new(Host::new("10.0.0.9"), 80);
    let facts = Registration::new(key, ServiceKey::plain("web"), endpoint);
    world.ok(Command::Register(Box::new(Register::new(facts))));
    for round in 0..5 {
        world.ok(put("kept", &format!("{round}")));
    }
    world.ok(Command::Write(
        ServerRecord {
            node: 9,
            name: "old".to_owned(),
            ..ServerRecord::default()
        }
        .write(),
    ));
    world
}

#[test]
fn rows_are_as_they_were_and_revisions_go_on() {
    let old = backup();
    let mut world = of_server("new", "22222222-2222-4222-8222-222222222222");
    world.ok(Command::Write(
        ServerRecord {
            node: 1,
            name: "new".to_owned(),
            ..ServerRecord::default()
        }
        .write(),
    ));
    for round in 0..40 {
        world.ok(put("lost", &format!("{round}")));
    }
    let before = world.state.clone();
    let commands = commands(3, parts(&old.state, 1));
    assert!(commands.len() > 3, "several parts");
    let count = commands.len();
    for (at, command) in commands.into_iter().enumerate() {
        let applied = world.run(command);
        assert!(applied.settled.outcome.is_ok(), "part {at}");
        assert_eq!(applied.replaced, at + 1 == count);
    }
    let now = &world.state;
    let revision = now.revision();
    assert!(revision > before.revision() && revision > old.state.revision());
    assert!(world.record("lost").is_none());
    let kept = world.record("kept").unwrap();
    assert_eq!(Some(kept), old.record("kept"));
    assert_eq!(now.floor(Some(Keyspace::Etcd)), revision);
    assert_eq!(now.restored(), revision);
    let web = ServiceKey::plain("web");
    assert_eq!(now.instances(&web).count(), 1);
    assert_eq!(now.service_index(&web), revision);
    assert_eq!(now.service_index(&ServiceKey::plain("never")), revision);
    assert_eq!(now.marks().nodes, revision);
    assert_eq!(now.leases().count(), 1);
    // The servers are those of this cluster, with their addresses.
    let consul = now.instances(&ServiceKey::plain("consul"));
    let nodes: Vec<_> = consul.map(|row| row.node.to_string()).collect();
    assert_eq!(nodes, ["new"]);
    let old_node = NodeName::new("old");
    assert!(now.node(&old_node).is_none());
    assert!(servers::of(now, 9).is_none() && servers::of(now, 1).is_some());
    assert_eq!(
        now.node(&NodeName::new("new")).unwrap().id,
        before.node(&NodeName::new("new")).unwrap().id
    );
    // It goes on like any other, and can be kept in its turn.
    assert_eq!(world.ok(put("next", "1")), revision.0 + 1);
    let mut again = of_server("new", "22222222-2222-4222-8222-222222222222");
    for command in self::commands(4, parts(&world.state, 1000)) {
        again.ok(command);
    }
    assert!(again.record("next").is_some());
}

#[test]
fn a_server_of_the_same_name_keeps_its_own_id() {
    let old = backup();
    for (name, id) in [
        ("old", "33333333-3333-4333-8333-333333333333"),
        ("other", "11111111-1111-4111-8111-111111111111"),
    ] {
        let mut world = of_server(name, id);
        for command in commands(1, parts(&old.state, 500)) {
            world.ok(command);
        }
        let nodes: Vec<_> = world
            .state
            .nodes()
            .map(|node| (node.name.to_string(), node.id.to_string()))
            .collect();
        assert_eq!(nodes, [(name.to_owned(), id.to_owned())]);
    }
}

#[test]
fn parts_out_of_turn_and_what_is_no_state_change_nothing() {
    let old = backup();
    let mut world = of_server("new", "22222222-2222-4222-8222-222222222222");
    let revision = world.ok(put("k", "v"));
    let all = commands(5, parts(&old.state, 1));
    world.ok(all[0].clone());
    world.ok(all[1].clone());
    let refused = |world: &mut World, command: &Command| {
        let applied = world.run(command.clone());
        assert!(!applied.replaced && applied.batch.is_none());
        applied.settled.outcome.unwrap_err()
    };
    assert_eq!(refused(&mut world, &all[3]), Refusal::Stale);
    let other = commands(6, parts(&old.state, 1));
    assert_eq!(refused(&mut world, &other[2]), Refusal::Stale);
    // What has come goes through a snapshot, so that a server that starts in between can go on.
    let mut copy = World {
        state: restored_from(&world.state),
        clock: world.clock,
    };
    for command in &all[2..] {
        copy.ok(command.clone());
    }
    assert!(copy.record("kept").is_some());
    // Another attempt takes its place; a whole without an end is refused, and the catalog is as it was.
    let cut = commands(
        7,
        parts(&old.state, 1 << 20)
            .into_iter()
            .map(|mut part| {
                part.truncate(part.len() / 2);
                part
            })
            .collect(),
    );
    for command in &cut {
        assert!(matches!(refused(&mut world, command), Refusal::BadValue(_)));
    }
    assert_eq!(world.state.revision(), Revision(revision));
    assert!(world.record("k").is_some());
    // Nobody goes on with one that has waited for long.
    world.ok(all[0].clone());
    world.clock += 700_000;
    assert_eq!(refused(&mut world, &all[1]), Refusal::Stale);
}

fn restored_from(state: &State) -> State {
    let mut restore = stored::Restore::new();
    stored::snapshot(state, |record| restore.record(record)).unwrap();
    restore.finish().unwrap()
}

#[test]
fn members_of_an_earlier_level_are_not_asked() {
    let mut world = World::new();
    let old = backup();
    for command in commands(1, parts(&old.state, 1 << 20)) {
        let entry = world.entry(command);
        let refused = stored::encode_entry(&entry, 3, &mut Vec::new());
        assert_eq!(refused, Err(Refusal::Limit(limits::LEVEL)));
        let applied = world.state.apply(&entry);
        assert_eq!(applied.settled.outcome, Err(Refusal::Limit(limits::LEVEL)));
    }
}
