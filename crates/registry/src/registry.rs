//! The handle.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use portolan_catalog::{
    Cause, Command, Compacted, Keyspace, LeaseId, Refusal, Revision, ServiceKey, Settled, State,
    Timestamp, Why,
};
use portolan_environment::mutated;
use portolan_history::{Damage, History, Piece, Select, View as HistoryView};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::backend::{LeaseQuestion, Limits, Proposal, WallClock};
use crate::deadlines::{Deadlines, Renewal};
use crate::entries::EntryLog;
use crate::feed::Feed;
use crate::index::Index;
use crate::members::Cluster;
use crate::past::{NotThen, Past};
use crate::selector::{Selector, select};
use crate::view::{View, WholeSlot, Wholes};

/// Nobody could decide now. The client may retry; only [`Unavailable::Unknown`] may have happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// There is no leader.
    #[error("no leader")]
    NoLeader,
    /// The disk is full: nothing can be written until there is room again.
    #[error("the disk of the data directory is full")]
    Full,
    /// Too much is waiting already.
    #[error("too many requests are waiting")]
    Busy,
    /// The command was handed in and there was no answer: it may or may not have been decided.
    #[error("the outcome is unknown")]
    Unknown,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// What a renewal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lease has this time again.
    For(Duration),
    /// There is no such lease, or not any more.
    Unknown,
}

/// What handle and backend share.
pub(crate) struct Shared {
    pub(crate) state: ArcSwap<State>,
    pub(crate) index: Index,
    pub(crate) deadlines: Deadlines,
    pub(crate) entries: Arc<EntryLog>,
    views: papaya::HashMap<ServiceKey, Arc<View>>,
    wholes: Wholes,
    /// How often a state took the place of one that did not lead to it. What was encoded from revisions of an era says nothing of another.
    pub(crate) era: AtomicU64,
    pub(crate) history: Arc<History>,
    wall: WallClock,
    limits: Limits,
    pub(crate) leads: AtomicBool,
    /// What [`Shared::leads_until`] counts from.
    began: Instant,
    /// Microseconds after which it no longer leads unless it is told again; the largest number for no end.
    leads_until: AtomicU64,
    pub(crate) voters: AtomicUsize,
    pub(crate) copy: AtomicBool,
    refused_busy: AtomicU64,
    undecided: AtomicU64,
    /// When whoever leads was last heard of; none when nobody is known to lead.
    contact: Mutex<Option<Instant>>,
    pub(crate) cluster: OnceLock<Weak<dyn Cluster>>,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        wall: WallClock,
        limits: Limits,
        history: Arc<History>,
    ) -> Shared {
        history.reached(state.revision());
        history.set_floors(state.floors());
        let shared = Shared {
            state: ArcSwap::from_pointee(state),
            index: Index::default(),
            deadlines: Deadlines::default(),
            entries: Arc::default(),
            views: papaya::HashMap::new(),
            wholes: Wholes::default(),
            era: AtomicU64::new(0),
            history,
            wall,
            limits,
            leads: AtomicBool::new(true),
            began: Instant::now(),
            leads_until: AtomicU64::new(u64::MAX),
            voters: AtomicUsize::new(1),
            copy: AtomicBool::new(false),
            refused_busy: AtomicU64::new(0),
            undecided: AtomicU64::new(0),
            contact: Mutex::new(None),
            cluster: OnceLock::new(),
        };
        shared.index.deliver(&[], shared.state.load().revision());
        shared
    }

    pub(crate) fn set_contact(&self, age: Option<Duration>) {
        let at = age.and_then(|age| Instant::now().checked_sub(age));
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn micros(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.began).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    pub(crate) fn set_leads_until(&self, until: Option<Instant>) {
        let until = until.map_or(u64::MAX, |at| self.micros(at));
        self.leads_until.store(until, Ordering::Release);
    }

    /// Whether this server may decide what leases do: it was told that it leads, and not so long ago that another may lead by now.
    pub(crate) fn leads(&self) -> bool {
        if !self.leads.load(Ordering::Acquire) {
            return false;
        }
        match self.leads_until.load(Ordering::Acquire) {
            u64::MAX => true,
            // A process that stood still finds out here, before anybody tells it.
            until => self.micros(Instant::now()) < until,
        }
    }
}

/// The handle that every protocol holds. Cloning it copies four pointers.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    proposals: mpsc::Sender<Proposal>,
    barriers: mpsc::Sender<oneshot::Sender<Result<(), Unavailable>>>,
    leases: mpsc::Sender<LeaseQuestion>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("revision", &self.shared.state.load().revision())
            .finish_non_exhaustive()
    }
}

