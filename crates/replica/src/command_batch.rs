//! A batch: the commands of one log entry, packed by the leader and unpacked at most once by whoever applies it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use portolan_catalog::Entry;
use portolan_catalog::stored::{self, Damaged};

/// Commands as one log entry. Clones share it.
#[derive(Clone)]
pub struct CommandBatch(Arc<Packed>);

struct Packed {
    bytes: Bytes,
    entries: OnceLock<Vec<Entry>>,
}

impl CommandBatch {
    /// A batch of a leader, which has both forms.
    #[must_use]
    pub fn new(bytes: Bytes, entries: Vec<Entry>) -> Self {
        CommandBatch(Arc::new(Packed {
            bytes,
            entries: OnceLock::from(entries),
        }))
    }

    /// A batch from its encoding, to be decoded when it is applied.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        CommandBatch(Arc::new(Packed {
            bytes,
            entries: OnceLock::new(),
        }))
    }

    /// The encoding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The encoding, shared.
    pub(crate) fn shared_bytes(&self) -> Bytes {
        self.0.bytes.clone()
    }

    /// The commands.
    ///
    /// # Errors
    /// When the bytes are not a batch that this version can read.
    pub fn entries(&self) -> Result<&[Entry], Damaged> {
        if let Some(entries) = self.0.entries.get() {
            return Ok(entries);
        }
        let entries = stored::decode_entries(&self.0.bytes)?;
        Ok(self.0.entries.get_or_init(|| entries))
    }
}

impl fmt::Debug for CommandBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandBatch({} bytes)", self.0.bytes.len())
    }
}

impl fmt::Display for CommandBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.bytes.len())
    }
}
