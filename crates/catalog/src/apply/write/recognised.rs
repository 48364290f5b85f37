//! Instances in records: what a front end recognised in a value is registered with it, and goes with it.

use bytes::Bytes;

use super::Transaction;
use crate::bounds;
use crate::command::{Put, Register};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Registration, Via};
use crate::outcome::Refusal;
use crate::record::{Key, Recognised};

use std::collections::BTreeSet;
use std::sync::Arc;

/// How a record under `key` names the instances in it.
pub(super) fn recognised(space: Keyspace, key: &Key, facts: &[Arc<Registration>]) -> Recognised {
    let own = |facts: &Registration| {
        key.as_text()
            .is_some_and(|text| facts.key == InstanceKey::record(space, text))
    };
    match facts {
        [] => Recognised::None,
        [one] if own(one) => Recognised::One,
        many => Recognised::Many(many.iter().map(|facts| facts.key.clone()).collect()),
    }
}

impl Transaction<'_> {
    /// Whether instances can be put with a record: each within its limits, with a key that is not another's.
    pub(super) fn may_recognise(&self, put: &Put) -> Result<(), Refusal> {
        for facts in &put.recognised {
            bounds::check(facts)?;
        }
        let Recognised::Many(keys) = recognised(put.space, &put.key, &put.recognised) else {
            return Ok(());
        };
        let here = (put.space, put.key.clone());
        let mut seen = BTreeSet::new();
        for key in keys.iter() {
            let elsewhere = self.state.instance(key).is_some_and(|row| {
                row.via != Via::Record || self.state.record_of(row) != Some(here.clone())
            });
            if elsewhere || !seen.insert(key) {
                return Err(Refusal::Reserved(key.to_string().into()));
            }
        }
        Ok(())
    }

    /// Registers the instances that were recognised in a record, and removes those that are no longer in it.
    pub(super) fn recognise(
        &mut self,
        put: &Put,
        key: &Key,
        value: Option<&Bytes>,
        had: Recognised,
    ) -> Result<(), Refusal> {
        if put.keep_value {
            return Ok(());
        }
        if had.is_some() {
            let kept: BTreeSet<&InstanceKey> =
                put.recognised.iter().map(|facts| &facts.key).collect();
            for gone in had.keys(put.space, key) {
                if !kept.contains(&gone) {
                    self.remove_instance(&gone);
                }
            }
        }
        for facts in &put.recognised {
            let facts = (**facts).clone();
            self.register(&Register::new(Registration {
                lease: None,
                ..facts
            }))?;
        }
        if !put.recognised.is_empty() {
            self.wake_for(put.space, key, value.map(|v| &v[..]).unwrap_or_default());
        }
        Ok(())
    }

    /// Removes the record an instance was recognised in, unless another instance of it is still there.
    pub(in crate::apply) fn leave_record(&mut self, space: Keyspace, key: &Key) {
        let Some(record) = self.state.record(space, key) else {
            return;
        };
        let keys = record.recognised.keys(space, key);
        if record.recognised.is_some() && keys.iter().all(|key| self.state.instance(key).is_none())
        {
            self.remove_record(space, key);
        }
    }
}
