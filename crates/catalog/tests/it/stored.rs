//! What is written is what is read: entries, snapshots, and bytes that are neither.

use std::sync::Arc;

use portolan_catalog::stored::{LEVEL, Restore, decode_entries, encode_entry, snapshot};
use portolan_catalog::{
    Command, Endpoint, Entry, Host, Instance, InstanceKey, Key, Keyspace, Op, Protocol, Put,
    Refusal, Register, Registration, ServiceKey, State, Write,
};
use proptest::prelude::*;

use crate::laws::commands;
use crate::support::World;

fn records(state: &State) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let written: Result<(), ()> = snapshot(state, |record| {
        records.push(record.to_vec());
        Ok(())
    });
    written.unwrap();
    records
}

fn restore(records: &[Vec<u8>]) -> State {
    let mut restore = Restore::new();
    for record in records {
        restore.record(record).unwrap();
    }
    restore.finish().unwrap()
}

/// Every private field, indexes included.
fn whole(state: &State) -> String {
    format!("{state:?}")
}

fn entries(commands: Vec<Command>) -> Vec<Entry> {
    let mut world = World::with_layouts_awake();
    commands
        .into_iter()
        .map(|command| world.entry(command))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn entries_read_back(commands in commands(40)) {
        let entries = entries(commands);
        let mut batch = Vec::new();
        for entry in &entries {
            encode_entry(entry, LEVEL, &mut batch).unwrap();
        }
        prop_assert_eq!(decode_entries(&batch).unwrap(), entries);
    }

    #[test]
    fn damaged_entries_are_refused_or_read_and_never_panic(
        commands in commands(10),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut batch = Vec::new();
        for entry in &entries(commands) {
            encode_entry(entry, LEVEL, &mut batch).unwrap();
        }
        prop_assume!(!batch.is_empty());
        let _anything = decode_entries(&batch[..cut.index(batch.len())]);
        for (place, byte) in flips {
            let place = place.index(batch.len());
            batch[place] = byte;
        }
        let _anything = decode_entries(&batch);
        let mut restore = Restore::new();
        let _anything = restore.record(&batch);
    }

    #[test]
    fn a_restored_snapshot_is_the_state_and_goes_on_alike(
        before in commands(60),
        after in commands(20),
    ) {
        let mut world = World::with_layouts_awake();
        for command in before {
            world.run(command);
        }
        let written = records(&world.state);
        let mut restored = restore(&written);
        prop_assert_eq!(whole(&restored), whole(&world.state));
        // Rows are shared again, and equal causes are shared now: the next snapshot is no longer, and from then on the same.
        let again = records(&restored);
        let size = |records: &[Vec<u8>]| records.iter().map(Vec::len).sum::<usize>();
        prop_assert!(size(&again) <= size(&written));
        prop_assert_eq!(records(&restore(&again)), again);
        for command in after {
            let entry = world.entry(command);
            let (one, other) = (world.state.apply(&entry), restored.apply(&entry));
            prop_assert_eq!(one.settled, other.settled);
            prop_assert_eq!(one.batch, other.batch);
        }
        prop_assert_eq!(whole(&restored), whole(&world.state));
    }
}

#[test]
fn a_snapshot_holds_no_history() {
    let mut world = World::new();
    let value = "v".repeat(1000);
    for round in 0..100 {
        world.ok(crate::support::put(
            &format!("k{}", round % 10),
            &format!("{round}{value}"),
        ));
    }
    let size: usize = records(&world.state).iter().map(Vec::len).sum();
    // Ten values of a kilobyte are there.
    assert!((10_000..15_000).contains(&size), "{size}");
}

