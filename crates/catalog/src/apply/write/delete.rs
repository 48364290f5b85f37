//! Deletes, and what goes with a record.

use std::sync::Arc;

use super::Transaction;
use super::expect::met;
use crate::command::Expect;
use crate::ids::Keyspace;
use crate::outcome::{OpDone, Refusal};
use crate::record::{Key, KeyRange, Record};
use crate::service::EndpointRow;

impl Transaction<'_> {
    /// Deletes the records of a range. Derived ones go only by their exact key, and then the endpoint goes with them.
    pub(super) fn delete(
        &mut self,
        space: Keyspace,
        range: &KeyRange,
        expect: &Expect,
    ) -> Result<OpDone, Refusal> {
        let mut gone = Vec::new();
        if let KeyRange::One(key) = range {
            let record = self.state.record(space, key).cloned();
            met(expect, record.as_ref())?;
            self.may_remove(space, key, record.as_ref())?;
            if let Some(row) = record
                .as_deref()
                .and_then(|record| self.derived_from(record))
            {
                let members: Vec<_> = row
                    .members
                    .iter()
                    .map(|member| member.key.clone())
                    .collect();
                self.may_deregister(&members)?;
            }
            gone.extend(record.map(|record| (key.clone(), record)));
        } else {
            let native = |(_, record): &(&Key, &Arc<Record>)| record.derived_from.is_none();
            gone.extend(
                self.state
                    .range(space, range)
                    .filter(native)
                    .map(|(key, record)| (key.clone(), record.clone())),
            );
        }
        for (key, record) in &gone {
            self.remove_record(space, key);
            if let Some(row) = self.derived_from(record) {
                for member in row.members.iter() {
                    self.remove_instance(&member.key);
                }
            }
        }
        Ok(OpDone::Deleted(gone))
    }

    /// The endpoint that a derived record shows.
    fn derived_from(&self, record: &Record) -> Option<Arc<EndpointRow>> {
        let derived = record.derived_from.as_ref()?;
        self.state.endpoint(&derived.endpoint).cloned()
    }

    fn may_remove(
        &self,
        space: Keyspace,
        key: &Key,
        record: Option<&Arc<Record>>,
    ) -> Result<(), Refusal> {
        match record {
            Some(record) if space == Keyspace::Znodes => Self::znode_may_go(record),
            None if space == Keyspace::Znodes && !key.is_empty() => Err(Refusal::NoKey),
            _ => Ok(()),
        }
    }

    /// Removes a record with the instances that were recognised in it.
    pub(in crate::apply) fn remove_record(&mut self, space: Keyspace, key: &Key) {
        let Some(record) = self.state.record(space, key).cloned() else {
            return;
        };
        self.set_record(space, key, None);
        if record.derived_from.is_none() {
            self.make_room(space, key);
        }
        if space == Keyspace::Znodes {
            self.child_gone(key);
        }
        for instance in record.recognised.keys(space, key) {
            self.remove_instance(&instance);
        }
    }

    /// Puts a derived record, which goes by the same rules as a written one: a parent counts it among its children.
    pub(in crate::apply) fn put_derived(&mut self, space: Keyspace, key: &Key, record: Record) {
        let is_new = self.state.record(space, key).is_none();
        self.set_record(space, key, Some(Arc::new(record)));
        if is_new && space == Keyspace::Znodes {
            self.child_derived(key);
        }
    }
}
