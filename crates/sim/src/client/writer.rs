//! A client that writes and reads keys. Keys change with time, so that few operations of unknown outcome meet at one.

use bytes::Bytes;
use portolan_catalog::{
    Command, Comparand, Compare, Done, Expect, Key, KeyRange, Keyspace, Op, OpDone, Put, Relation,
    Settled, Write,
};
use portolan_registry::Unavailable;

use super::{Desk, Heard, draw, sleep_ms};
use crate::front::{Ask, Told};
use crate::history::{KeyDone, KeyOperation, KeyWork};

/// How long writers meet at the same keys.
const EPOCH_MS: u64 = 1500;
/// Keys at a time.
const KEYS: u64 = 4;

pub(super) async fn run(desk: Desk, number: u64) {
    let mut server = desk.any_server();
    let mut known: Option<(String, u64)> = None;
    for turn in 0.. {
        sleep_ms(draw(5, 60)).await;
        if desk.world.quiet() {
            return;
        }
        let epoch = desk.world.now() / EPOCH_MS;
        let key = format!("k/{epoch}/{}", draw(1, KEYS));
        let value = || {
            let mut value = format!("{number}.{turn} ").into_bytes();
            value.resize(16 + usize::try_from(draw(0, 200)).unwrap_or(0), b'.');
            Bytes::from(value)
        };
        let work = match draw(1, 100) {
            1..=40 => KeyWork::Put(value()),
            41..=60 => {
                let expected = match &known {
                    Some((of, revision)) if *of == key => *revision,
                    _ => 0,
                };
                KeyWork::PutIf(value(), expected)
            }
            61..=66 => KeyWork::Delete,
            67..=88 => KeyWork::Read,
            _ => KeyWork::StaleRead,
        };
        // Reads of what there is are asked for anywhere.
        let to = match work {
            KeyWork::StaleRead => desk.any_server(),
            _ => server,
        };
        let asked = desk.world.now();
        let done = perform(&desk, to, &key, &work).await;
        if matches!(done, KeyDone::Refused | KeyDone::Unknown) {
            server = desk.next_server(server);
            sleep_ms(draw(10, 60)).await;
        }
        match (&work, &done) {
            (KeyWork::Delete, KeyDone::Written(_)) => known = None,
            (_, KeyDone::Written(revision) | KeyDone::Found(_, Some((_, revision)))) => {
                known = Some((key.clone(), *revision));
            }
            _ => {}
        }
        let operation = KeyOperation {
            key,
            work,
            server: to,
            asked,
            answered: desk.world.now(),
            done,
        };
        desk.world.history().keys.push(operation);
    }
}

/// Carries out one operation at one server.
pub(super) async fn perform(desk: &Desk, server: u64, key: &str, work: &KeyWork) -> KeyDone {
    let ask = match work {
        KeyWork::Put(value) => Ask::Propose(Box::new(put(key, value.clone(), None))),
        KeyWork::PutIf(value, expected) => {
            Ask::Propose(Box::new(put(key, value.clone(), Some(*expected))))
        }
        KeyWork::Delete => Ask::Propose(Box::new(Command::Write(Write::one(Op::Delete {
            space: Keyspace::Etcd,
            range: KeyRange::One(Key::from(key)),
            expect: Expect::Any,
        })))),
        KeyWork::Read | KeyWork::StaleRead => Ask::Read {
            key: key.to_owned(),
            linearizable: *work == KeyWork::Read,
        },
    };
    match desk.ask(server, ask).await {
        Heard::Told(Told::Settled(Ok(settled))) => settled_as(&settled),
        Heard::Told(Told::Found(Ok(found))) => KeyDone::Found(found.revision, found.record),
        Heard::Told(Told::Settled(Err(Unavailable::Unknown))) | Heard::Nothing => KeyDone::Unknown,
        Heard::Told(_) => KeyDone::Refused,
    }
}

fn put(key: &str, value: Bytes, expected: Option<u64>) -> Command {
    let put = Put::new(Keyspace::Etcd, Key::from(key), value);
    let mut write = Write::one(Op::Put(Box::new(put)));
    if let Some(expected) = expected {
        write.when.push(Compare {
            space: Keyspace::Etcd,
            range: KeyRange::One(Key::from(key)),
            relation: Relation::Equal,
            comparand: Comparand::Modified(i64::try_from(expected).unwrap_or(i64::MAX)),
        });
    }
    Command::Write(write)
}

fn settled_as(settled: &Settled) -> KeyDone {
    let revision = settled.revision.0;
    match &settled.outcome {
        Ok(Done::Written(written)) if !written.succeeded => KeyDone::NotEqual(revision),
        Ok(Done::Written(written)) => match written.results.first() {
            Some(OpDone::Deleted(gone)) if gone.is_empty() => KeyDone::Nothing(revision),
            _ => KeyDone::Written(revision),
        },
        _ => KeyDone::Refused,
    }
}
