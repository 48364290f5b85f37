//! When a check runs: one task, one timer wheel, a bounded number of probes.
//!
//! Invariants
//! - A job is in exactly one place: in the wheel, in the line of those that are due, or running.
//! - A job's result counts only for the facts it was started with; whatever changes them ends the probe.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portolan_catalog::{
    Cause, Change, Check, CheckFacts, CheckKey, Command, Instance, InstanceKey, Node, NodeName,
    Probe, Status, Table, Why,
};
use portolan_registry::{Feed, Registry, Selector};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};

use crate::hysteresis::Counters;
use crate::meters::Meters;
use crate::{LocalScript, Settings, probe};

/// No check runs more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// The wheel holds no longer waits.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// How often an alias looks again although it heard nothing, should it ever have missed something.
const ALIAS: Duration = Duration::from_secs(60);

/// Everything that is scheduled, and the task that drives it.
pub(crate) struct Schedule {
    registry: Registry,
    settings: Settings,
    meters: Meters,
    /// In order, so that nothing depends on how keys are hashed.
    jobs: BTreeMap<CheckKey, Job>,
    wheel: DelayQueue<CheckKey>,
    due: VecDeque<(CheckKey, Instant)>,
    running: JoinSet<Ended>,
    /// Looked up only.
    keys: HashMap<Id, CheckKey>,
    /// Aliases by what they watch.
    aliases: BTreeMap<Watched, BTreeSet<CheckKey>>,
    /// Whether instances and nodes are followed beside checks.
    wide: bool,
}

/// What an alias looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    Node(NodeName),
    Instance(InstanceKey),
}

struct Job {
    facts: Arc<CheckFacts>,
    counters: Counters,
    /// When output was last proposed.
    flushed: Instant,
    place: Place,
    /// Something it looks at changed while it ran.
    again: bool,
}

enum Place {
    Wheel(delay_queue::Key),
    Due,
    Running(AbortHandle),
}

/// What a probe hands back.
struct Ended {
    counters: Counters,
    flushed: Instant,
}

impl Schedule {
    pub(crate) fn new(registry: Registry, settings: Settings, meters: Meters) -> Schedule {
        Schedule {
            registry,
            settings,
            meters,
            jobs: BTreeMap::new(),
            wheel: DelayQueue::new(),
            due: VecDeque::new(),
            running: JoinSet::new(),
            keys: HashMap::new(),
            aliases: BTreeMap::new(),
            wide: false,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut feed = self.resync();
        loop {
            self.launch_due();
            self.show();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                batch = next(&mut feed) => match batch {
                    Some(batch) => {
                        for change in &batch.changes {
                            self.heard(change);
                        }
                        if !self.aliases.is_empty() && !self.wide {
                            feed = self.resync();
                        }
                    }
                    None => feed = self.resync(),
                },
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => self.ended(ended),
                Some(expired) = self.wheel.next(), if !self.wheel.is_empty() => {
                    self.is_due(expired.into_inner());
                }
            }
        }
        self.running.shutdown().await;
    }

    /// Brings the jobs in line with the catalog and follows it from there.
    fn resync(&mut self) -> Option<Feed> {
        let state = self.registry.snapshot();
        let gone: Vec<_> = self
            .jobs
            .keys()
            .filter(|key| state.check(key).is_none())
            .cloned()
            .collect();
        for key in gone {
            self.remove(&key);
        }
        for check in state.checks() {
            self.changed(None, Some(check));
        }
        // Only aliases look at more than checks. Once there was one, the feed stays as wide as it is.
        self.wide |= !self.aliases.is_empty();
        let mut selectors = vec![Selector::Table(Table::Checks)];
        if self.wide {
            selectors.extend([Table::Instances, Table::Nodes].map(Selector::Table));
        }
        // A floor above the present revision would mean that the history was cut to nothing; then the next turn tries again.
        self.registry.follow(selectors, state.revision()).ok()
    }

