//! When a snapshot is written: by the bytes of log since the last one, early on a full disk, when it is asked for, and at a clean stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::Node;
use crate::disk::is_full;
use crate::history_files;

/// A restart must not replay more than this; a clean stop writes a snapshot first.
const REPLAY: u64 = 4 << 20;
/// How often it is looked whether a snapshot is due.
const SNAPSHOT_ROUND: Duration = Duration::from_millis(500);
/// On a full disk a snapshot is tried at most this often.
const SNAPSHOT_FULL: Duration = Duration::from_secs(10);

impl Node {
    pub(super) async fn keep_snapshots(self: Arc<Self>) {
        let mut round = tokio::time::interval(SNAPSHOT_ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut full_until = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = round.tick() => {}
                () = self.wish.asked() => {}
            }
            if !self.threaded && (self.log.space().work().is_err() || self.history_work().is_err())
            {
                return;
            }
            if let Some(why) = self.raft.status().stopped {
                // A disk error was reported where it happened; anything else, a panic of the state machine included, ends the node too.
                let _reported = self.fatal.raise("running raft", io::Error::other(why));
                return;
            }
            let grown = self.grown();
            let bound = self.snapshot_bytes.max(self.stats.snapshot_bytes.get());
            let now = Instant::now();
            let squeezed =
                self.log.space().full() && grown > self.snapshot_bytes / 16 && now >= full_until;
            let wish = self.wish.open();
            if grown < bound && !squeezed && wish.is_none() {
                continue;
            }
            if squeezed {
                full_until = now + SNAPSHOT_FULL;
            }
            let written = self.snapshot().await;
            if let Some(wish) = wish {
                let failure = written.as_ref().err().map(ToString::to_string);
                self.wish.answer(wish, failure);
            }
            if let Err(error) = written {
                if !is_full(&error) {
                    return;
                }
                self.stats.snapshots_failed.add(1);
                full_until = now + SNAPSHOT_FULL;
            }
        }
    }

    /// At a clean stop, when the next start would otherwise replay much.
    pub(super) async fn snapshot_at_stop(&self) {
        if self.grown() > REPLAY
            && let Err(error) = self.snapshot().await
        {
            tracing::warn!(%error, "no snapshot at the stop, the next start takes longer");
        }
    }

    /// Without a thread for it, the history is moved on here.
    fn history_work(&self) -> io::Result<()> {
        let history = self.publisher.history();
        let disk_bytes = self.retention.disk_bytes;
        history_files::work(history, self.log.space(), &self.fatal, disk_bytes)
    }

    /// Bytes of log since the last snapshot.
    fn grown(&self) -> u64 {
        let written = self.stats.log_written.get();
        written.saturating_sub(self.stats.written_at_snapshot.get())
    }

    /// Writes a snapshot outside openraft, where a full disk is no fatal error, then has openraft take note and purge.
    async fn snapshot(&self) -> io::Result<()> {
        let _one = self.saving.lock().await;
        let builder = self.raft.builder().await?;
        let space = self.log.space().clone();
        let (history, fatal) = (self.publisher.history().clone(), self.fatal.clone());
        // What led to the state must be on the disk before the log below it goes.
        let save = move || {
            match history.flush() {
                Err(error) if !is_full(&error) => {
                    return Err(fatal.raise("writing the history", error));
                }
                other => other?,
            }
            builder.save()
        };
        portolan_environment::blocking(move || match save() {
            Err(error) if is_full(&error) => {
                space.give_up_reserve()?;
                save()
            }
            other => other,
        })
        .await??;
        self.raft.announce_snapshot().await
    }
}
