//! Conditions on one record.

use std::sync::Arc;

use crate::command::Expect;
use crate::ids::Keyspace;
use crate::outcome::{OpDone, Refusal};
use crate::record::{Key, Record};

use super::Transaction;

/// Whether `record` is as expected.
pub(super) fn met(expect: &Expect, record: Option<&Arc<Record>>) -> Result<(), Refusal> {
    match (expect, record) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => Ok(()),
        (Expect::Absent, Some(_)) => Err(Refusal::Exists),
        (Expect::Modified(revision), None) if revision.0 == 0 => Ok(()),
        (Expect::Present | Expect::Modified(_) | Expect::Version(_) | Expect::HeldBy(_), None) => {
            Err(Refusal::NoKey)
        }
        (Expect::Modified(revision), Some(record)) if record.modified == *revision => Ok(()),
        (Expect::Modified(_), Some(record)) => Err(Refusal::Changed(record.modified)),
        (Expect::Version(version), Some(record)) if record.version == *version => Ok(()),
        (Expect::Version(_), Some(_)) => Err(Refusal::BadVersion),
        (Expect::HeldBy(session), Some(record)) if record.holder() == Some(*session) => Ok(()),
        (Expect::HeldBy(_), Some(_)) => Err(Refusal::Locked),
    }
}

impl Transaction<'_> {
    pub(super) fn check(
        &self,
        space: Keyspace,
        key: &Key,
        expect: &Expect,
    ) -> Result<OpDone, Refusal> {
        let record = self.state.record(space, key);
        met(expect, record)?;
        Ok(OpDone::Held(record.cloned()))
    }
}
