//! Laws that hold for any list of commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::*;
use proptest::prelude::*;

use crate::support::*;

const SERVICES: [&str; 3] = ["web", "Web--blue", "db"];
const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "db.example.com"];
const KEYS: [&str; 4] = ["a", "a/b", "b", "kitex/registry-etcd/web/10.0.0.1:80"];

/// Commands over few enough names that they meet.
pub(crate) fn commands(most: usize) -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 1..most)
}

fn command() -> impl Strategy<Value = Command> {
    let service = || prop::sample::select(&SERVICES[..]);
    let host = || prop::sample::select(&HOSTS[..]);
    let port = || prop::sample::select(&[0_u16, 80, 81][..]);
    let id = || prop::sample::select(&["i1", "i2", "i3"][..]);
    let key = || prop::sample::select(&KEYS[..]);
    let status = || prop::sample::select(&[Status::Passing, Status::Warning, Status::Critical][..]);
    let lease = || prop::sample::select(&[1_i64, 2][..]);
    let admins = prop::sample::select(
        &[
            None,
            Some(AdminStatus::Up),
            Some(AdminStatus::OutOfService),
            Some(AdminStatus::Down),
        ][..],
    );
    let declared = prop::sample::select(
        &[
            Declared::Up,
            Declared::Down,
            Declared::Starting,
            Declared::OutOfService,
            Declared::Unknown,
        ][..],
    );
    prop_oneof![
        4 => (service(), id(), host(), port(), declared).prop_map(|(s, i, h, p, d)| {
            let mut new = eureka(s, i, h, p);
            new.facts = Arc::new(Registration { declared: d, ..(*new.facts).clone() });
            register(new)
        }),
        4 => (service(), id(), host(), port(), any::<bool>()).prop_map(|(s, i, h, p, t)| register(consul(s, i, h, p, t))),
        2 => (service(), id()).prop_map(|(s, i)| deregister(eureka_key(s, i))),
        2 => id().prop_map(|i| deregister(InstanceKey::consul(&n1(), i))),
        3 => (id(), status()).prop_map(|(i, s)| report(i, s)),
        1 => id().prop_map(|i| Command::DropCheck { key: ttl_check(i), expect: None }),
        2 => (service(), id(), admins).prop_map(|(s, i, a)| admin(eureka_key(s, i), a, Protocol::Eureka)),
        3 => (key(), any::<u8>()).prop_map(|(k, v)| put(k, &v.to_string())),
        2 => key().prop_map(|k| delete(KeyRange::One(k.into()))),
        1 => key().prop_map(|k| delete(KeyRange::prefix(k.as_bytes()))),
        2 => (prop::sample::select(&["web", "db"][..]), host(), lease()).prop_map(|(s, h, l)| {
            kitex_put(s, &format!("{h}:80"), Some(LeaseId::Etcd(l)))
        }),
        2 => lease().prop_map(|l| Command::Grant { lease: LeaseId::Etcd(l), terms: Some(Terms::strict(5000)), session: None }),
        1 => lease().prop_map(|l| Command::Revoke { lease: LeaseId::Etcd(l) }),
        1 => (service(), id()).prop_map(|(s, i)| Command::Lapse {
            lease: LeaseId::Heartbeat(eureka_key(s, i)), stage: 0, generation: 1,
        }),
        1 => prop::sample::select(&["kitex", "services"][..]).prop_map(|l| Command::Wake { layout: l.into() }),
        1 => status().prop_map(|s| Command::Report {
            check: CheckKey::new(&n1(), "serfHealth"), status: s, output: "".into(),
        }),
        1 => prop::sample::select(&["127.0.0.1", "192.0.2.7"][..]).prop_map(|address| {
            let mut node = NodeFacts::new("n1", Host::new(address));
            node.id = "11111111-1111-4111-8111-111111111111".into();
            Command::PutNode { node: Arc::new(node), terms: None, expect: None }
        }),
        1 => (key(), key()).prop_map(|(a, b)| Command::Write(Write {
            when: vec![Compare {
                space: Keyspace::Etcd, range: KeyRange::One(a.into()), relation: Relation::Equal, comparand: Comparand::Version(0),
            }],
            then: vec![Op::Put(Box::new(put_op(a, "then"))), Op::Delete { space: Keyspace::Etcd, range: KeyRange::One(b.into()), expect: Expect::Any }],
            or_else: vec![Op::Delete { space: Keyspace::Etcd, range: KeyRange::prefix(a.as_bytes()), expect: Expect::Any }, Op::Put(Box::new(put_op(b, "else")))],
            report_all: false,
        })),
        1 => Just(Command::RaiseLevel { level: stored::LEVEL }),
        3 => prop::collection::vec(tree_op(), 1..4).prop_map(|ops| Command::Tree(TreeWrite { who: None, session: None, ops })),
        1 => service().prop_map(|s| Command::Forget { service: name::read_flat(s), protocol: None }),
    ]
}

