//! Whether the records of a keyspace are still those that something was worked out from.

use std::fmt;
use std::sync::Arc;

use super::State;
use super::ranked::Ranked;
use crate::ids::Keyspace;
use crate::record::Record;

/// The records of a keyspace as one state has them. Costs a pointer, and keeps what it was made of from being freed.
#[derive(Clone)]
pub struct RecordsOf {
    space: Keyspace,
    records: Ranked<Arc<Record>>,
}

impl RecordsOf {
    /// Whether `state` has the same, at the cost of comparing two pointers. Yes is certain; no may also be said of equal ones.
    pub fn are_those_of(&self, state: &State) -> bool {
        let others = &state.tables.records[self.space as usize];
        self.records.is_same(others)
    }
}

impl fmt::Debug for RecordsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordsOf({})", self.space.as_str())
    }
}

impl State {
    /// The records of a keyspace as they are now, to find out later whether any has changed.
    pub fn records_of(&self, space: Keyspace) -> RecordsOf {
        RecordsOf {
            space,
            records: self.tables.records[space as usize].clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Command, Op, Put, Write};
    use crate::entry::{Cause, Entry, Why};
    use crate::ids::Timestamp;
    use crate::record::Key;

    fn put(state: &State, space: Keyspace) -> State {
        let put = Put::new(space, Key::from("k"), Bytes::new());
        let entry = Entry {
            at: Timestamp(1),
            cause: Cause::own(Why::Start).into(),
            command: Command::Write(Write::one(Op::Put(Box::new(put)))),
        };
        let mut state = state.clone();
        state.apply(&entry).settled.outcome.unwrap();
        state
    }

    #[test]
    fn records_are_the_same_until_one_of_their_keyspace_is_put() {
        let first = State::default();
        let settings = first.records_of(Keyspace::Settings);
        assert!(settings.are_those_of(&first));
        let other = put(&first, Keyspace::Etcd);
        assert!(settings.are_those_of(&other));
        let changed = put(&other, Keyspace::Settings);
        assert!(!settings.are_those_of(&changed));
        assert!(
            changed
                .records_of(Keyspace::Settings)
                .are_those_of(&changed)
        );
        // The same put again is another record.
        assert!(
            !changed
                .records_of(Keyspace::Settings)
                .are_those_of(&put(&changed, Keyspace::Settings))
        );
    }
}
