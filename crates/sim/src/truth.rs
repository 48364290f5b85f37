//! What was decided: every batch as the first server that published it had it. Every other server must have the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Batch, Change, Keyspace};

/// A batch, and when and where it was seen first.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) batch: Arc<Batch>,
    /// Nobody was told of it before.
    pub(crate) published: u64,
    pub(crate) at: u64,
    pub(crate) server: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) decided: BTreeMap<u64, Decided>,
    /// Where servers had different batches at one revision.
    pub(crate) conflicts: Vec<String>,
}

impl Truth {
    /// A server published a batch.
    pub(crate) fn add(&mut self, batch: Arc<Batch>, published: u64, at: u64, server: u64) {
        let revision = batch.revision.0;
        match self.decided.get_mut(&revision) {
            None => {
                let decided = Decided {
                    batch,
                    published,
                    at,
                    server,
                };
                self.decided.insert(revision, decided);
            }
            Some(first) if first.batch == batch => {
                first.published = first.published.min(published);
            }
            Some(first) => self.conflicts.push(format!(
                "revision {revision} is {} at server {} and {} at server {server}",
                words(&first.batch),
                first.server,
                words(&batch)
            )),
        }
    }

    /// The puts and deletes of etcd's keyspace, in order: revision, key, value.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (u64, &[u8], Option<&Bytes>)> {
        self.decided.iter().flat_map(|(revision, decided)| {
            decided.batch.changes.iter().filter_map(|change| {
                let Change::Record {
                    space: Keyspace::Etcd,
                    key,
                    after,
                    ..
                } = change
                else {
                    return None;
                };
                let value = after.as_ref().map(|record| record.value.as_ref());
                Some((*revision, &**key, value.flatten()))
            })
        })
    }
}

/// A batch in few words.
pub(crate) fn words(batch: &Batch) -> String {
    let rows: Vec<String> = batch
        .changes
        .iter()
        .take(2)
        .map(|change| match change {
            Change::Record { key, after, .. } => {
                let value = after.as_ref().and_then(|record| record.value.as_ref());
                let value = value.map_or("nothing".into(), |value| shown(value));
                format!("{}={value}", String::from_utf8_lossy(key))
            }
            other => format!("{:?}", other.row()),
        })
        .collect();
    rows.join(", ")
}

/// A value's beginning.
pub(crate) fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use portolan_catalog::{
        Cause, Command, Entry, Key, Op, Protocol, Put, State, Timestamp, Write,
    };

    use super::*;

    /// A history of puts, decided by the catalog itself: revisions begin at 2.
    pub(crate) fn decided(puts: &[(&str, &str)]) -> Truth {
        let mut state = State::default();
        let mut truth = Truth::default();
        for (at, (key, value)) in puts.iter().enumerate() {
            let value = Bytes::from((*value).to_owned());
            let put = Put::new(Keyspace::Etcd, Key::from(*key), value);
            let applied = state.apply(&Entry {
                at: Timestamp(1_700_000_000_000),
                cause: Arc::new(Cause::call(Protocol::Etcd, None)),
                command: Command::Write(Write::one(Op::Put(Box::new(put)))),
            });
            truth.add(applied.batch.unwrap(), 10 * at as u64, 10 * at as u64, 1);
        }
        truth
    }

    #[test]
    fn two_servers_that_differ_are_told_apart() {
        let mut truth = decided(&[("a", "1"), ("b", "2")]);
        let other = decided(&[("a", "1"), ("b", "3")]);
        for (revision, one) in &other.decided {
            assert_eq!(truth.conflicts.len(), 0, "{revision}");
            truth.add(one.batch.clone(), 30, 30, 2);
        }
        assert_eq!(truth.conflicts.len(), 1);
        let told = &truth.conflicts[0];
        assert!(told.contains("b=2") && told.contains("b=3"), "{told}");
    }
}
