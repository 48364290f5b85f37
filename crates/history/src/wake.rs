//! How the worker and those who wait for it find each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Wake {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    work: bool,
    stop: bool,
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to do.
    pub(crate) fn up(&self) {
        self.lock().work = true;
        self.changed.notify_all();
    }

    /// Something was done.
    pub(crate) fn tell(&self) {
        // Whoever looked before is waiting when this has the lock.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Waits until there is something to do, at most so long; false when it is to end.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let (mut wanted, _) = self
            .changed
            .wait_timeout_while(self.lock(), most, |wanted| !wanted.work && !wanted.stop)
            .unwrap_or_else(PoisonError::into_inner);
        wanted.work = false;
        !wanted.stop
    }

    /// Waits until it is so, or the work is to end, at most so long.
    pub(crate) fn until(&self, most: Duration, so: impl Fn() -> bool) {
        let _rest = self
            .changed
            .wait_timeout_while(self.lock(), most, |wanted| !wanted.stop && !so());
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    pub(crate) fn stopped(&self) -> bool {
        self.lock().stop
    }
}
