//! The other side of the handle: what stands behind it takes proposals and barriers, applies, publishes and drives the
//! deadlines.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_catalog::{Batch, Cause, Command, Settled, State, Timestamp};
use portolan_history::History;
use tokio::sync::{mpsc, oneshot};

use crate::deadlines::Deadlines;
use crate::registry::{Registry, Shared, Unavailable};

/// Reads the wall clock. Given from outside, so that tests and simulations decide what time it is.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A command on its way to be decided.
#[derive(Debug)]
pub struct Proposal {
    /// Who and why.
    pub cause: Arc<Cause>,
    /// What.
    pub command: Command,
    /// Where the answer goes. Dropped without an answer means that the outcome is unknown.
    pub answer: oneshot::Sender<Result<Settled, Unavailable>>,
}

/// What stands behind a [`Registry`] holds this.
pub struct Backend {
    pub(crate) shared: Arc<Shared>,
    /// Commands to decide, in order.
    pub proposals: mpsc::Receiver<Proposal>,
    /// Readers who want to be sure that the snapshot is no older than their question.
    pub barriers: mpsc::Receiver<oneshot::Sender<Result<(), Unavailable>>>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("revision", &self.shared.state.load().revision())
            .finish_non_exhaustive()
    }
}

/// The part of the backend that publishes; it goes to the apply loop.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

impl Backend {
    /// A handle and what stands behind it, at `state`, with a history in memory. `queue` proposals wait at most.
    pub fn new(state: State, wall: WallClock, queue: usize) -> (Registry, Backend) {
        let history = Arc::new(History::in_memory(
            portolan_history::Retention::default().memory_bytes,
        ));
        Backend::with_history(state, wall, queue, history)
    }

    /// As [`Backend::new`], with the history that led to `state`.
    pub fn with_history(
        state: State,
        wall: WallClock,
        queue: usize,
        history: Arc<History>,
    ) -> (Registry, Backend) {
        let (proposals, proposed) = mpsc::channel(queue);
        let (barriers, barred) = mpsc::channel(queue);
        let shared = Arc::new(Shared::new(state, wall, history));
        let registry = Registry::new(shared.clone(), proposals, barriers);
        (
            registry,
            Backend {
                shared,
                proposals: proposed,
                barriers: barred,
            },
        )
    }

    /// What publishes.
    pub fn publisher(&self) -> Publisher {
        Publisher(self.shared.clone())
    }

    /// The deadlines to drive.
    pub fn deadlines(&self) -> &Deadlines {
        &self.shared.deadlines
    }
}

impl Publisher {
    /// Publishes a state and hands the batches that led to it to their subscriptions, or leaves many of them to the task that runs
    /// [`Registry::deliver_changes`]. Call it before answering proposers.
    pub fn publish(&self, state: State, batches: &[Arc<Batch>]) {
        let revision = state.revision();
        // Whoever sees the state finds what led to it.
        for batch in batches {
            self.0.history.push(batch);
        }
        self.0.history.reached(revision);
        let floors = state.floors().clone();
        self.0.state.store(Arc::new(state));
        self.0.history.set_floors(&floors);
        self.0.index.deliver(batches, revision);
    }

    /// Says whether this node is the only voter, which leads and has published everything that it acknowledged: reads then need no
    /// confirmation. Must be taken back before a second voter can take part in a decision.
    pub fn set_sole_voter(&self, sole: bool) {
        self.0.sole_voter.store(sole, Ordering::Release);
    }

    /// The deadlines to drive.
    pub fn deadlines(&self) -> &Deadlines {
        &self.0.deadlines
    }

    /// The history.
    pub fn history(&self) -> &Arc<History> {
        &self.0.history
    }

    /// The state published last.
    pub fn state(&self) -> Arc<State> {
        self.0.state.load_full()
    }
}
