//! What was read so far of a stream in which rows, texts, keys and lists are shared.

#![expect(
    clippy::disallowed_types,
    reason = "these maps are only looked up in, never iterated"
)]

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

type SharedByBytes = HashMap<Box<[u8]>, Arc<dyn Any + Send + Sync>>;

/// What was read so far in a sharing stream.
#[derive(Default)]
pub(crate) struct Shared {
    /// Rows by number; empty while a row is being read.
    pub(super) rows: Vec<Option<Arc<dyn Any + Send + Sync>>>,
    pub(super) texts: HashSet<Arc<str>>,
    pub(super) keys: [SharedByBytes; 3],
    pub(super) lists: HashMap<TypeId, SharedByBytes>,
}

impl Shared {
    /// Rows read.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
