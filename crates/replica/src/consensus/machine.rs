//! The apply loop: committed batches become states, answers and changes.
//!
//! All of what openraft hands over at once is applied, then published once, then answered: whoever gets an answer finds its effect in
//! the published state.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use portolan_catalog::{Batch, Command, Entry, LeaseId, State, Timestamp};
use portolan_cluster::answers::Answers as LocalAnswers;
use portolan_environment::mutated;
use portolan_registry::Mark;

use super::types::{
    Answers, LogId, SnapshotMeta, StoredMembership, Types, decode_membership, encode_membership,
    log_id, position,
};
use crate::fatal::{Fatal, unreadable};
use crate::log::Log;
use crate::snapshot::{Head, SnapshotFile, Snapshots};
use crate::stats::Stats;

/// Where applied states go.
pub(crate) trait Publish: Send + Sync + 'static {
    /// The state after a run of entries, the changes that led to it, and the leases that were granted, renewed or ended.
    fn publish(&mut self, state: &State, changes: Vec<Arc<Batch>>, leases: Vec<LeaseId>);

    /// The entries with commands that led to the state published last, each with the mark after it, and the index of the last entry.
    fn applied(&mut self, entries: Vec<(Mark, Bytes)>, index: u64, state: &State);

    /// The state published last is that of this cluster after the entry with this index; nothing is known of entries before.
    fn begun(&mut self, cluster: u64, index: u64, state: &State);

    /// Batches that led to the state which is published next, from a snapshot of an earlier version.
    fn earlier(&mut self, batches: Vec<Arc<Batch>>);

    /// A state that did not come from entries: a snapshot took its place.
    fn replace(&mut self, state: &State);

    /// How many voters there are from now on.
    fn voters(&mut self, voters: usize);
}

/// The replicated state and its place in the log.
pub(crate) struct Machine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    cluster_id: u64,
    publish: Box<dyn Publish>,
    snapshots: Arc<Snapshots>,
    log: Arc<Log>,
    fatal: Fatal,
    stats: Arc<Stats>,
    announced: Arc<AtomicBool>,
    answers: Arc<LocalAnswers>,
}

impl Machine {
    /// Begins with the current snapshot, or empty.
    ///
    /// # Errors
    /// A damaged snapshot.
    pub(crate) fn open(
        cluster_id: u64,
        snapshots: Arc<Snapshots>,
        log: Arc<Log>,
        fatal: Fatal,
        stats: Arc<Stats>,
        publish: Box<dyn Publish>,
        answers: Arc<LocalAnswers>,
    ) -> Result<Self, crate::snapshot::ReadError> {
        let mut machine = Machine {
            state: State::default(),
            applied: None,
            membership: StoredMembership::default(),
            cluster_id,
            publish,
            snapshots,
            log,
            fatal,
            stats,
            announced: Arc::default(),
            answers,
        };
        machine.publish.begun(cluster_id, 0, &machine.state);
        if let Some(file) = machine.snapshots.current() {
            let publish = &mut machine.publish;
            let state = file.load(|batches| publish.earlier(batches))?;
            machine.begin(state, &file.head)?;
            machine.stats.snapshot_bytes.set(file.length());
            machine
                .stats
                .note_snapshot(file.head.index(), file.head.revision);
        }
        Ok(machine)
    }

    fn begin(&mut self, state: State, head: &Head) -> io::Result<()> {
        self.applied = head.last.map(log_id);
        self.membership = if head.membership.is_empty() {
            StoredMembership::default()
        } else {
            StoredMembership::new(
                head.membership_at.map(log_id),
                decode_membership(&head.membership)?,
            )
        };
        self.publish
            .voters(self.membership.membership().voter_ids().count());
        self.state = state;
        self.publish.replace(&self.state);
        let index = self.applied.as_ref().map_or(0, |applied| applied.index);
        self.publish.begun(self.cluster_id, index, &self.state);
        self.stats.applied_index.set(index);
        if let Some(applied) = &self.applied {
            self.answers.reach(applied.index);
        }
        Ok(())
    }

    /// Set before openraft is asked to take note of a snapshot that was written.
    pub(crate) fn announced(&self) -> Arc<AtomicBool> {
        self.announced.clone()
    }

    /// What a snapshot needs, as of now.
    pub(crate) fn builder(&self) -> Builder {
        Builder {
            state: self.state.clone(),
            head: self.head(),
            written: self.stats.log_written.get(),
            snapshots: self.snapshots.clone(),
            stats: self.stats.clone(),
            ready: None,
        }
    }

    fn head(&self) -> Head {
        Head {
            cluster_id: self.cluster_id,
            last: self.applied.as_ref().map(position),
            membership_at: self.membership.log_id().as_ref().map(position),
            membership: encode_membership(self.membership.membership()),
            revision: self.state.revision().0,
            at_ms: self.state.last_at().0,
        }
    }

