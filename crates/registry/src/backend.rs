//! The other side of the handle: what stands behind it takes proposals and barriers, applies, publishes and drives the
//! deadlines.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portolan_catalog::{Batch, Cause, Command, LeaseId, Settled, State, Timestamp};
use portolan_environment::mutated;
use portolan_history::History;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::deadlines::Deadlines;
use crate::entries::EntryLog;
use crate::members::Cluster;
use crate::registry::{Registry, Renewed, Shared, Unavailable};

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

/// A question about a lease, for whoever decides what leases do.
#[derive(Debug)]
pub enum LeaseQuestion {
    /// Give it its full time again.
    Renew(LeaseId, oneshot::Sender<Result<Renewed, Unavailable>>),
    /// How long has it left, and how long ago was it renewed? None where it does not run.
    Time(
        LeaseId,
        oneshot::Sender<Result<Option<(Duration, Duration)>, Unavailable>>,
    ),
}

/// How many proposals wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Proposals, and readers who want confirmation, that wait to be taken; default 16,384.
    pub queue: usize,
    /// How long a proposal waits for a place in a full queue before it is refused as [`Unavailable::Busy`]; default 1 s.
    pub queue_wait: Duration,
    /// How long a proposal that was handed in waits for its decision before its outcome counts as [`Unavailable::Unknown`]; default 7 s,
    /// as etcd waits.
    pub decision: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue: 16 << 10,
            queue_wait: Duration::from_secs(1),
            decision: Duration::from_secs(7),
        }
    }
}

impl From<usize> for Limits {
    /// The defaults with another queue.
    fn from(queue: usize) -> Limits {
        Limits {
            queue,
            ..Limits::default()
        }
    }
}

/// What stands behind a [`Registry`] holds this.
pub struct Backend {
    pub(crate) shared: Arc<Shared>,
    /// Commands to decide, in order.
    pub proposals: mpsc::Receiver<Proposal>,
    /// Readers who want to be sure that the snapshot is no older than their question.
    pub barriers: mpsc::Receiver<oneshot::Sender<Result<(), Unavailable>>>,
    /// What is asked about leases while this node does not decide what they do.
    pub leases: mpsc::Receiver<LeaseQuestion>,
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
    /// A handle and what stands behind it, at `state`, with a history in memory.
    pub fn new(state: State, wall: WallClock, limits: impl Into<Limits>) -> (Registry, Backend) {
        let history = Arc::new(History::in_memory(
            portolan_history::Retention::default().memory_bytes,
        ));
        Backend::with_history(state, wall, limits, history)
    }

