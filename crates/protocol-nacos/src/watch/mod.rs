//! Who is told of changes: subscribers of services and listeners of configurations, over gRPC streams and by UDP.

pub(crate) mod connections;
pub(crate) mod hub;
pub(crate) mod udp;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing panics while it holds one of these locks; what it protects is as good after a panic as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
