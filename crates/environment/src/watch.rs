//! A channel that keeps the last value and wakes those who wait in the order in which they came.
//!
//! tokio's own picks one of several lists of waiters at random, from a generator that a stable build cannot seed: two simulated runs with one
//! seed would differ. What it offers is that of tokio's, as far as it is used.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// The value while it is looked at; not to be held over an await.
pub type Ref<'a, T> = RwLockReadGuard<'a, T>;

/// Every sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody sends any more")
    }
}

impl std::error::Error for Closed {}

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Moves with each change, under the write lock.
    version: AtomicUsize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    changed: Notify,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> usize {
        self.version.load(Ordering::SeqCst)
    }
}

/// A channel that begins with `init`.
pub fn channel<T>(init: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(init);
    let receiver = sender.subscribe();
    (sender, receiver)
}

/// Writes. Clones share the channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::SeqCst);
        Sender(self.0.clone())
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Sender::new(T::default())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Sender<T> {
    /// A channel without a receiver yet.
    pub fn new(init: T) -> Self {
        Sender(Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicUsize::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            changed: Notify::new(),
        }))
    }

    /// Changes the value where `modify` says that it did; whether that is so.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let shared = &self.0;
        let mut value = shared.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = modify(&mut value);
        if modified {
            shared.version.fetch_add(1, Ordering::SeqCst);
        }
        drop(value);
        if modified {
            shared.changed.notify_waiters();
        }
        modified
    }

    /// Changes the value.
    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Sets the value, whether or not anybody listens, and gives back the one before.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|current| std::mem::swap(current, &mut value));
        value
    }

    /// Sets the value if somebody listens.
    ///
    /// # Errors
    /// The value, when nobody does.
    pub fn send(&self, value: T) -> Result<(), T> {
        if self.0.receivers.load(Ordering::SeqCst) == 0 {
            return Err(value);
        }
        self.send_replace(value);
        Ok(())
    }

    /// The value now.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// A receiver that has seen the value of now.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.0, self.0.version())
    }
}

/// Reads. A clone has seen what this one has seen.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: usize,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T> Receiver<T> {
    fn new(shared: &Arc<Shared<T>>, seen: usize) -> Self {
        shared.receivers.fetch_add(1, Ordering::SeqCst);
        Receiver {
            shared: shared.clone(),
            seen,
        }
    }

    /// The value now.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The value now, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.value.read();
        let value = value.unwrap_or_else(PoisonError::into_inner);
        // The version moves under the write lock only.
        self.seen = self.shared.version();
        value
    }

    /// Has the value of now count as seen.
    pub fn mark_unchanged(&mut self) {
        drop(self.borrow_and_update());
    }

    /// Waits for a value that was not seen.
    ///
    /// # Errors
    /// [`Closed`], when there will be none.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // From here on no change goes by unheard.
            changed.as_mut().enable();
            let version = self.shared.version();
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::SeqCst) == 0 {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Waits for a value that `wanted` holds for, the present one included.
    ///
    /// # Errors
    /// [`Closed`], when there will be none.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<T, Closed>
    where
        T: Clone,
    {
        loop {
            let found = {
                let value = self.borrow_and_update();
                wanted(&value).then(|| value.clone())
            };
            if let Some(value) = found {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_value_is_seen_once_and_the_end_is_told() {
        let (sender, mut receiver) = channel(1);
        assert_eq!(*receiver.borrow(), 1);
        sender.send(2).unwrap();
        assert_eq!(sender.send_replace(3), 2);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 3);
        assert!(!sender.send_if_modified(|_| false));
        let mut other = receiver.clone();
        let waiting = tokio::spawn(async move { other.wait_for(|value| *value > 3).await });
        tokio::task::yield_now().await;
        sender.send_modify(|value| *value += 1);
        assert_eq!(waiting.await.unwrap(), Ok(4));
        receiver.changed().await.unwrap();
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 0).await, Err(Closed));
        let sender = Sender::<u8>::default();
        assert_eq!(sender.send(1), Err(1), "nobody listens");
    }
}