    /// As [`Backend::new`], with the history that led to `state`.
    pub fn with_history(
        state: State,
        wall: WallClock,
        limits: impl Into<Limits>,
        history: Arc<History>,
    ) -> (Registry, Backend) {
        let limits = limits.into();
        let (proposals, proposed) = mpsc::channel(limits.queue);
        let (barriers, barred) = mpsc::channel(limits.queue);
        let (leases, asked) = mpsc::channel(limits.queue);
        let shared = Arc::new(Shared::new(state, wall, limits, history));
        let registry = Registry::new(shared.clone(), proposals, barriers, leases);
        (
            registry,
            Backend {
                shared,
                proposals: proposed,
                barriers: barred,
                leases: asked,
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

    /// Publishes a state that did not come from the one before by batches: every feed goes back to the history, or is told that it no
    /// longer reaches far enough.
    pub fn replace(&self, state: State) {
        let revision = state.revision();
        // What led to it is not known here: the history begins anew.
        self.0.history.reached(revision);
        let floors = state.floors().clone();
        self.0.state.store(Arc::new(state));
        self.0.era.fetch_add(1, Ordering::AcqRel);
        self.0.history.set_floors(&floors);
        if !mutated("install-in-silence") {
            self.0.index.overflow(revision);
        }
    }

    /// Publishes a state that leaves the way which led to the one before, perhaps to an earlier revision: what is kept of that way is
    /// forgotten, and feeds that stand on it are cut off.
    pub fn supersede(&self, state: State) {
        let revision = state.revision();
        let floors = state.floors().clone();
        self.0.history.begin_anew(revision);
        self.0.state.store(Arc::new(state));
        self.0.era.fetch_add(1, Ordering::AcqRel);
        self.0.history.set_floors(&floors);
        self.0.index.overflow(revision);
    }

    /// Says whether this server decides what leases do. Give every lease its full time before.
    pub fn set_leads(&self, leads: bool) {
        self.0.leads.store(leads, Ordering::Release);
    }

    /// Says until when it is sure that no other server decides, if this one leads; none for as long as it leads. Whoever says so goes on
    /// saying so: a process that stood still must not decide by what was true before.
    pub fn set_leads_until(&self, until: Option<Instant>) {
        self.0.set_leads_until(until);
    }

    /// Says how many voters there are. When there is one and it leads, what is published is all there is.
    pub fn set_voters(&self, voters: usize) {
        self.0.voters.store(voters, Ordering::Release);
    }

    /// Says that this is an agent's copy of what the servers have.
    pub fn set_copy(&self) {
        self.0.copy.store(true, Ordering::Release);
        self.set_leads(false);
        self.set_voters(0);
    }

    /// Says who knows the members. Held weakly; the first one counts.
    pub fn set_cluster(&self, cluster: Weak<dyn Cluster>) {
        // There is one backend, which says it once.
        let _known = self.0.cluster.set(cluster);
    }

    /// Says how long ago whoever leads was last heard of; none when nobody is known to lead. On the leader itself that is no time at all.
    pub fn set_contact(&self, age: Option<Duration>) {
        self.0.set_contact(age);
    }

    /// Whether the lapse of a lease may be handed to the log: this server decides it, and has renewed nothing since.
    pub fn may_lapse(&self, lease: &LeaseId, stage: u8, generation: u64) -> bool {
        self.0.leads() && self.0.deadlines.is_deciding(lease, stage, generation)
    }

    /// The deadlines to drive.
    pub fn deadlines(&self) -> &Deadlines {
        &self.0.deadlines
    }

    /// The newest entries, to be told of those that were applied.
    pub fn entries(&self) -> &Arc<EntryLog> {
        &self.0.entries
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The state after one registration of `web` at this port.
    fn web_at(port: u16) -> State {
        let mut state = State::default();
        let mut facts = portolan_catalog::Registration::new(
            portolan_catalog::InstanceKey::new(portolan_catalog::Protocol::Eureka, "web/1"),
            portolan_catalog::ServiceKey::plain("web"),
            portolan_catalog::Endpoint::new(portolan_catalog::Host::new("10.0.0.1"), port),
        );
        facts.via = portolan_catalog::Via::Agent;
        let register = portolan_catalog::Register::new(facts);
        let applied = state.apply(&portolan_catalog::Entry {
            at: Timestamp(1),
            cause: Arc::new(Cause::own(portolan_catalog::Why::Call)),
            command: Command::Register(Box::new(register)),
        });
        assert!(applied.settled.outcome.is_ok());
        state
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_of_a_state_that_was_superseded_at_the_same_revision_is_not_shown() {
        let (registry, backend) = Backend::new(web_at(80), Arc::new(|| Timestamp(1)), 16);
        let key = portolan_catalog::ServiceKey::plain("web");
        let slot = crate::WholeSlot::consul(0);
        let look = |word: &'static str| {
            let stamp = registry.snapshot().revision();
            let view = registry.view(&key);
            let port = view.endpoints.first().map(|row| row.key.port);
            (port, registry.whole(slot, stamp, || word.into()))
        };
        assert_eq!(look("one"), (Some(80), "one".into()));
        assert_eq!(look("kept"), (Some(80), "one".into()));
        backend.publisher().supersede(web_at(81));
        assert_eq!(look("other"), (Some(81), "other".into()));
        backend.publisher().replace(web_at(82));
        assert_eq!(look("third"), (Some(82), "third".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_here_is_looked_for_in_the_latest_state() {
        let (registry, backend) = Backend::new(State::default(), Arc::new(|| Timestamp(1)), 16);
        let (publisher, mut barriers) = (backend.publisher(), backend.barriers);
        publisher.set_leads(false);
        publisher.set_voters(3);
        let enough = |state: &State| state.revision() > State::default().revision();
        // Cut off: nobody may say that there is nothing.
        let refused = async {
            let answer = barriers.recv().await.unwrap();
            answer.send(Err(Unavailable::NoLeader)).unwrap();
        };
        let (found, ()) = tokio::join!(registry.latest_unless(enough), refused);
        assert_eq!(found.err(), Some(Unavailable::NoLeader));
        // Behind: what the leader has decided is applied here first.
        let mut newer = State::default();
        let applied = newer.apply(&portolan_catalog::Entry {
            at: Timestamp(1),
            cause: Arc::new(Cause::own(portolan_catalog::Why::Call)),
            command: Command::Write(portolan_catalog::Write::one(portolan_catalog::Op::Put(
                Box::new(portolan_catalog::Put::new(
                    portolan_catalog::Keyspace::Etcd,
                    portolan_catalog::Key::from("a"),
                    "1".into(),
                )),
            ))),
        });
        let confirmed = async {
            let answer = barriers.recv().await.unwrap();
            publisher.publish(newer, &applied.batch.into_iter().collect::<Vec<_>>());
            answer.send(Ok(())).unwrap();
        };
        let (found, ()) = tokio::join!(registry.latest_unless(enough), confirmed);
        assert!(enough(&found.unwrap()));
        // Here already: nobody is asked.
        assert!(enough(&registry.latest_unless(enough).await.unwrap()));
        // A copy without servers has nothing better.
        publisher.set_copy();
        let refused = async {
            let answer = barriers.recv().await.unwrap();
            answer.send(Err(Unavailable::NoLeader)).unwrap();
        };
        let (found, ()) = tokio::join!(registry.latest_unless(|_| false), refused);
        assert!(found.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_not_told_again_in_time_does_not_lead() {
        let (registry, backend) = Backend::new(State::default(), Arc::new(|| Timestamp(1)), 16);
        let publisher = backend.publisher();
        let second = Duration::from_secs(1);
        assert!(registry.leads(), "one that is alone is not told");
        publisher.set_leads_until(Some(Instant::now() + second));
        assert!(registry.leads());
        // As after SIGSTOP: nobody had the time to say that it is over.
        tokio::time::advance(second).await;
        assert!(!registry.leads());
        publisher.set_leads_until(Some(Instant::now() + second));
        assert!(registry.leads());
        publisher.set_leads(false);
        assert!(!registry.leads());
    }
}