#[test]
fn instances_of_one_service_share_what_is_equal_also_after_a_restart() {
    let mut world = World::new();
    let service = ServiceKey::plain("web");
    for n in 0..3 {
        let key = InstanceKey::new(Protocol::Native, format!("web-{n}"));
        let host = Host::Ip([10, 0, 0, n].into());
        let mut facts = Registration::new(key, service.clone(), Endpoint::new(host, 80));
        facts.tags = ["blue", "v2"].map(Into::into).into();
        facts.meta = [("zone", "a")].into_iter().collect();
        world.ok(Command::Register(Box::new(Register::new(facts))));
    }
    let restored = restore(&records(&world.state));
    for state in [&world.state, &restored] {
        let rows: Vec<_> = state.instances(&service).collect();
        for row in &rows {
            assert!(Arc::ptr_eq(&row.tags, &rows[0].tags));
            assert!(Arc::ptr_eq(&row.endpoint.ports, &rows[0].endpoint.ports));
            let of = |row: &Instance| row.meta.get("zone").map(str::as_ptr);
            assert_eq!(of(row), of(rows[0]));
        }
        assert_eq!(rows.len(), 3);
    }
}

#[test]
fn an_unfinished_or_reordered_snapshot_is_refused() {
    let mut world = World::new();
    world.ok(crate::support::put("k", "v"));
    let written = records(&world.state);
    let mut cut = Restore::new();
    for record in &written[..written.len() - 1] {
        cut.record(record).unwrap();
    }
    assert!(cut.finish().is_err());
    assert!(Restore::new().record(&written[1]).is_err());
    let mut later = written[0].clone();
    later[0] = 9;
    let error = Restore::new().record(&later).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

/// Writes in each other, `levels` of them, with a put inside the innermost.
fn nested(levels: usize) -> Command {
    let mut write = Write::one(Op::Put(Box::new(Put::new(
        Keyspace::Etcd,
        Key::from("deep"),
        "v".into(),
    ))));
    for _ in 1..levels {
        write = Write::one(Op::Nested(write));
    }
    Command::Write(write)
}

#[test]
fn what_is_written_is_read_however_deep_and_what_is_deeper_is_not_written() {
    // The stack that a thread of the server has, in whatever build this is.
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let work = || {
        let mut written = 0;
        for levels in 1..200 {
            let mut world = World::new();
            let entry = world.entry(nested(levels));
            let mut batch = vec![7];
            let encoded = encode_entry(&entry, LEVEL, &mut batch);
            if encoded.is_ok() {
                assert_eq!(decode_entries(&batch[1..]), Ok(vec![entry.clone()]));
                assert!(world.state.apply(&entry).settled.outcome.is_ok());
                written = levels;
            } else {
                assert_eq!(encoded, Err(Refusal::Limit("levels of nesting")));
                assert_eq!(batch, [7], "a refused entry leaves the batch alone");
            }
        }
        written
    };
    let deepest = small.spawn(work).unwrap().join().unwrap();
    // Version 0.1.0 let 51 transactions in each other through.
    assert_eq!(deepest, 64);
}

#[test]
fn a_newer_version_is_not_taken_for_damage() {
    let mut world = World::new();
    let entry = world.entry(Command::RaiseLevel { level: LEVEL + 1 });
    let mut batch = Vec::new();
    assert_eq!(
        encode_entry(&entry, LEVEL, &mut batch),
        Err(Refusal::Limit(
            "the feature level that all servers of the cluster know"
        ))
    );
    assert!(batch.is_empty());
    encode_entry(&entry, LEVEL + 1, &mut batch).unwrap();
    let error = decode_entries(&batch).unwrap_err();
    assert_eq!(error.newer, Some(LEVEL + 1));
    assert!(
        error
            .to_string()
            .contains("newer version: feature level 6, this version knows 5"),
        "{error}"
    );
    // Damage is damage.
    assert_eq!(decode_entries(&[1, 9, 9, 9]).unwrap_err().newer, None);
    assert_eq!(decode_entries(&[0]).unwrap_err().newer, None);

    // A snapshot says its level, and one of a newer version is not damaged either.
    world.ok(Command::RaiseLevel { level: LEVEL });
    let mut written = records(&world.state);
    assert_eq!(restore(&written).level(), LEVEL);
    assert_eq!(written[1], [1, 17, LEVEL]);
    written[1][2] = LEVEL + 1;
    let mut newer = Restore::new();
    newer.record(&written[0]).unwrap();
    let error = newer.record(&written[1]).unwrap_err();
    assert_eq!(error.newer, Some(LEVEL + 1));
}
