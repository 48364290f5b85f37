//! A batch: the commands of one log entry, packed by the leader and unpacked at most once by whoever applies it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Commands as one log entry. Clones share it.
#[derive(Clone)]
pub struct Batch(Arc<Packed>);

struct Packed {
    bytes: Bytes,
}

impl Batch {
    /// A batch from its encoding, to be decoded when it is applied.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Batch(Arc::new(Packed { bytes }))
    }

    /// The encoding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.bytes.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.bytes.len())
    }
}
