//! Health checks that a server runs by itself: HTTP, TCP, UDP, gRPC, HTTP/2 ping, script and alias.
//!
//! What it promises
//! - It runs the checks of the catalog whose owner is this node, from their rows alone: a check that is registered through
//!   any protocol starts, one that is changed starts anew, one that is dropped stops at once, also in the middle of a probe.
//! - One task schedules all of them. A hundred thousand checks are entries of one timer wheel, and no more probes run at
//!   a time than [`Settings::probes`]; the others wait their turn.
//! - A first run comes after a random part of the interval, the next one an interval after the last has ended.
//! - Only news is proposed: a changed status at once, changed output every five minutes at most.
//! - Checks come from clients, so probes are kept on a lead: no redirect leaves its host, link-local and metadata
//!   addresses are refused, answers and output are bounded, and a program runs only when the local configuration names
//!   both the check and its command line.
//!
//! What it deliberately does not do: TTL checks and the removal of long critical instances are the leader's lease clock's;
//! TLS is not spoken yet, and a check that asks for it is critical and says so; Docker and operating system service checks are stored, never run.
//!
//! Where to start: [`start`], then `schedule` for when, `probe` for what, `hysteresis` for how many results make a status.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod hysteresis;
mod meters;
mod output;
mod probe;
mod schedule;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portolan_catalog::NodeName;
use portolan_registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use meters::Meters;

/// A program that may be run as a check, named by the local configuration and by nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalScript {
    /// The check's id on this node.
    pub check: String,
    /// The command line the check must have, program first.
    pub args: Vec<String>,
}

/// Programs of files that are read again while checks run. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct ReloadedScripts(Arc<RwLock<Vec<LocalScript>>>);

impl ReloadedScripts {
    /// Replaces the list and gives back the one before. A check that names a program of the new list has to be registered after this.
    pub fn set(&self, scripts: Vec<LocalScript>) -> Vec<LocalScript> {
        std::mem::replace(
            &mut *self.0.write().unwrap_or_else(PoisonError::into_inner),
            scripts,
        )
    }

    pub(crate) fn any(&self, is: impl Fn(&LocalScript) -> bool) -> bool {
        let scripts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        scripts.iter().any(is)
    }
}

/// How checks are run.
#[derive(Clone)]
pub struct Settings {
    /// This node: checks that name it as their owner are run.
    pub node: NodeName,
    /// Probes that run at a time. Default 1024.
    pub probes: usize,
    /// How long changed output alone is held back. Default 5 min.
    pub output_interval: Duration,
    /// Programs that may be run. Default none.
    pub scripts: Vec<LocalScript>,
    /// Further programs that may be run, by files that can change. Default none.
    pub reloaded_scripts: ReloadedScripts,
    /// Draws a number from 0 up to, not including, 1: the part of its interval a check waits for its first run.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Settings {
    /// The defaults for a node.
    pub fn new(node: NodeName) -> Settings {
        Settings {
            node,
            probes: 1024,
            output_interval: Duration::from_secs(300),
            scripts: Vec::new(),
            reloaded_scripts: ReloadedScripts::default(),
            jitter: Arc::new(portolan_environment::random_fraction),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("node", &self.node)
            .field("probes", &self.probes)
            .field("output_interval", &self.output_interval)
            .field("scripts", &self.scripts)
            .finish_non_exhaustive()
    }
}

/// Checks being run. Dropping it stops them.
#[derive(Debug)]
pub struct Runner {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Runner {
    /// Stops every probe and waits until none runs.
    pub async fn finish(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A panic of the task was its own end; there is nothing left to stop.
            let _ = task.await;
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts to run this node's checks. Must be called inside a Tokio runtime.
pub fn start(registry: Registry, settings: Settings, meters: Meters) -> Runner {
    let stop = CancellationToken::new();
    let schedule = schedule::Schedule::new(registry, settings, meters);
    let task = tokio::spawn(schedule.run(stop.clone()));
    Runner {
        stop,
        task: Some(task),
    }
}
