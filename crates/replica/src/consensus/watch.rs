//! The environment's channel of one value, as openraft wants it: it wakes those who wait in the order in which they came.

use openraft::rt::watch::{RecvError, SendError};
use openraft::rt::{OptionalSend, OptionalSync, Watch, WatchReceiver, WatchSender};
use portolan_environment::watch::{self, Ref};

/// The kind of channel.
#[derive(Debug)]
pub(crate) struct FairWatch;

/// Writes. Clones share the channel.
#[derive(Debug)]
pub(crate) struct Sender<T>(watch::Sender<T>);

/// Reads. A clone has seen what this one has seen.
#[derive(Debug)]
pub(crate) struct Receiver<T>(watch::Receiver<T>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver(self.0.clone())
    }
}

impl Watch for FairWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = watch::channel(init);
        (Sender(sender), Receiver(receiver))
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<FairWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value).map_err(SendError)
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.0.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver(self.0.subscribe())
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<FairWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.0.changed().await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.0.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.0.borrow_and_update()
    }
}