    fn heard(&mut self, change: &Change) {
        match change {
            Change::Check { before, after } => {
                self.changed(before.as_deref(), after.as_deref());
            }
            // Aliases look at what operators say, and at whether there is anything to look at.
            Change::Instance { before, after } => {
                let admin = |row: &Option<Arc<Instance>>| row.as_ref().map(|row| row.admin.clone());
                if let Some(row) = after.as_ref().or(before.as_ref())
                    && admin(before) != admin(after)
                {
                    self.tell_aliases(&Watched::Instance(row.key.clone()), None);
                }
            }
            Change::Node { before, after } => {
                let admin = |row: &Option<Arc<Node>>| row.as_ref().map(|row| row.admin.clone());
                if let Some(row) = after.as_ref().or(before.as_ref())
                    && admin(before) != admin(after)
                {
                    self.tell_aliases(&Watched::Node(row.name.clone()), None);
                }
            }
            _ => {}
        }
    }

    fn changed(&mut self, before: Option<&Check>, after: Option<&Check>) {
        let Some(row) = after.or(before) else {
            return;
        };
        let watched = match &row.instance {
            Some(instance) => Watched::Instance(instance.clone()),
            None => Watched::Node(row.key.node()),
        };
        self.tell_aliases(&watched, Some(&row.key));
        let job = self.jobs.get(&row.key);
        match after {
            Some(row) if self.mine(row) => {
                if job.is_none_or(|job| *job.facts != *row.facts) {
                    self.add(&row.facts);
                }
            }
            Some(_) | None => self.remove(&row.key),
        }
    }

    /// Whether this node runs a check.
    fn mine(&self, facts: &CheckFacts) -> bool {
        let listed = |args: &[Arc<str>]| {
            let is = |script: &LocalScript| {
                script.check == facts.key.id()
                    && script
                        .args
                        .iter()
                        .map(|a| &**a)
                        .eq(args.iter().map(|a| &**a))
            };
            self.settings.scripts.iter().any(is) || self.settings.reloaded_scripts.any(is)
        };
        let runnable = match &facts.probe {
            Probe::Http { .. }
            | Probe::Tcp { .. }
            | Probe::Udp { .. }
            | Probe::Grpc { .. }
            | Probe::H2Ping { .. }
            | Probe::Alias { .. } => true,
            Probe::Script { args } => listed(args),
            Probe::None | Probe::Ttl { .. } | Probe::Docker { .. } | Probe::OsService { .. } => {
                false
            }
        };
        runnable && facts.owner.as_ref() == Some(&self.settings.node)
    }

    fn add(&mut self, facts: &Arc<CheckFacts>) {
        self.remove(&facts.key);
        let wait = match &facts.probe {
            Probe::Alias { .. } => Duration::ZERO,
            _ => interval(facts).mul_f64((self.settings.jitter)().clamp(0.0, 1.0)),
        };
        for watched in watched(facts) {
            self.aliases
                .entry(watched)
                .or_default()
                .insert(facts.key.clone());
        }
        let job = Job {
            facts: facts.clone(),
            counters: Counters::new(facts.thresholds),
            flushed: Instant::now(),
            place: Place::Wheel(self.wheel.insert(facts.key.clone(), wait)),
            again: false,
        };
        self.jobs.insert(facts.key.clone(), job);
    }

    /// Forgets a job; a probe that runs for it ends here.
    fn remove(&mut self, key: &CheckKey) {
        let Some(job) = self.jobs.remove(key) else {
            return;
        };
        match job.place {
            Place::Wheel(slot) => {
                self.wheel.remove(&slot);
            }
            // Its place in the line is passed over when its turn comes.
            Place::Due => {}
            Place::Running(probe) => {
                self.keys.remove(&probe.id());
                probe.abort();
            }
        }
        for watched in watched(&job.facts) {
            if let Some(aliases) = self.aliases.get_mut(&watched) {
                aliases.remove(key);
                if aliases.is_empty() {
                    self.aliases.remove(&watched);
                }
            }
        }
    }

    /// Has the aliases of what changed look again, but not the one that made the change.
    fn tell_aliases(&mut self, watched: &Watched, but: Option<&CheckKey>) {
        let Some(aliases) = self.aliases.get(watched) else {
            return;
        };
        for key in aliases {
            let Some(job) = self.jobs.get_mut(key).filter(|_| Some(key) != but) else {
                continue;
            };
            match &job.place {
                Place::Wheel(slot) => self.wheel.reset(slot, Duration::ZERO),
                Place::Due => {}
                Place::Running(_) => job.again = true,
            }
        }
    }

