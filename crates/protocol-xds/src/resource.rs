//! One resource as it is sent: encoded once, however many are sent it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::kind::Kind;
use crate::wire::Any;

/// An encoded resource. Never changes; what is different is another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) name: Arc<str>,
    /// Of its bytes: equal on every server and after every restart, so that a client that comes back is sent only what differs.
    pub(crate) version: u64,
    /// As a packed message.
    pub(crate) any: Bytes,
}

impl Resource {
    pub(crate) fn new(kind: Kind, name: &Arc<str>, message: &impl Message) -> Resource {
        let any = Any::pack(kind.type_url(), message).encode_to_vec();
        Resource {
            name: name.clone(),
            version: digest(&any),
            any: any.into(),
        }
    }

    /// The version as it is written.
    pub(crate) fn print(version: u64) -> String {
        format!("{version:016x}")
    }

    /// The inverse; what was not written here is no version of anything.
    pub(crate) fn read(text: &str) -> Option<u64> {
        (text.len() == 16)
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
    }
}

/// FNV-1a: nothing is guarded by it, and it is the same everywhere.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
