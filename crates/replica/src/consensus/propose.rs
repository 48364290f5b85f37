//! Proposals become batches, batches become log entries, one at a time.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use portolan_catalog::stored::{LEVEL, encode_entry};
use portolan_catalog::{Command, Entry, Revision, Settled, State};
use portolan_environment::mutated;
use portolan_registry::{Proposal, Publisher, Unavailable, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

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

type Answer = oneshot::Sender<Result<Settled, Unavailable>>;

/// Takes proposals and has them decided.
pub(crate) struct Proposer {
    pub(crate) raft: RaftNode,
    pub(crate) space: Arc<Space>,
    pub(crate) publisher: Publisher,
    pub(crate) wall: WallClock,
    pub(crate) time: ProposalTime,
    pub(crate) stats: Arc<Stats>,
}

impl Proposer {
    /// Runs until every handle is gone or openraft has stopped.
    pub(crate) async fn run(mut self, mut proposals: mpsc::Receiver<Proposal>) {
        let mut queue = Vec::with_capacity(COMMANDS);
        loop {
            if proposals.recv_many(&mut queue, COMMANDS).await == 0 {
                return;
            }
            let mut rest = queue.drain(..).peekable();
            while rest.peek().is_some() {
                let (batch, answers) = self.pack(&mut rest);
                if !answers.is_empty() {
                    self.decide(batch, answers).await;
                }
            }
        }
    }

    /// Takes proposals up to the bound of bytes. What could not be read back after a restart is refused here, whoever proposed it.
    fn pack(
        &mut self,
        proposals: &mut impl Iterator<Item = Proposal>,
    ) -> (CommandBatch, Vec<Answer>) {
        let mut bytes = Vec::with_capacity(4096);
        let mut entries = Vec::new();
        let mut answers = Vec::new();
        let at = self.time.at((self.wall)(), Instant::now());
        let (agreed, new) = {
            let state = self.publisher.state();
            (state.level(), is_new(&state))
        };
        while bytes.len() < BYTES
            && let Some(proposal) = proposals.next()
        {
            // The first entry comes first: later it would be refused, and the catalog would stay without what is in it.
            if new && !matches!(proposal.command, Command::Bootstrap(_)) {
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
            answers.push(proposal.answer);
        }
        (CommandBatch::new(bytes.into(), entries), answers)
    }

    async fn decide(&self, batch: CommandBatch, answers: Vec<Answer>) {
        loop {
            match self.space.room_for(batch.bytes().len()) {
                Room::Ready => break,
                Room::Soon => tokio::time::sleep(PREPARING).await,
                Room::Full => {
                    self.stats.refused_full.add(answers.len() as u64);
                    return refuse(answers, Unavailable::Full);
                }
            }
        }
        self.stats.batches.add(1);
        let (done, decided) = oneshot::channel();
        let reply = Reply::new(move |result| {
            answer(answers, result);
            // The proposer may have been stopped meanwhile.
            let _gone = done.send(());
        });
        let raft = self.raft.raft();
        let again = mutated("decide-twice").then(|| batch.clone());
        if raft.client_write_ff(batch, Some(reply)).await.is_ok() {
            // An error means that openraft stopped and dropped the reply: the outcome is unknown, and waiters see a closed channel.
            let _stopped = decided.await;
        }
        if let Some(batch) = again.filter(|_| self.stats.batches.get().is_multiple_of(50)) {
            drop(raft.client_write_ff(batch, None).await);
        }
    }
}

fn answer(answers: Vec<Answer>, result: ClientWriteResult<Types>) {
    match result {
        Ok(response) => {
            for (answer, settled) in answers.into_iter().zip(response.data.settled) {
                // Who asked may have gone.
                let _gone = answer.send(Ok(settled));
            }
        }
        Err(ClientWriteError::ForwardToLeader(_)) => refuse(answers, Unavailable::NoLeader),
        // Dropping the answers says that the outcome is unknown.
        Err(_) => drop(answers),
    }
}

fn refuse(answers: Vec<Answer>, why: Unavailable) {
    for answer in answers {
        // Who asked may have gone.
        let _gone = answer.send(Err(why));
    }
}

/// Answers readers who want the latest state: all who wait share one confirmation.
pub(crate) async fn confirm(raft: RaftNode, mut barriers: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    let mut last: Option<Instant> = None;
    while barriers.recv_many(&mut waiting, 4096).await > 0 {
        let assumed = mutated("reuse-read-barrier")
            && last.is_some_and(|at| at.elapsed() < Duration::from_secs(3))
            || mutated("read-without-asking") && raft.leads();
        let confirmed = match assumed {
            true => Ok(()),
            false => match raft.raft().ensure_linearizable(ReadPolicy::ReadIndex).await {
                Ok(_) => Ok(()),
                Err(_) => Err(Unavailable::NoLeader),
            },
        };
        last = confirmed.is_ok().then(Instant::now);
        for reader in waiting.drain(..) {
            // Who asked may have gone.
            let _gone = reader.send(confirmed);
        }
    }
}

/// A reader behind the barrier.
pub(crate) type Waiting = oneshot::Sender<Result<(), Unavailable>>;

/// Whether nobody ever wrote to this catalog.
pub(crate) fn is_new(state: &State) -> bool {
    state.revision() <= Revision::FIRST && state.nodes().next().is_none()
}