/// Views kept at most; beyond that views are made for one reader and not kept.
const VIEWS: usize = 200_000;

impl Registry {
    pub(crate) fn new(
        shared: Arc<Shared>,
        proposals: mpsc::Sender<Proposal>,
        barriers: mpsc::Sender<oneshot::Sender<Result<(), Unavailable>>>,
        leases: mpsc::Sender<LeaseQuestion>,
    ) -> Registry {
        Registry {
            shared,
            proposals,
            barriers,
            leases,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    /// The latest state applied here: a pointer load.
    pub fn snapshot(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    /// How often a state took the place of one that did not lead to it. Whoever prepares answers keeps this beside the revision, and reads it
    /// before the state.
    pub fn era(&self) -> u64 {
        self.shared.era.load(Ordering::Acquire)
    }

    /// A read of the latest state that ends before the next await, without counting a reference.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state.load())
    }

    /// A state no older than this call. Where there is one voter that is the published state: a write is answered after it was published.
    ///
    /// # Errors
    /// When no leader confirms it in time.
    pub async fn linearized(&self) -> Result<Arc<State>, Unavailable> {
        // Acknowledged means published here, and with one voter nobody else acknowledges.
        if self.leads() && self.shared.voters.load(Ordering::Acquire) == 1 {
            return Ok(self.snapshot());
        }
        let (answer, confirmed) = oneshot::channel();
        self.hand_in(&self.barriers, answer).await?;
        timeout(self.shared.limits.decision, confirmed)
            .await
            .map_err(|_| Unavailable::NoLeader)?
            .map_err(|_| Unavailable::NoLeader)??;
        Ok(self.snapshot())
    }

    /// The state here where `enough` is true of it, otherwise one no older than this call. For whoever plans a write by what is there:
    /// that there is nothing to be done, or no such row, must not be said for want of what was acknowledged elsewhere. An agent that
    /// reaches no server has nothing better than its copy.
    ///
    /// # Errors
    /// As [`Registry::linearized`].
    pub async fn latest_unless(
        &self,
        enough: impl Fn(&State) -> bool,
    ) -> Result<Arc<State>, Unavailable> {
        let here = self.snapshot();
        if enough(&here) || mutated("plan-by-what-is-here") {
            return Ok(here);
        }
        match self.linearized().await {
            Err(Unavailable::NoLeader) if self.is_copy() => Ok(here),
            confirmed => confirmed,
        }
    }

    /// Puts something into a queue; refuses when there is no place in time.
    async fn hand_in<T>(&self, queue: &mpsc::Sender<T>, item: T) -> Result<(), Unavailable> {
        let item = match queue.try_send(item) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Unavailable::Stopping),
            Err(mpsc::error::TrySendError::Full(item)) => item,
        };
        match timeout(self.shared.limits.queue_wait, queue.reserve()).await {
            Ok(Ok(place)) => {
                place.send(item);
                Ok(())
            }
            Ok(Err(_)) => Err(Unavailable::Stopping),
            Err(_) => {
                self.shared.refused_busy.fetch_add(1, Ordering::Relaxed);
                Err(Unavailable::Busy)
            }
        }
    }

    /// Whether this server decides what leases do.
    pub fn leads(&self) -> bool {
        self.shared.leads()
    }

