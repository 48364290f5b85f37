//! The keys that a request's `key` and `range_end` mean.

use portolan_catalog::{Key, KeyRange};

/// The keys that `key` and `range_end` mean: one key, an interval, or with the end `\0` all from `key` on.
pub(crate) fn keys(key: &[u8], range_end: &[u8]) -> KeyRange {
    match range_end {
        [] => KeyRange::One(Key::from(key)),
        [0] => KeyRange::From(Key::from(key)),
        end => KeyRange::Between(Key::from(key), Key::from(end)),
    }
}
