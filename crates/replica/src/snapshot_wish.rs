//! Somebody asks for a snapshot now, and waits for it: what an operator does to have the log's space back at once.

use portolan_environment::watch;

/// Wishes are counted; one snapshot grants all that were there when it began.
#[derive(Debug, Default)]
pub(crate) struct SnapshotWish {
    wanted: watch::Sender<u64>,
    /// How many wishes are answered, and why the last snapshot was not written.
    done: watch::Sender<(u64, Option<String>)>,
}

impl SnapshotWish {
    /// Asks, and waits.
    ///
    /// # Errors
    /// Why no snapshot could be written.
    pub(crate) async fn granted(&self) -> Result<(), String> {
        let mut wish = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            wish = *wanted;
        });
        let mut done = self.done.subscribe();
        match done.wait_for(|(answered, _)| *answered >= wish).await {
            Ok(answered) => answered.1.clone().map_or(Ok(()), Err),
            Err(_) => Err("the server stops".to_owned()),
        }
    }

    /// The number of the last wish, if it is not granted.
    pub(crate) fn open(&self) -> Option<u64> {
        let wanted = *self.wanted.borrow();
        (wanted > self.done.borrow().0).then_some(wanted)
    }

    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        // The sender is ours, so there is no other way to end.
        let done = self.done.borrow().0;
        let _ = self
            .wanted
            .subscribe()
            .wait_for(|wanted| *wanted > done)
            .await;
    }

    /// Everything up to this wish is answered.
    pub(crate) fn answer(&self, wish: u64, failure: Option<String>) {
        self.done.send_replace((wish, failure));
    }
}
