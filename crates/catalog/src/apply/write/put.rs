//! Puts, and puts that lock or unlock.

use std::sync::Arc;

use super::Transaction;
use super::expect::met;
use super::recognised::recognised;
use crate::command::Put;
use crate::ids::{LeaseId, SessionId};
use crate::limits;
use crate::outcome::{OpDone, Refusal};
use crate::record::{Extension, Key, Lock, Record};

/// What becomes of a record's lock with a put.
enum Locking {
    Keep,
    Set(Lock),
}

impl Transaction<'_> {
    pub(super) fn put(&mut self, put: &Put) -> Result<OpDone, Refusal> {
        if put.create.is_some() {
            return self.create_znode(put);
        }
        let before = self.state.record(put.space, &put.key).cloned();
        self.may_put(put, before.as_ref())?;
        met(&put.expect, before.as_ref())?;
        self.store(put, &put.key, before, Locking::Keep)
    }

    pub(super) fn may_put(&self, put: &Put, before: Option<&Arc<Record>>) -> Result<(), Refusal> {
        if put.key.len() > limits::RECORD_KEY {
            return Err(Refusal::Limit("record key"));
        }
        if let Some(lease) = put.lease.as_ref().filter(|_| !put.keep_lease)
            && !self.is_alive(lease)
        {
            return Err(Refusal::NoLease);
        }
        if (put.keep_value || put.keep_lease) && before.is_none() {
            return Err(Refusal::NoKey);
        }
        self.may_recognise(put)
    }

    /// Whether a lease can be attached to. A session without TTL has no lease of its own and is alive all the same.
    fn is_alive(&self, lease: &LeaseId) -> bool {
        match lease {
            LeaseId::Session(session) => self.state.session(session).is_some(),
            lease => self.state.lease(lease).is_some(),
        }
    }

    /// Locks a record for a session; free, or held by that session already.
    pub(super) fn acquire(&mut self, put: &Put, session: &SessionId) -> Result<OpDone, Refusal> {
        if self.state.session(session).is_none() {
            return Err(Refusal::NoSession(*session));
        }
        let before = self.state.record(put.space, &put.key).cloned();
        let lock = before
            .as_ref()
            .and_then(|record| record.lock.as_deref())
            .cloned()
            .unwrap_or_default();
        let index = match lock.session {
            Some(holder) if holder == *session => lock.index,
            Some(_) => return Err(Refusal::Locked),
            None if self
                .state
                .lock_delay(put.space, &put.key)
                .is_some_and(|until| until > self.at) =>
            {
                return Err(Refusal::Locked);
            }
            None => lock.index + 1,
        };
        self.may_put(put, before.as_ref())?;
        self.store(
            put,
            &put.key,
            before,
            Locking::Set(Lock {
                session: Some(*session),
                index,
            }),
        )
    }

    /// Unlocks a record for its holder.
    pub(super) fn release(&mut self, put: &Put, session: &SessionId) -> Result<OpDone, Refusal> {
        let before = self
            .state
            .record(put.space, &put.key)
            .cloned()
            .ok_or(Refusal::NoKey)?;
        if before.holder() != Some(*session) {
            return Err(Refusal::Locked);
        }
        let index = before.lock.as_ref().map_or(0, |lock| lock.index);
        self.may_put(put, Some(&before))?;
        self.store(
            put,
            &put.key,
            Some(before),
            Locking::Set(Lock {
                session: None,
                index,
            }),
        )
    }

    fn store(
        &mut self,
        put: &Put,
        key: &Key,
        before: Option<Arc<Record>>,
        locking: Locking,
    ) -> Result<OpDone, Refusal> {
        let old = before.as_deref();
        let lock = match locking {
            Locking::Keep => old.and_then(|r| r.lock.clone()),
            Locking::Set(lock) => Some(Arc::new(lock)),
        };
        let value = if put.keep_value {
            old.and_then(|r| r.value.clone())
        } else {
            put.value.clone()
        };
        let lease = if put.keep_lease {
            old.and_then(|r| r.lease.clone())
        } else {
            put.lease.clone()
        };
        let extension = put
            .extension
            .clone()
            .unwrap_or_else(|| old.map_or(Extension::None, |r| r.extension.clone()));
        if put.quiet
            && let Some(record) = &before
            && (
                &record.value,
                record.flags,
                &record.lease,
                &record.lock,
                &record.extension,
            ) == (&value, put.flags, &lease, &lock, &extension)
        {
            return Ok(OpDone::Put {
                key: key.clone(),
                before: before.clone(),
                after: record.clone(),
            });
        }
        let had = old.map(|r| r.recognised.clone()).unwrap_or_default();
        let recognised = if put.keep_value {
            had.clone()
        } else {
            recognised(put.space, key, &put.recognised)
        };
        let after = Arc::new(Record {
            version: old.map_or(1, |r| r.version + 1),
            flags: put.flags,
            lock,
            recognised,
            derived_from: None,
            extension,
            created: old.map_or(self.revision, |r| r.created),
            modified: self.revision,
            created_at: old.map_or(self.at, |r| r.created_at),
            modified_at: self.at,
            value,
            lease,
        });
        self.set_record(put.space, key, Some(after.clone()));
        self.recognise(put, key, after.value.as_ref(), had)?;
        Ok(OpDone::Put {
            key: key.clone(),
            before,
            after,
        })
    }
}
