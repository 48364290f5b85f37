//! What the leader does by itself: the lease clock and housekeeping.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::Node;
use crate::housekeeping::{self, Housekeeping};
use crate::lease::{Clock, TICK};

impl Node {
    /// The leader's clock has a thread of its own, so that a stalled disk is not taken for a stopped process. On a disk that is not real
    /// it shares the runtime.
    pub(super) fn spawn_clock(self: Arc<Self>, stopped: oneshot::Receiver<()>) {
        let threaded = self.threaded;
        let work = async move {
            tokio::select! {
                _ = stopped => {}
                () = self.clone().run_lease_clock() => {}
                () = self.clone().run_housekeeping() => {}
            }
        };
        if !threaded {
            tokio::spawn(work);
            return;
        }
        let spawned = std::thread::Builder::new()
            .name("portolan-clock".to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                {
                    Ok(runtime) => runtime.block_on(work),
                    Err(error) => tracing::error!(%error, "no runtime for the lease clock"),
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the lease clock, no lease will expire");
        }
    }

    async fn run_lease_clock(self: Arc<Self>) {
        let now = Instant::now();
        let mut clock = Clock::new(
            self.registry.clone(),
            self.publisher.clone(),
            self.stats.clone(),
            self.guard,
            now,
        );
        clock.begin(now);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            clock.tick(Instant::now()).await;
        }
    }

    async fn run_housekeeping(self: Arc<Self>) {
        let mut housekeeping = Housekeeping::new(
            self.retention,
            self.publisher.history().clone(),
            self.guard,
            self.stats.clone(),
        );
        let mut round = tokio::time::interval(housekeeping::ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            let state = self.registry.snapshot();
            let commands = housekeeping.round(&state, Instant::now());
            let proposed = commands
                .into_iter()
                .map(|(cause, command)| self.registry.propose(cause, command));
            for answer in futures_util::future::join_all(proposed).await {
                if let Err(error) = answer {
                    tracing::debug!(%error, "housekeeping has to wait");
                }
            }
        }
    }
}