    fn apply_one(
        &mut self,
        run: &mut Run,
        payload: EntryPayloadOf,
        id: LogId,
    ) -> io::Result<Answers> {
        let answers = match payload {
            EntryPayload::Blank => Answers::default(),
            EntryPayload::Membership(membership) => {
                self.publish.voters(membership.voter_ids().count());
                self.membership = StoredMembership::new(Some(id), membership);
                Answers::default()
            }
            EntryPayload::Normal(batch) => {
                let entries = batch
                    .entries()
                    .map_err(|damaged| unreadable(id.index, damaged))?;
                let mut answers = Vec::with_capacity(entries.len());
                let mut replaced = false;
                for entry in entries {
                    if replaces(&entry.command) {
                        // What led to the state that goes is followed by those who follow it.
                        self.publish.publish(
                            &self.state,
                            std::mem::take(&mut run.changes),
                            std::mem::take(&mut run.leases),
                        );
                    }
                    let own = mutated("apply-by-own-clock").then(|| Entry {
                        at: Timestamp(portolan_environment::wall_ms()),
                        ..entry.clone()
                    });
                    let applied = self.state.apply(own.as_ref().unwrap_or(entry));
                    if applied.replaced {
                        self.publish.replace(&self.state);
                        replaced = true;
                    }
                    run.changes.extend(applied.batch);
                    run.leases.extend(applied.leases);
                    answers.push(applied.settled);
                }
                self.stats.commands.add(entries.len() as u64);
                if replaced {
                    // Whoever followed the entries begins with the state they led to.
                    run.entries.clear();
                    self.publish.begun(self.cluster_id, id.index, &self.state);
                } else {
                    let after = Mark::of(id.index, &self.state);
                    run.entries.push((after, batch.shared_bytes()));
                }
                Answers { settled: answers }
            }
        };
        self.applied = Some(id);
        Ok(answers)
    }
}

type EntryPayloadOf = super::types::Payload;

/// Whether another state may be there afterwards.
fn replaces(command: &Command) -> bool {
    matches!(command, Command::Restore(part) if part.last)
}

/// What a run of entries did so far.
#[derive(Default)]
struct Run {
    entries: Vec<(Mark, Bytes)>,
    changes: Vec<Arc<Batch>>,
    leases: Vec<LeaseId>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut run = Run::default();
        let (mut waiting, mut wanted) = (Vec::new(), Vec::new());
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let id = entry.log_id();
            let answers = self
                .apply_one(&mut run, entry.payload, id)
                .map_err(|error| self.fatal.raise("applying the log", error))?;
            if self.answers.wanted() {
                wanted.push((id.index, answers.settled.clone()));
            }
            if let Some(responder) = responder {
                waiting.push((responder, answers));
            }
        }
        self.publish.publish(&self.state, run.changes, run.leases);
        if let Some(applied) = &self.applied {
            self.publish
                .applied(run.entries, applied.index, &self.state);
            self.log.applied(applied.index);
            self.stats.applied_index.set(applied.index);
        }
        self.stats.applies.add(1);
        for (index, answers) in wanted {
            self.answers.applied(index, answers);
        }
        if let Some(applied) = &self.applied {
            self.answers.reach(applied.index);
        }
        for (responder, answers) in waiting {
            responder.send(answers);
        }
        Ok(())
    }

    /// openraft asks only because a snapshot was announced: a file is written first, outside openraft, where a full disk is no
    /// error that ends the node.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            return Some(self.builder());
        }
        let announced = self.announced.swap(false, Ordering::AcqRel);
        let file = self.snapshots.current().filter(|_| announced)?;
        let head = file.head.clone();
        Some(Builder {
            ready: Some(file),
            head,
            ..self.builder()
        })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        let (state, file) = portolan_environment::blocking(move || {
            // What led to it is not known here; members of this version send none.
            let state = snapshot.load(drop).map_err(io::Error::other)?;
            let file = snapshots.adopt(&snapshot)?;
            Ok::<_, io::Error>((state, file))
        })
        .await??;
        self.begin(state, &file.head)?;
        self.stats.snapshot_bytes.set(file.length());
        self.stats
            .note_snapshot(file.head.index(), file.head.revision);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<CurrentSnapshot>, io::Error> {
        self.snapshots.current().map(to_openraft).transpose()
    }
}

pub(super) fn to_openraft(file: SnapshotFile) -> io::Result<CurrentSnapshot> {
    let last_membership = if file.head.membership.is_empty() {
        StoredMembership::default()
    } else {
        StoredMembership::new(
            file.head.membership_at.map(log_id),
            decode_membership(&file.head.membership)?,
        )
    };
    Ok(Snapshot {
        meta: SnapshotMeta {
            last_log_id: file.head.last.map(log_id),
            last_membership,
        },
        snapshot: file,
    })
}

type CurrentSnapshot = openraft::alias::SnapshotOf<Types, SnapshotFile>;

/// Writes a state that was current when this was made; the state machine goes on meanwhile.
pub(crate) struct Builder {
    state: State,
    head: Head,
    written: u64,
    snapshots: Arc<Snapshots>,
    stats: Arc<Stats>,
    ready: Option<SnapshotFile>,
}

impl Builder {
    /// Writes the file; blocks.
    ///
    /// # Errors
    /// A full disk, or any other disk error, for which the fatal hook has been called.
    pub(crate) fn save(&self) -> io::Result<SnapshotFile> {
        if let Some(file) = &self.ready {
            return Ok(file.clone());
        }
        let file = self.snapshots.save(&self.state, &self.head)?;
        self.stats.snapshots.add(1);
        self.stats.snapshot_bytes.set(file.length());
        self.stats
            .note_snapshot(self.head.index(), self.head.revision);
        self.stats.written_at_snapshot.set(self.written);
        Ok(file)
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<CurrentSnapshot, io::Error> {
        let builder = Builder {
            state: self.state.clone(),
            head: self.head.clone(),
            snapshots: self.snapshots.clone(),
            stats: self.stats.clone(),
            ready: self.ready.take(),
            ..*self
        };
        let file = portolan_environment::blocking(move || builder.save()).await??;
        to_openraft(file)
    }
}
