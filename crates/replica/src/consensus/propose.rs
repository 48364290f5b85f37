//! Proposals become batches: on the leader batches become log entries, one at a time; elsewhere they go to the leader.
//!
//! A batch of this server and batches that other servers sent share an entry. What is known not to have been decided, because this server did
//! not lead, is decided or sent again; nothing else is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use portolan_catalog::stored::{LEVEL, encode_entry};
use portolan_catalog::{Command, Entry, Revision, Settled, State};
use portolan_cluster::answers::Answers;
use portolan_cluster::forward::{Forward, Leader, Place};
use portolan_environment::mutated;
use portolan_environment::watch;
use portolan_registry::{Proposal, Publisher, Unavailable, WallClock};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::raft_node::RaftNode;
use super::types::{Reply, Types};
use crate::command_batch::CommandBatch;
use crate::proposal_time::ProposalTime;
use crate::space::{Room, Space};
use crate::stats::Stats;

/// Commands in one batch at most.
const COMMANDS: usize = 1024;
/// A batch is closed when its encoding has grown this long.
const BYTES: usize = 1 << 20;
/// How long to wait for a segment that is being prepared.
const PREPARING: Duration = Duration::from_millis(2);
/// Batches on their way to the leader.
const FLIGHTS: usize = 4;
/// How long a proposal waits for a leader before it is refused.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// How long this server may take to apply what the leader has decided.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long it waits until it looks again who leads, unless it is told before.
pub(super) const LOOK: Duration = Duration::from_millis(10);

type Answer = oneshot::Sender<Result<Settled, Unavailable>>;

/// A batch that another server, or an agent, sent.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) entries: Vec<Entry>,
    pub(crate) place: oneshot::Sender<Result<Place, NotDecided>>,
}

/// Why nothing of a batch was decided. No answer at all says that this is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDecided {
    NotLeader,
    Full,
}

/// Who waits for a part of a batch.
enum Waiting {
    One(Answer),
    Many {
        offset: u32,
        count: usize,
        place: oneshot::Sender<Result<Place, NotDecided>>,
    },
}

struct Packed {
    batch: CommandBatch,
    waiting: Vec<Waiting>,
}

/// Where commands are decided.
enum Lead {
    Here,
    There,
    Nowhere,
}

/// Takes proposals and has them decided.
pub(crate) struct Proposer {
    pub(crate) node_id: u64,
    pub(crate) raft: RaftNode,
    pub(crate) space: Arc<Space>,
    pub(crate) publisher: Publisher,
    pub(crate) wall: WallClock,
    pub(crate) time: ProposalTime,
    pub(crate) stats: Arc<Stats>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) forward: Forward,
    pub(crate) answers: Arc<Answers>,
}

impl Proposer {
    /// Runs until every handle is gone or openraft has stopped.
    pub(crate) async fn run(
        mut self,
        mut proposals: mpsc::Receiver<Proposal>,
        mut forwarded: mpsc::Receiver<Forwarded>,
    ) {
        let mut taken = Vec::with_capacity(COMMANDS);
        let (mut local, mut remote) = (VecDeque::new(), VecDeque::new());
        let places = Arc::new(Semaphore::new(FLIGHTS));
        let mut flights = JoinSet::new();
        loop {
            if local.is_empty() && remote.is_empty() {
                tokio::select! {
                    biased;
                    count = proposals.recv_many(&mut taken, COMMANDS) => {
                        if count == 0 {
                            return;
                        }
                        local.extend(taken.drain(..));
                    }
                    Some(batch) = forwarded.recv() => remote.push_back(batch),
                }
            }
            while let Ok(batch) = forwarded.try_recv() {
                remote.push_back(batch);
            }
            while local.len() < COMMANDS
                && let Ok(proposal) = proposals.try_recv()
            {
                local.push_back(proposal);
            }
            match self.lead() {
                Lead::Here => {
                    let packed = self.pack(&mut local, &mut remote, true);
                    if packed.waiting.is_empty() {
                        continue;
                    }
                    if let Some(back) = self.decide(packed).await {
                        for proposal in back.into_iter().rev() {
                            local.push_front(proposal);
                        }
                        self.pause(&mut local, &mut remote).await;
                    }
                }
                Lead::There => {
                    send_away(&mut remote);
                    // What arrives while all are on their way goes along with the next.
                    let place = places.clone().acquire_owned().await;
                    while flights.try_join_next().is_some() {}
                    let packed = self.pack(&mut local, &mut remote, false);
                    if packed.waiting.is_empty() {
                        continue;
                    }
                    let flight = fly(self.forward.clone(), self.answers.clone(), packed);
                    flights.spawn(async move {
                        flight.await;
                        drop(place);
                    });
                }
                Lead::Nowhere => self.pause(&mut local, &mut remote).await,
            }
        }
    }

