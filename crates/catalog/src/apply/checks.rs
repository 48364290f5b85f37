//! Checks and their results.

use std::sync::Arc;

use super::instances::expected;
use super::transaction::Transaction;
use crate::check::{Check, Status};
use crate::command::{NewCheck, PutCheck};
use crate::ids::{CheckKey, LeaseId, Revision};
use crate::lease::Terms;
use crate::limits;
use crate::outcome::{Done, Outcome, Refusal};

impl Transaction<'_> {
    pub(super) fn put_check(&mut self, put: &PutCheck) -> Outcome {
        let facts = &put.check.facts;
        let node = facts.key.node();
        if self.state.node(&node).is_none() {
            return Err(Refusal::NoNode(node.as_str().into()));
        }
        if let Some(instance) = &facts.instance
            && self.state.instance(instance).is_none()
        {
            return Err(Refusal::NoInstance);
        }
        let before = self.state.check(&facts.key);
        expected(put.expect, before.map(|row| row.modified))?;
        self.upsert_check(&put.check);
        Ok(Done::Nothing)
    }

    /// Puts a check. An existing one keeps its result unless the new one brings a result along.
    pub(super) fn upsert_check(&mut self, new: &NewCheck) {
        let key = &new.facts.key;
        let before = self.state.check(key).cloned();
        let (status, output, reported) = match &before {
            Some(row) if !new.reported => (row.status, row.output.clone(), row.reported),
            _ => (new.status, clipped(&new.output), new.reported),
        };
        let since = before
            .as_ref()
            .filter(|row| row.status == status)
            .map_or(self.at, |row| row.since);
        let facts = before
            .as_ref()
            .filter(|row| *row.facts == *new.facts)
            .map_or_else(|| new.facts.clone(), |row| row.facts.clone());
        let row = Check {
            facts,
            status,
            reported,
            since,
            output,
            created: before.as_ref().map_or(self.revision, |row| row.created),
            modified: before.as_ref().map_or(self.revision, |row| row.modified),
        };
        if before.as_deref() != Some(&row) {
            self.set_check(
                key,
                Some(Arc::new(Check {
                    modified: self.revision,
                    ..row
                })),
            );
        }
        let lease = LeaseId::Check(key.clone());
        match Self::ttl_of(&new.facts.probe) {
            Some(ttl_ms)
                if self
                    .state
                    .lease(&lease)
                    .is_none_or(|l| l.terms != Terms::check(ttl_ms) || new.reported) =>
            {
                self.put_lease(&lease, &Terms::check(ttl_ms));
            }
            Some(_) => {}
            None => self.drop_lease(&lease),
        }
    }

    pub(super) fn drop_check(&mut self, key: &CheckKey, expect: Option<Revision>) -> Outcome {
        let row = self
            .state
            .check(key)
            .ok_or_else(|| Refusal::NoCheck(key.clone()))?;
        expected(expect, Some(row.modified))?;
        self.remove_check(key);
        Ok(Done::Nothing)
    }

    pub(super) fn remove_check(&mut self, key: &CheckKey) {
        if self.state.check(key).is_some() {
            self.set_check(key, None);
            self.drop_lease(&LeaseId::Check(key.clone()));
        }
    }

    /// A result. For a TTL check it is also a renewal, whatever it says.
    pub(super) fn report(&mut self, key: &CheckKey, status: Status, output: &Arc<str>) -> Outcome {
        let row = self
            .state
            .check(key)
            .cloned()
            .ok_or_else(|| Refusal::NoCheck(key.clone()))?;
        let lease = LeaseId::Check(key.clone());
        if let Some(granted) = self.state.lease(&lease).cloned() {
            self.put_lease(&lease, &granted.terms);
        }
        let row = self.reported(&row, status, clipped(output));
        Ok(Done::Reported(row))
    }

    pub(super) fn reported(
        &mut self,
        before: &Arc<Check>,
        status: Status,
        output: Arc<str>,
    ) -> Arc<Check> {
        let since = if before.status == status {
            before.since
        } else {
            self.at
        };
        let row = Check {
            status,
            output,
            reported: true,
            since,
            ..(**before).clone()
        };
        if row == **before {
            return before.clone();
        }
        let row = Arc::new(Check {
            modified: self.revision,
            ..row
        });
        self.set_check(&before.key, Some(row.clone()));
        row
    }
}

/// Output within its bound, cut at a character.
fn clipped(output: &Arc<str>) -> Arc<str> {
    if output.len() <= limits::OUTPUT {
        return output.clone();
    }
    let end = (0..=limits::OUTPUT)
        .rev()
        .find(|i| output.is_char_boundary(*i))
        .unwrap_or(0);
    output[..end].into()
}