    fn is_due(&mut self, key: CheckKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.place = Place::Due;
            self.due.push_back((key, Instant::now()));
        }
    }

    /// Starts what is due, as far as the bound allows.
    fn launch_due(&mut self) {
        while self.running.len() < self.settings.probes.max(1) {
            let Some((key, since)) = self.due.pop_front() else {
                return;
            };
            let Some(job) = self
                .jobs
                .get_mut(&key)
                .filter(|job| matches!(job.place, Place::Due))
            else {
                continue;
            };
            self.meters
                .late_ms
                .set(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX));
            let attempt = Attempt {
                registry: self.registry.clone(),
                meters: self.meters.clone(),
                facts: job.facts.clone(),
                counters: job.counters,
                flushed: job.flushed,
                output_interval: self.settings.output_interval,
            };
            let probe = self.running.spawn(attempt.run());
            self.keys.insert(probe.id(), key);
            job.again = false;
            job.place = Place::Running(probe);
        }
    }

    /// Puts a job back into the wheel when its probe has ended, or has panicked.
    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(error) => (error.id(), None),
        };
        let Some(key) = self.keys.remove(&id) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        if let Some(Ended { counters, flushed }) = result {
            (job.counters, job.flushed) = (counters, flushed);
        }
        let wait = if job.again {
            Duration::ZERO
        } else {
            interval(&job.facts)
        };
        job.place = Place::Wheel(self.wheel.insert(key, wait));
    }

    fn show(&self) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.meters.scheduled.set(count(self.jobs.len()));
        self.meters.waiting.set(count(self.due.len()));
        self.meters.running.set(count(self.running.len()));
    }
}

/// The next batch; `None` when the feed is cut, or could not be opened.
async fn next(feed: &mut Option<Feed>) -> Option<Arc<portolan_catalog::Batch>> {
    match feed {
        Some(feed) => feed.next().await.ok(),
        None => {
            tokio::time::sleep(SHORTEST).await;
            None
        }
    }
}

fn interval(facts: &CheckFacts) -> Duration {
    match &facts.probe {
        Probe::Alias { .. } => ALIAS,
        _ => Duration::from_millis(facts.interval_ms).clamp(SHORTEST, LONGEST),
    }
}

fn watched(facts: &CheckFacts) -> Vec<Watched> {
    let Probe::Alias { node, service } = &facts.probe else {
        return Vec::new();
    };
    let mut watched = vec![Watched::Node(node.clone())];
    if !service.is_empty() {
        watched.push(Watched::Instance(InstanceKey::consul(node, service)));
    }
    watched
}

/// One probe with everything that follows from it.
struct Attempt {
    registry: Registry,
    meters: Meters,
    facts: Arc<CheckFacts>,
    counters: Counters,
    flushed: Instant,
    output_interval: Duration,
}

impl Attempt {
    async fn run(mut self) -> Ended {
        if let Some(finding) = probe::run(&self.facts, &self.registry).await {
            self.meters.probes.inc();
            if finding.status == Status::Critical {
                self.meters.failures.inc();
            }
            if let Some(status) = self.counters.judge(finding.status) {
                self.report(status, finding.output).await;
            }
        }
        Ended {
            counters: self.counters,
            flushed: self.flushed,
        }
    }

    /// Proposes what is news. What could not be proposed is still news at the next run.
    async fn report(&mut self, status: Status, output: String) {
        let news = self.registry.read(|state| {
            let row = state
                .check(&self.facts.key)
                .filter(|row| *row.facts == *self.facts)?;
            Some((
                row.status != status || !row.reported,
                *row.output != *output,
            ))
        });
        let ripe = self.flushed.elapsed() >= self.output_interval;
        match news {
            Some((true, _)) => {}
            Some((false, true)) if ripe => {}
            Some((false, true)) => {
                self.meters.held.inc();
                return;
            }
            Some((false, false)) | None => return,
        }
        let command = Command::Report {
            check: self.facts.key.clone(),
            status,
            output: output.into(),
        };
        match self.registry.propose(Cause::own(Why::Probe), command).await {
            Ok(_) => {
                self.meters.reports.inc();
                self.flushed = Instant::now();
            }
            Err(error) => {
                tracing::warn!(check = ?self.facts.key, %error, "a check's result was not recorded; it is offered again after the next run")
            }
        }
    }
}