    fn lead(&self) -> Lead {
        match &*self.leader.borrow() {
            Some(leader) if leader.node == self.node_id => Lead::Here,
            Some(_) => Lead::There,
            None => Lead::Nowhere,
        }
    }

    /// Waits for a leader. When there has been none for longer than an election takes, whoever waits is told.
    async fn pause(&mut self, local: &mut VecDeque<Proposal>, remote: &mut VecDeque<Forwarded>) {
        send_away(remote);
        if self.stats.leader_lost.get() != 0 {
            for proposal in local.drain(..) {
                // Who asked may have gone.
                let _gone = proposal.answer.send(Err(Unavailable::NoLeader));
            }
            return;
        }
        // Looked at again either way, unless there will be no leader any more: the node has stopped.
        if let Ok(Err(_)) = timeout(LOOK, self.leader.changed()).await {
            for proposal in local.drain(..) {
                // Who asked may have gone.
                let _gone = proposal.answer.send(Err(Unavailable::NoLeader));
            }
        }
    }

    /// Takes proposals up to the bound of bytes. What could not be read back after a restart is refused here, whoever proposed it.
    fn pack(
        &mut self,
        local: &mut VecDeque<Proposal>,
        remote: &mut VecDeque<Forwarded>,
        leads: bool,
    ) -> Packed {
        let mut bytes = Vec::with_capacity(4096);
        let mut entries = Vec::new();
        let mut waiting = Vec::new();
        let at = self.time.at((self.wall)(), Instant::now());
        let (agreed, new) = {
            let state = self.publisher.state();
            (state.level(), leads && is_new(&state))
        };
        while bytes.len() < BYTES
            && let Some(batch) = remote.pop_front()
        {
            if new {
                // As below; whoever sent it tries again.
                let _gone = batch.place.send(Err(NotDecided::NotLeader));
                continue;
            }
            let (offset, before, count) = (entries.len(), bytes.len(), batch.entries.len());
            let entry = |entry: Entry| Entry { at, ..entry };
            let theirs: Vec<Entry> = batch.entries.into_iter().map(entry).collect();
            if theirs
                .iter()
                .any(|entry| encode_entry(entry, agreed, &mut bytes).is_err())
            {
                // Whoever packed it knows the same bounds: it is of another version. Without an answer it is unknown what became of it.
                bytes.truncate(before);
                continue;
            }
            entries.extend(theirs);
            waiting.push(Waiting::Many {
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                count,
                place: batch.place,
            });
        }
        while bytes.len() < BYTES
            && let Some(proposal) = local.pop_front()
        {
            // The first entry comes first: later it would be refused, and the catalog would stay without what is in it.
            if new && !matches!(proposal.command, Command::Bootstrap(_)) {
                // Who asked may have gone.
                let _gone = proposal.answer.send(Err(Unavailable::NoLeader));
                continue;
            }
            // What another leader decides is its own business, which has given every lease its full time.
            if let Command::Lapse {
                lease,
                stage,
                generation,
            } = &proposal.command
                && !(leads && self.publisher.may_lapse(lease, *stage, *generation))
                && !mutated("lapse-late")
            {
                // Who asked may have gone.
                let _gone = proposal.answer.send(Err(Unavailable::NoLeader));
                continue;
            }
            let entry = Entry {
                at,
                cause: proposal.cause,
                command: proposal.command,
            };
            // Whoever raises the level has asked every member.
            let known = match entry.command {
                Command::RaiseLevel { .. } => LEVEL,
                _ => agreed,
            };
            if let Err(refusal) = encode_entry(&entry, known, &mut bytes) {
                let settled = Settled {
                    revision: self.publisher.state().revision(),
                    outcome: Err(refusal),
                };
                // Who asked may have gone.
                let _gone = proposal.answer.send(Ok(settled));
                continue;
            }
            entries.push(entry);
            waiting.push(Waiting::One(proposal.answer));
        }
        Packed {
            batch: CommandBatch::new(bytes.into(), entries),
            waiting,
        }
    }