/// Operations on a tree of few nodes.
fn tree_op() -> impl Strategy<Value = Op> {
    let path = || prop::sample::select(&["/a", "/a/b", "/zookeeper", "/c"][..]);
    let put = |path: &str| Put::new(Keyspace::Znodes, Key::znode(path), "v".into());
    prop_oneof![
        3 => (path(), any::<bool>()).prop_map(move |(p, sequential)| Op::Put(Box::new(Put {
            create: Some(ZnodeKind::Container), sequential, ..put(p)
        }))),
        1 => path().prop_map(move |p| Op::Put(Box::new(put(p)))),
        2 => path().prop_map(|p| Op::Delete {
            space: Keyspace::Znodes, range: KeyRange::One(Key::znode(p)), expect: Expect::Any,
        }),
        1 => path().prop_map(|p| Op::SetAcl { key: Key::znode(p), acl: Acl::default(), version: None }),
    ]
}

/// Whether there is one change per row; of a key of etcd or a znode also several that follow from one another, each of which puts or deletes it.
fn changes_each_row_once(changes: &[Change]) -> bool {
    let mut last = BTreeMap::new();
    changes.iter().all(|change| {
        let Some(earlier) = change.row().and_then(|row| last.insert(row, change)) else {
            return true;
        };
        match (earlier, change) {
            (
                Change::Record {
                    space: Keyspace::Etcd | Keyspace::Znodes,
                    after: between,
                    ..
                },
                Change::Record { before, after, .. },
            ) => between == before && before.is_some() != after.is_some(),
            _ => false,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changes_lead_from_each_state_to_the_next_and_back(commands in commands(60)) {
        let mut world = World::new();
        for command in commands {
            let before = world.state.clone();
            let applied = world.run(command.clone());
            let after = &world.state;
            match &applied.batch {
                None => {
                    prop_assert_eq!(after.revision(), before.revision());
                    prop_assert!(after.same_rows(&before), "rows changed without a batch: {:?}", command);
                }
                Some(batch) => {
                    prop_assert_eq!(after.revision(), before.revision().next());
                    prop_assert_eq!(batch.revision, after.revision());
                    prop_assert!(!batch.changes.is_empty());
                    prop_assert!(changes_each_row_once(&batch.changes), "more than one change of a row: {:?}", command);
                    prop_assert!(before.advanced(batch).same_rows(after), "forwards: {:?}", command);
                    prop_assert!(after.with_earlier(batch.changes.iter().rev(), before.revision()).same_rows(&before), "backwards: {:?}", command);
                }
            }
            prop_assert_eq!(applied.settled.revision, after.revision());
        }
    }

    #[test]
    fn replaying_a_log_gives_the_same_state(commands in commands(60)) {
        let (mut one, mut two) = (World::new(), World::new());
        let entries: Vec<Entry> = commands.into_iter().map(|command| one.entry(command)).collect();
        for entry in &entries {
            let (a, b) = (one.state.apply(entry), two.state.apply(entry));
            prop_assert_eq!(a.settled, b.settled);
            prop_assert_eq!(a.batch, b.batch);
            prop_assert_eq!(a.leases, b.leases);
        }
        prop_assert!(one.state.same_rows(&two.state));
        prop_assert_eq!(one.state.marks(), two.state.marks());
    }
}
