//! Keeping: writing down what is owned, and now and then the copy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_environment as environment;
use portolan_registry::{Mark, Unavailable};
use portolan_replica::disk::is_full;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::core::Core;
use crate::disk::Files;

/// The first copy is written this long after the start.
const FIRST: Duration = Duration::from_secs(5);
/// After a disk error.
const AGAIN: Duration = Duration::from_secs(5);

/// Writes to the disk, one at a time. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    files: Files,
    every: Duration,
    owned: Mutex<()>,
    copy: Mutex<Option<(u64, Mark)>>,
}

impl Keeper {
    pub(crate) fn new(
        core: Arc<Core>,
        files: Files,
        every: Duration,
        written: Option<(u64, Mark)>,
    ) -> Keeper {
        Keeper(Arc::new(Inner {
            core,
            files,
            every,
            owned: Mutex::default(),
            copy: Mutex::new(written),
        }))
    }

    /// Writes down what is owned. When this returns it is on the disk.
    ///
    /// # Errors
    /// `Full` when the disk is, `Unknown` after any other disk error: it is tried again later.
    pub(crate) async fn keep_owned(&self) -> Result<(), Unavailable> {
        let _one_at_a_time = self.0.owned.lock().await;
        let Some(owned) = self.0.core.take_dirty() else {
            return Ok(());
        };
        let files = self.0.files.clone();
        let written = environment::blocking(move || files.write_owned(&owned)).await;
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) | Err(error) => error,
        };
        self.0.core.still_dirty();
        tracing::error!(%error, "what is owned here cannot be written down");
        Err(match is_full(&error) {
            true => Unavailable::Full,
            false => Unavailable::Unknown,
        })
    }

    /// Writes down what is owned whenever it changes, for ever.
    pub(crate) async fn keep_owned_always(self) {
        loop {
            self.0.core.owned_is_dirty().await;
            if self.keep_owned().await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }

    /// Writes the copy, if it is not the one on the disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) async fn keep_copy(&self) -> io::Result<()> {
        let mut written = self.0.copy.lock().await;
        let base = self.0.core.base();
        let place = (base.cluster, base.mark);
        if *written == Some(place) {
            return Ok(());
        }
        let files = self.0.files.clone();
        let begun = Instant::now();
        let bytes = environment::blocking(move || files.write_copy(&base)).await??;
        tracing::debug!(
            bytes,
            took_ms = begun.elapsed().as_millis(),
            "the copy was written"
        );
        *written = Some(place);
        Ok(())
    }

    /// Writes the copy now and then, and when the servers are gone, for ever.
    pub(crate) async fn keep_copy_always(self) {
        let mut reachable = self.0.core.standing.watch();
        let mut wait = FIRST.min(self.0.every);
        loop {
            // At once when the servers can no longer be reached: there may be no other copy soon.
            let gone = async {
                while reachable.changed().await.is_ok() {
                    if !*reachable.borrow_and_update() {
                        return;
                    }
                }
            };
            let _either = timeout(wait, gone).await;
            wait = self.0.every;
            if let Err(error) = self.keep_copy().await {
                tracing::warn!(%error, "the copy cannot be written");
            }
        }
    }
}