    /// Gives back this server's own proposals when nothing was decided because it does not lead.
    async fn decide(&self, packed: Packed) -> Option<Vec<Proposal>> {
        let Packed { batch, waiting } = packed;
        loop {
            match self.space.room_for(batch.bytes().len()) {
                Room::Ready => break,
                Room::Soon => sleep(PREPARING).await,
                Room::Full => {
                    self.stats.refused_full.add(waiting.len() as u64);
                    refuse(waiting, Unavailable::Full, NotDecided::Full);
                    return None;
                }
            }
        }
        self.stats.batches.add(1);
        let (done, decided) = oneshot::channel();
        let reply = Reply::new(move |result| {
            let back = answer(waiting, result);
            // The proposer may have been stopped meanwhile.
            let _gone = done.send(back);
        });
        let raft = self.raft.raft();
        // An error means that openraft stopped and dropped the reply: the outcome is unknown, and waiters see a closed channel.
        raft.client_write_ff(batch.clone(), Some(reply))
            .await
            .ok()?;
        let back = decided.await.ok()?;
        if mutated("decide-twice") && self.stats.batches.get().is_multiple_of(50) {
            drop(raft.client_write_ff(batch.clone(), None).await);
        }
        let back = back?;
        let entries = batch.entries().unwrap_or_default();
        let mut own = Vec::new();
        let mut at = 0;
        for waiting in back {
            match waiting {
                Waiting::One(answer) => {
                    own.extend(entries.get(at).map(|entry| Proposal {
                        cause: entry.cause.clone(),
                        command: entry.command.clone(),
                        answer,
                    }));
                    at += 1;
                }
                Waiting::Many { count, place, .. } => {
                    at += count;
                    // Who asked may have gone.
                    let _gone = place.send(Err(NotDecided::NotLeader));
                }
            }
        }
        Some(own)
    }
}

fn send_away(remote: &mut VecDeque<Forwarded>) {
    for batch in remote.drain(..) {
        // Who asked may have gone.
        let _gone = batch.place.send(Err(NotDecided::NotLeader));
    }
}

/// Answers; gives everybody back when nothing was decided because this server does not lead.
fn answer(waiting: Vec<Waiting>, result: ClientWriteResult<Types>) -> Option<Vec<Waiting>> {
    let response = match result {
        Ok(response) => response,
        Err(ClientWriteError::ForwardToLeader(_)) => return Some(waiting),
        // Dropping the answers says that the outcome is unknown.
        Err(_) => return None,
    };
    let index = response.log_id.index;
    let mut settled = response.data.settled.into_iter();
    for waiting in waiting {
        match waiting {
            Waiting::One(answer) => {
                if let Some(settled) = settled.next() {
                    // Who asked may have gone.
                    let _gone = answer.send(Ok(settled));
                }
            }
            Waiting::Many {
                offset,
                count,
                place,
            } => {
                settled.by_ref().take(count).for_each(drop);
                // Who asked may have gone.
                let _gone = place.send(Ok(Place { index, offset }));
            }
        }
    }
    None
}

fn refuse(waiting: Vec<Waiting>, why: Unavailable, not_decided: NotDecided) {
    for waiting in waiting {
        // Who asked may have gone.
        match waiting {
            Waiting::One(answer) => drop(answer.send(Err(why))),
            Waiting::Many { place, .. } => drop(place.send(Err(not_decided))),
        }
    }
}

/// Has the leader decide a batch, and answers from what is applied here.
async fn fly(forward: Forward, answers: Arc<Answers>, packed: Packed) {
    let Packed { batch, waiting } = packed;
    let keeping = answers.keep();
    let bytes = batch.shared_bytes();
    match forward.propose(bytes, Instant::now() + HOLD).await {
        Ok(place) => {
            let until = Instant::now() + CATCH_UP;
            let settled = keeping.take(place, waiting.len(), until).await;
            // What a snapshot took the place of was decided, but how is not known here: dropping the answers says so.
            for (waiting, settled) in waiting.into_iter().zip(settled.unwrap_or_default()) {
                if let Waiting::One(answer) = waiting {
                    // Who asked may have gone.
                    let _gone = answer.send(Ok(settled));
                }
            }
        }
        // Dropping the answers says that the outcome is unknown.
        Err(Unavailable::Unknown) => drop(waiting),
        Err(why) => refuse(waiting, why, NotDecided::NotLeader),
    }
}

/// Whether nobody ever wrote to this catalog.
pub(crate) fn is_new(state: &State) -> bool {
    state.revision() <= Revision::FIRST && state.nodes().next().is_none()
}