    /// How long ago this server last heard of whoever leads, which is how old a read here may be; none when it knows of no leader.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.leads() {
            return Some(Duration::ZERO);
        }
        let contact = self.shared.contact.lock();
        let at = *contact.unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed())
    }

    /// Whether this is an agent's copy: reads that do not ask for more are answered from it, as old as [`Registry::last_contact`] says.
    pub fn is_copy(&self) -> bool {
        self.shared.copy.load(Ordering::Acquire)
    }

    /// How many servers have a vote, as far as this one has applied.
    pub fn voters(&self) -> usize {
        self.shared.voters.load(Ordering::Acquire)
    }

    /// Proposals and readers that were refused because the queue stayed full, so far.
    pub fn refused_busy(&self) -> u64 {
        self.shared.refused_busy.load(Ordering::Relaxed)
    }

    /// Proposals that were handed in and not decided in time, so far.
    pub fn undecided(&self) -> u64 {
        self.shared.undecided.load(Ordering::Relaxed)
    }

    /// The rows as they were at `revision`, for readers of one keyspace or of everything else.
    ///
    /// # Errors
    /// [`NotThen`] when that is below the floor or has not been reached.
    pub fn past(&self, space: Option<Keyspace>, revision: Revision) -> Result<Past, NotThen> {
        self.hold_past().at(space, revision)
    }

    /// What every past revision can be read from that can be read now.
    pub fn hold_past(&self) -> Past {
        let present = self.snapshot();
        let history = self.shared.history.clone();
        let view = history.view();
        let floors = self.shared.state.load().floors().clone();
        Past::new(present, view, history, floors)
    }

    /// The oldest revision of a keyspace, or of everything else, that can be read here; 0 when all of them can. At least what the
    /// members agreed upon, more where a part of the history is not on this member.
    pub fn floor(&self, space: Option<Keyspace>) -> Revision {
        let agreed = self.shared.state.load().floor(space);
        agreed.max(self.shared.history.view().floor())
    }

    /// The batches that led to the present state, as far back as they are kept. Files may have to be read.
    pub fn history(&self) -> Arc<HistoryView> {
        self.shared.history.view()
    }

    /// Batches after `after` and up to `until`, some at a time.
    ///
    /// # Errors
    /// [`Damage`] of a file that would have to be read.
    pub(crate) fn read_history(
        &self,
        select: &Select,
        after: Revision,
        until: Revision,
        most: usize,
    ) -> Result<Piece, Damage> {
        let history = &self.shared.history;
        let read = history.view().read(select, after, until, most);
        read.inspect_err(|damage| history.report(damage))
    }

    /// Batches after `after` and up to `until` that match any of `selectors`, about `most` at a time; whoever needs all of them looks at
    /// the floor first.
    ///
    /// # Errors
    /// [`Damage`] of a file that would have to be read.
    pub fn batches(
        &self,
        selectors: &[Selector],
        after: Revision,
        until: Revision,
        most: usize,
    ) -> Result<Piece, Damage> {
        let mut piece = self.read_history(&select(selectors), after, until, most)?;
        piece
            .batches
            .retain(|batch| selectors.iter().any(|selector| selector.matches(batch)));
        Ok(piece)
    }

    /// The newest entries of the log, for those who follow this node from elsewhere.
    pub fn entries(&self) -> &Arc<EntryLog> {
        &self.shared.entries
    }

    /// How much history there is.
    pub fn history_figures(&self) -> portolan_history::Figures {
        self.shared.history.figures()
    }

    /// Proposes a command. When this returns with an answer it is applied here.
    ///
    /// # Errors
    /// [`Unavailable`]; a refusal is not an error but an outcome.
    pub async fn propose(
        &self,
        cause: impl Into<Arc<Cause>>,
        command: Command,
    ) -> Result<Settled, Unavailable> {
        let (answer, settled) = oneshot::channel();
        let proposal = Proposal {
            cause: cause.into(),
            command,
            answer,
        };
        self.hand_in(&self.proposals, proposal).await?;
        match timeout(self.shared.limits.decision, settled).await {
            Ok(settled) => settled.map_err(|_| Unavailable::Unknown)?,
            Err(_) => {
                self.shared.undecided.fetch_add(1, Ordering::Relaxed);
                Err(Unavailable::Unknown)
            }
        }
    }

    /// Hands changes out to feeds, for ever. Without this task the thread that publishes does it, before it answers the proposers; with it,
    /// that thread serves a few feeds itself and leaves many to the task. There is one at a time.
    pub fn deliver_changes(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.index.deliver_always().await }
    }

    /// Follows what matches any of `selectors`, from the revision after `after` on.
    ///
    /// # Errors
    /// When the history no longer reaches back that far.
    pub fn follow(&self, selectors: Vec<Selector>, after: Revision) -> Result<Feed, Compacted> {
        Feed::open(self, selectors, after)
    }

    /// Renews a lease. Does not touch the log, unless the lease was past its first stage and has to be brought back. A server that does
    /// not lead asks the one that does.
    ///
    /// # Errors
    /// When that could not be decided.
    pub async fn renew(&self, lease: &LeaseId) -> Result<Renewed, Unavailable> {
        match self.renew_here(lease).await {
            Err(Unavailable::NoLeader) => {
                let question = |answer| LeaseQuestion::Renew(lease.clone(), answer);
                self.ask_elsewhere(question).await
            }
            renewed => renewed,
        }
    }

    /// As [`Registry::renew`], but only where this server decides what leases do.
    ///
    /// # Errors
    /// [`Unavailable::NoLeader`] where it does not, and when it could not be decided.
    pub async fn renew_here(&self, lease: &LeaseId) -> Result<Renewed, Unavailable> {
        let deadlines = &self.shared.deadlines;
        loop {
            if !self.leads() {
                return Err(Unavailable::NoLeader);
            }
            let decided = deadlines.decided();
            tokio::pin!(decided);
            decided.as_mut().enable();
            match deadlines.renew(lease, Instant::now()) {
                Renewal::Renewed(time) => return Ok(Renewed::For(time)),
                Renewal::Unknown => return Ok(Renewed::Unknown),
                Renewal::Deciding => timeout(self.shared.limits.decision, decided)
                    .await
                    .map_err(|_| Unavailable::Unknown)?,
                Renewal::Lapsed => return self.revive(lease).await,
            }
        }
    }

    async fn ask_elsewhere<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> LeaseQuestion,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(&self.leases, question(answer)).await?;
        // It may be asked again: no answer is no leader.
        timeout(self.shared.limits.decision, answered)
            .await
            .map_err(|_| Unavailable::NoLeader)?
            .map_err(|_| Unavailable::NoLeader)?
    }

    /// Time left until a lease's next stage and since it was renewed or granted, as whoever decides knows it; none where it does not run.
    ///
    /// # Errors
    /// When nobody who decides answers.
    pub async fn lease_time(
        &self,
        lease: &LeaseId,
    ) -> Result<Option<(Duration, Duration)>, Unavailable> {
        if self.leads() {
            return Ok(self.lease_time_here(lease));
        }
        let question = |answer| LeaseQuestion::Time(lease.clone(), answer);
        self.ask_elsewhere(question).await
    }

    /// As [`Registry::lease_time`], as far as this server knows.
    pub fn lease_time_here(&self, lease: &LeaseId) -> Option<(Duration, Duration)> {
        let now = Instant::now();
        let (left, since) = self.shared.deadlines.remaining(lease, now)?;
        Some((left, now.saturating_duration_since(since)))
    }

    async fn revive(&self, lease: &LeaseId) -> Result<Renewed, Unavailable> {
        let command = Command::Revive {
            lease: lease.clone(),
        };
        let settled = self.propose(Cause::own(Why::Call), command).await?;
        let terms = self
            .snapshot()
            .lease(lease)
            .map(|lease| lease.terms.ttl_ms());
        match (settled.outcome, terms) {
            (Ok(_), Some(ms)) => Ok(Renewed::For(Duration::from_millis(ms))),
            (Err(Refusal::NoLease), _) | (_, None) => Ok(Renewed::Unknown),
            (Err(_), Some(_)) => Ok(Renewed::Unknown),
        }
    }

    /// Time left until a lease's next stage; none where this server does not decide, as it does not hear of renewals then.
    pub fn remaining(&self, lease: &LeaseId) -> Option<Duration> {
        if !self.leads() {
            return None;
        }
        self.shared
            .deadlines
            .remaining(lease, Instant::now())
            .map(|(left, _)| left)
    }

    /// When a lease was last renewed or granted, by the wall clock; none where this server does not decide.
    pub fn renewed_at(&self, lease: &LeaseId) -> Option<Timestamp> {
        if !self.leads() {
            return None;
        }
        let now = Instant::now();
        let (_, since) = self.shared.deadlines.remaining(lease, now)?;
        let ago =
            u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        Some(Timestamp(self.now().0.saturating_sub(ago)))
    }

    /// Leases that run now.
    pub fn running_leases(&self) -> usize {
        self.shared.deadlines.len()
    }

    /// Proposals that wait to be taken; the queue is as long as whoever made the handle said.
    pub fn waiting(&self) -> usize {
        let queue = &self.proposals;
        queue.max_capacity() - queue.capacity()
    }

    /// Feeds that are open now.
    pub fn feeds(&self) -> u64 {
        self.shared.index.subscriptions()
    }

    /// The wall clock. For display and for times that a command carries; never for deadlines.
    pub fn now(&self) -> Timestamp {
        (self.shared.wall)()
    }

    /// One service as readers want it. Repeated calls give the same view until something about the service changes.
    pub fn view(&self, key: &ServiceKey) -> Arc<View> {
        // Before the state: a view of the state before counts for the era before.
        let era = self.shared.era.load(Ordering::Acquire);
        let state = self.shared.state.load();
        let changed = state.service_index(key);
        let same = |view: &&Arc<View>| {
            let service = view.service.as_ref() == state.service(key);
            view.era == era && view.changed == changed && service
        };
        let views = self.shared.views.pin();
        if let Some(view) = views.get(key).filter(same) {
            return view.clone();
        }
        let view = Arc::new(View::of(&state, era, key));
        if view.service.is_none() {
            views.remove(key);
        } else if views.len() < VIEWS || views.contains_key(key) {
            views.insert(key.clone(), view.clone());
        }
        view
    }

    /// An answer about the whole registry: rendered once per `stamp` (a mark of the state it depends on).
    pub fn whole(&self, slot: WholeSlot, stamp: Revision, render: impl FnOnce() -> Bytes) -> Bytes {
        let era = self.shared.era.load(Ordering::Acquire);
        self.shared.wholes.form(slot, (era, stamp), render)
    }
}
