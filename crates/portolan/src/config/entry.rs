//! One value, with the key it is for and where it was said.

use super::key::Key;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File { name: String, line: usize },
    Variable(String),
    Flag,
}

/// One value of one key.
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) value: String,
    pub(crate) source: Source,
}
