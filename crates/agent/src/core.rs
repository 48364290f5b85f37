//! What an agent holds: the state it has followed to, what it owns, and what it shows.
//!
//! Invariants
//! - `base` is exactly a state that the servers had, at `mark`.
//! - What is shown is `base`, or, while something was decided here without servers, `base` with what the agent owns put over it.
//! - What is owned is changed by commands that came through this agent, and by results and administrative status that others gave it while
//!   this agent was following. What others did while it could not follow is weighed when it can again, by [`Owned::offers`].

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{
    Batch, Cause, CheckKey, Command, Entry, NodeFacts, NodeName, Probe, Protocol, Revision,
    Settled, State, Status, Timestamp, Why, stored,
};
use portolan_cluster::answers::Answers;
use portolan_registry::{Mark, Publisher, WallClock};
use tokio::sync::{Notify, RwLock};
use tokio::time::Instant;

use crate::doubt::Doubt;
use crate::owned::Owned;
use crate::standing::Standing;
use crate::unheard::{Unheard, reports};

/// What the servers have, and where.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) cluster: u64,
    pub(crate) mark: Mark,
    pub(crate) state: State,
}

#[derive(Debug)]
struct Inner {
    base: Base,
    shown: State,
    /// What is shown is not `base`.
    diverged: bool,
    /// Everything a server had was here a moment ago, and nothing was missed since.
    live: bool,
    owned: Owned,
    /// Nothing was known of what is owned: what the servers say of this node is taken for it.
    adopting: bool,
    /// This agent has left, or is none: nothing is owned here.
    left: bool,
    /// When owned TTL checks were last reported on, while no server can be reached.
    ttl: BTreeMap<CheckKey, Instant>,
    unheard: Unheard,
    doubt: Doubt,
}

impl Inner {
    /// Whether the servers have something else than what is owned, although everything was told them: something that was taken for lost
    /// was decided after all, too late.
    fn was_overtaken(&self, node: &Arc<NodeFacts>) -> bool {
        let settled = self.live && !self.diverged && !self.left;
        settled
            && self.doubt.explains_differences()
            && !self.owned.offers(node, &self.base.state).is_empty()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    node: Arc<NodeFacts>,
    owns: bool,
    publisher: Publisher,
    wall: Wall,
    pub(crate) standing: Standing,
    inner: Mutex<Inner>,
    /// What became of commands, and how far the copy has come.
    pub(crate) answers: Arc<Answers>,
    offer: Notify,
    owned_changed: Notify,
    dirty: AtomicBool,
    /// What is owned is offered with this held alone, and changed through the leader with it held together with others: an offer must not
    /// bring back what was removed meanwhile.
    pub(crate) order: RwLock<()>,
}

struct Wall(WallClock);

impl std::fmt::Debug for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wall")
    }
}

/// What an agent begins with.
pub(crate) struct Beginning {
    pub(crate) node: Arc<NodeFacts>,
    pub(crate) base: Base,
    /// None if nothing is known of what is owned.
    pub(crate) owned: Option<Owned>,
    /// Whether anything can be owned here: nothing of another datacenter can.
    pub(crate) owns: bool,
}

impl Core {
    pub(crate) fn new(beginning: Beginning, publisher: Publisher, wall: WallClock) -> Core {
        let Beginning {
            node,
            base,
            owned,
            owns,
        } = beginning;
        let adopting = owns && owned.is_none();
        let owned = owned.unwrap_or_else(|| Owned::new(node.name.clone()));
        let answers = Arc::new(Answers::default());
        answers.reach(base.mark.index);
        let core = Core {
            node,
            owns,
            standing: Standing::new(publisher.clone()),
            publisher,
            wall: Wall(wall),
            inner: Mutex::new(Inner {
                shown: base.state.clone(),
                base,
                diverged: false,
                live: false,
                owned,
                adopting,
                left: !owns,
                ttl: BTreeMap::new(),
                unheard: Unheard::default(),
                // What was on its way when this agent ended last is not known.
                doubt: Doubt::new(owns && !adopting),
            }),
            answers,
            offer: Notify::new(),
            owned_changed: Notify::new(),
            dirty: AtomicBool::new(false),
            order: RwLock::new(()),
        };
        // What was accepted without servers before a restart is shown at once.
        let mut inner = core.inner();
        if owns && !inner.adopting && !inner.owned.offers(&core.node, &inner.base.state).is_empty()
        {
            inner.diverged = true;
            core.show(&mut inner, &[]);
        }
        drop(inner);
        core
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node_name(&self) -> &NodeName {
        &self.node.name
    }

    /// This agent's node, as it is registered.
    pub(crate) fn node(&self) -> &NodeFacts {
        &self.node
    }

    /// What publishes.
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Where the copy is.
    pub(crate) fn place(&self) -> (u64, Mark) {
        let inner = self.inner();
        (inner.base.cluster, inner.base.mark)
    }

    /// What the servers had when last heard of.
    pub(crate) fn base(&self) -> Base {
        self.inner().base.clone()
    }

    /// What is owned.
    pub(crate) fn owned(&self) -> Owned {
        self.inner().owned.clone()
    }

    /// Applies batches of entries that lead to `upto`; `current` if that was all the server had.
    ///
    /// # Errors
    /// When they cannot be read, or lead elsewhere: the copy is as it was, and has to be fetched anew.
    pub(crate) fn take(
        &self,
        batches: &[(u64, Bytes)],
        upto: Mark,
        current: bool,
    ) -> io::Result<()> {
        // Only the task that follows changes the base, so it is still this one below.
        let mut state = self.inner().base.state.clone();
        let mut changes: Vec<Arc<Batch>> = Vec::new();
        let (mut settled, wanted) = (Vec::new(), self.answers.wanted());
        for (index, batch) in batches {
            let entries = stored::decode_entries(batch)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let mut answers = Vec::new();
            for entry in &entries {
                let applied = state.apply(entry);
                if applied.replaced {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("entry {index} put another state in the place of this one"),
                    ));
                }
                changes.extend(applied.batch);
                if wanted {
                    answers.push(applied.settled);
                }
            }
            if wanted {
                settled.push((*index, answers));
            }
        }
        if Mark::of(upto.index, &state) != upto {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "entry {} led to revision {}, at the servers it led to {}",
                    upto.index,
                    state.revision().0,
                    upto.revision.0
                ),
            ));
        }
        let mut inner = self.inner();
        inner.base.state = state;
        inner.base.mark = upto;
        if inner.live && inner.owned.reap(&changes) {
            self.owned_is_different();
        }
        if inner.live && !inner.diverged && !inner.left {
            let mut different = false;
            for change in changes.iter().flat_map(|batch| batch.changes.iter()) {
                different |= inner.owned.heard(change);
            }
            if different {
                self.owned_is_different();
            }
            let concerns = |change| inner.owned.concerns(change);
            let mut all = changes.iter().flat_map(|batch| batch.changes.iter());
            // What is owned goes on to be shown, and is offered again.
            if inner.doubt.goes_on() && all.any(concerns) && inner.was_overtaken(&self.node) {
                inner.diverged = true;
                self.offer_soon();
            }
        }
        self.arrived(&mut inner, current, &changes);
        drop(inner);
        for (index, answers) in settled {
            self.answers.applied(index, answers);
        }
        self.answers.reach(upto.index);
        Ok(())
    }

    /// A server has said that there is nothing newer.
    pub(crate) fn up_to_date(&self) {
        let mut inner = self.inner();
        if !inner.live {
            self.arrived(&mut inner, true, &[]);
        }
    }

    /// Takes a whole state in the place of what was followed so far.
    pub(crate) fn replace(&self, base: Base) {
        let mut inner = self.inner();
        let index = base.mark.index;
        inner.base = base;
        inner.live = false;
        inner.diverged = true;
        self.arrived(&mut inner, false, &[]);
        drop(inner);
        self.answers.reach(index);
    }

    fn arrived(&self, inner: &mut Inner, current: bool, changes: &[Arc<Batch>]) {
        let begins = current && !inner.live;
        if begins {
            inner.live = true;
            inner.ttl.clear();
            let Inner { unheard, owned, .. } = &mut *inner;
            unheard.retain(|check| owned.checks.contains_key(check));
            if std::mem::take(&mut inner.adopting) {
                let state = inner.base.state.clone();
                inner.owned.adopt(&state);
                self.owned_is_different();
            }
            for key in inner.owned.taken_over(&inner.base.state) {
                tracing::info!(instance = %key, "another node has taken over this service since");
                inner.owned.give_up(&key);
                self.owned_is_different();
            }
            self.offer_soon();
        }
        if begins || (inner.live && inner.owned.is_unsettled()) {
            let state = inner.base.state.clone();
            let doubts = inner.doubt.goes_on();
            if inner.owned.settle(&state, doubts) {
                self.owned_is_different();
            }
        }
        self.show(inner, changes);
    }

    /// Publishes what is to be shown.
    fn show(&self, inner: &mut Inner, changes: &[Arc<Batch>]) {
        if !inner.diverged {
            inner.shown = inner.base.state.clone();
            self.publisher.publish(inner.shown.clone(), changes);
            self.publisher.history().forget_oldest();
            return;
        }
        let mut shown = inner.base.state.clone();
        let offers = match inner.adopting || inner.left {
            true => Vec::new(),
            false => inner.owned.offers(&self.node, &shown),
        };
        inner.diverged = !offers.is_empty();
        for command in offers {
            let _applied = shown.apply(&self.entry(self.own_cause(), command));
        }
        inner.shown = shown;
        self.publisher.supersede(inner.shown.clone());
    }

    fn entry(&self, cause: Arc<Cause>, command: Command) -> Entry {
        Entry {
            at: self.now(),
            cause,
            command,
        }
    }

    /// Who offers what the agent owns.
    pub(crate) fn own_cause(&self) -> Arc<Cause> {
        Arc::new(Cause {
            protocol: Protocol::Consul,
            ..Cause::own(Why::Start)
        })
    }

    /// No server can be reached from here on.
    pub(crate) fn cut(&self) {
        self.standing.missed();
        let mut inner = self.inner();
        if !inner.live {
            return;
        }
        inner.live = false;
        let now = Instant::now();
        let ttl = inner
            .owned
            .checks
            .values()
            .filter(|check| matches!(check.probe, Probe::Ttl { .. }))
            .map(|check| (check.key.clone(), now));
        inner.ttl = ttl.collect();
    }

    /// Decides a command without servers, as far as it is about what the agent owns; none if it is not. What it did is shown from here on
    /// and offered when a server can be reached.
    pub(crate) fn accept(&self, cause: &Arc<Cause>, command: &Command) -> Option<Settled> {
        let mut inner = self.inner();
        if inner.left {
            return None;
        }
        let command = inner.owned.own_part(&inner.shown, command)?;
        let entry = self.entry(cause.clone(), command);
        let mut bytes = Vec::new();
        if let Err(refusal) = stored::encode_entry(&entry, stored::LEVEL, &mut bytes) {
            return Some(Settled {
                revision: inner.shown.revision(),
                outcome: Err(refusal),
            });
        }
        let mut shown = inner.shown.clone();
        let applied = shown.apply(&entry);
        if applied.settled.outcome.is_err() {
            return Some(applied.settled);
        }
        inner.owned.note(&entry.command, &shown, true);
        let now = Instant::now();
        for (check, report) in reports(&entry.command) {
            inner.ttl.insert(check.clone(), now);
            inner.unheard.add(check, report);
        }
        for (check, row) in &inner.owned.checks.clone() {
            if matches!(row.probe, Probe::Ttl { .. }) {
                inner.ttl.entry(check.clone()).or_insert_with(Instant::now);
            }
        }
        inner.shown = shown.clone();
        inner.diverged = true;
        let batches: Vec<_> = applied.batch.into_iter().collect();
        self.publisher.publish(shown, &batches);
        drop(inner);
        self.owned_is_different();
        self.offer_soon();
        Some(applied.settled)
    }

    /// Takes note of what the leader decided of what is owned; true if that is different now.
    pub(crate) fn note(&self, command: &Command) -> bool {
        let mut inner = self.inner();
        let state = inner.base.state.clone();
        inner.unheard.superseded(command);
        let different = inner.owned.note(command, &state, false);
        if different {
            self.owned_is_different();
        }
        different
    }

    /// The leader is about to decide own commands.
    pub(crate) fn deciding(&self) {
        self.inner().doubt.deciding();
    }

    /// What the leader decided of them was noted: what is shown follows it.
    pub(crate) fn decided(&self) {
        let mut inner = self.inner();
        inner.doubt.decided();
        if inner.was_overtaken(&self.node) {
            inner.diverged = true;
            self.offer_soon();
        }
        if inner.diverged {
            self.show(&mut inner, &[]);
        }
    }

    /// A command may be decided or not, and late.
    pub(crate) fn doubt(&self) {
        self.inner().doubt.begin();
    }

    /// Whether a command is about what the agent owns.
    pub(crate) fn is_own(&self, command: &Command) -> bool {
        let inner = self.inner();
        !inner.left && inner.owned.own_part(&inner.shown, command).is_some()
    }

    /// What the servers have to be told next; none when they have everything, or cannot be reached.
    pub(crate) fn next_offer(&self) -> Option<Command> {
        let inner = self.inner();
        if !inner.live || inner.adopting || inner.left {
            return None;
        }
        let offers = inner.owned.offers(&self.node, &inner.base.state);
        let runs = |check: &CheckKey| {
            let owned = inner.owned.checks.get(check);
            owned.is_some_and(|owned| matches!(owned.probe, Probe::Ttl { .. }))
        };
        let first = offers.into_iter().next();
        let first = first.or_else(|| inner.owned.stranger(&inner.base.state));
        first.or_else(|| inner.unheard.first(runs))
    }

    /// The servers have decided an offer.
    pub(crate) fn offered(&self, command: &Command) {
        self.inner().unheard.heard(command);
    }

    /// How much the servers have to be told.
    pub(crate) fn offers(&self) -> usize {
        let inner = self.inner();
        match inner.adopting || inner.left {
            true => 0,
            false => inner.owned.offers(&self.node, &inner.base.state).len(),
        }
    }

    /// Renews an owned TTL check while no server can be reached: its time, if there is such a check.
    pub(crate) fn renew_check(&self, key: &CheckKey) -> Option<Duration> {
        let mut inner = self.inner();
        let check = inner.owned.checks.get(key)?.clone();
        let Probe::Ttl { ttl_ms } = check.probe else {
            return None;
        };
        inner.ttl.insert(key.clone(), Instant::now());
        let report = Command::Report {
            check: key.clone(),
            status: check.status,
            output: check.output.clone(),
        };
        inner.unheard.add(key, &report);
        Some(Duration::from_millis(ttl_ms))
    }

    /// Has owned TTL checks expire that nobody reported on, while no server can be reached.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        let expired: Vec<CheckKey> = {
            let inner = self.inner();
            if inner.live {
                return;
            }
            let late = |(key, since): (&CheckKey, &Instant)| {
                let check = inner.owned.checks.get(key)?;
                let Probe::Ttl { ttl_ms } = check.probe else {
                    return None;
                };
                let silent = now.saturating_duration_since(*since);
                let over = silent > Duration::from_millis(ttl_ms);
                (over && check.status != Status::Critical).then(|| key.clone())
            };
            inner.ttl.iter().filter_map(late).collect()
        };
        let cause = Arc::new(Cause::own(Why::Probe));
        for check in expired {
            let command = Command::Report {
                check,
                status: Status::Critical,
                output: "TTL expired".into(),
            };
            let _settled = self.accept(&cause, &command);
        }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        (self.wall.0)()
    }

    /// The feature level that every member knows.
    pub(crate) fn level(&self) -> u8 {
        self.inner().base.state.level()
    }

    /// The revision that is shown.
    pub(crate) fn revision(&self) -> Revision {
        self.inner().shown.revision()
    }

    /// This agent leaves: nothing is owned from here on, and nothing is offered.
    pub(crate) fn leave(&self) {
        let mut inner = self.inner();
        inner.owned = Owned::new(self.node.name.clone());
        inner.left = true;
        drop(inner);
        self.owned_is_different();
    }

    /// Has what is owned compared with what the servers have.
    pub(crate) fn offer_soon(&self) {
        self.offer.notify_one();
    }

    /// Resolves when somebody wants an offer.
    pub(crate) async fn offer_wanted(&self) {
        self.offer.notified().await;
    }

    fn owned_is_different(&self) {
        self.dirty.store(true, Ordering::Release);
        self.owned_changed.notify_one();
    }

    /// Resolves when what is owned is no longer what was written down.
    pub(crate) async fn owned_is_dirty(&self) {
        while !self.dirty.load(Ordering::Acquire) {
            self.owned_changed.notified().await;
        }
    }

    /// What is owned, if it is no longer what was taken last.
    pub(crate) fn take_dirty(&self) -> Option<Owned> {
        self.dirty
            .swap(false, Ordering::AcqRel)
            .then(|| self.owned())
    }

    /// It was not written down after all.
    pub(crate) fn still_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Whether something is shown that the servers do not have yet.
    pub(crate) fn diverged(&self) -> bool {
        self.inner().diverged
    }

    /// Whether this is an agent's, rather than a copy of another datacenter. One that has left is one still.
    pub(crate) fn owns(&self) -> bool {
        self.owns
    }

    /// Whether the copy is all there is, as far as is known.
    pub(crate) fn live(&self) -> bool {
        self.inner().live
    }
}
