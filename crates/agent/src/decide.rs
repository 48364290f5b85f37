//! Decisions: what comes from this agent's clients goes to the leader, or, where it is about what the agent owns and no leader can be
//! reached, is decided here.
//!
//! The leader says where in its log a batch of commands is; what became of them is what this agent finds when it applies that entry. So
//! whoever has an answer finds its effect in what is shown.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{Cause, Command, Entry, Refusal, Settled, stored};
use portolan_environment as environment;
use portolan_registry::{Proposal, Unavailable};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::core::Core;
use crate::keep::Keeper;
use crate::servers::Servers;
use crate::unheard::reports_only;

/// Batches on their way to the leader at a time; other proposals wait in the registry's queue.
const UNDER_WAY: usize = 64;
/// Commands of one batch, and their bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 2 << 20;
/// How long a decision may take. The registry gives up a little later.
const LIMIT: Duration = Duration::from_millis(6500);
/// How long the leader may take to decide what the agent could decide itself.
const OWN_LIMIT: Duration = Duration::from_secs(2);
/// How often everything that is owned is compared with what the servers have, give or take a quarter.
const COMPARED_EVERY: Duration = Duration::from_secs(60);
/// After an offer that did not come through.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Whatever makes decisions.
#[derive(Clone, Debug)]
pub(crate) struct Decider {
    pub(crate) core: Arc<Core>,
    pub(crate) servers: Arc<dyn Servers>,
    pub(crate) keeper: Keeper,
}

type Decided = Result<Settled, Unavailable>;

impl Decider {
    /// Takes proposals for ever.
    pub(crate) async fn decide_always(self, mut proposals: mpsc::Receiver<Proposal>) {
        let places = Arc::new(Semaphore::new(UNDER_WAY));
        let mut taken = Vec::new();
        while proposals.recv_many(&mut taken, BATCH).await > 0 {
            let (own, others): (Vec<_>, Vec<_>) = taken
                .drain(..)
                .partition(|proposal| self.core.is_own(&proposal.command));
            for (proposals, is_own) in [(own, true), (others, false)] {
                if proposals.is_empty() {
                    continue;
                }
                let Ok(place) = places.clone().acquire_owned().await else {
                    return;
                };
                let this = self.clone();
                tokio::spawn(async move {
                    match is_own {
                        true => this.decide_own(proposals).await,
                        false => this.decide_others(proposals).await,
                    }
                    drop(place);
                });
            }
        }
    }

    async fn decide_others(&self, proposals: Vec<Proposal>) {
        let (commands, answers) = taken_apart(proposals);
        let decided = match self.core.standing.reachable() {
            true => self.at_leader(commands).await,
            false => vec![Err(Unavailable::NoLeader); commands.len()],
        };
        for (answer, decided) in answers.into_iter().zip(decided) {
            // Whoever asked may have gone.
            let _gone = answer.send(decided);
        }
    }

    async fn decide_own(&self, proposals: Vec<Proposal>) {
        let (commands, answers) = taken_apart(proposals);
        // Held until what the leader did not decide is decided here: a comparison in between would find at the servers what is not owned.
        let (in_order, mut decided) = match self.core.standing.reachable() {
            true => {
                let in_order = self.core.order.read().await;
                self.core.deciding();
                let decided = self.at_leader_within(&commands, OWN_LIMIT).await;
                (Some(in_order), decided)
            }
            false => (None, vec![Err(Unavailable::NoLeader); commands.len()]),
        };
        let mut kept = Vec::new();
        for (at, ((cause, command), decided)) in commands.iter().zip(&mut decided).enumerate() {
            let at_leader = decided.is_ok();
            if let Err(unavailable) = *decided {
                if unavailable == Unavailable::Unknown {
                    self.core.doubt();
                }
                // A registration here is a registration, whatever the servers do: they are told when they can be.
                let settled = self.core.accept(cause, command);
                *decided = settled.ok_or(unavailable);
            }
            let done = matches!(decided, Ok(Settled { outcome: Ok(_), .. }));
            let different = match at_leader {
                true => done && self.core.note(command),
                false => done,
            };
            // What a check said last is written down later.
            if different && !(at_leader && reports_only(command)) {
                kept.push((at, at_leader));
            }
        }
        if in_order.is_some() {
            self.core.decided();
        }
        drop(in_order);
        // Whoever has an answer finds it after a restart: the servers would be told otherwise.
        if !kept.is_empty()
            && let Err(unavailable) = self.keeper.keep_owned().await
        {
            for (at, at_leader) in kept {
                decided[at] = Err(match at_leader {
                    true => Unavailable::Unknown,
                    false => unavailable,
                });
            }
        }
        for (answer, decided) in answers.into_iter().zip(decided) {
            let _gone = answer.send(decided);
        }
    }

    /// Has commands decided by the leader, some at a time, and waits until what they did is shown here.
    pub(crate) async fn at_leader(&self, commands: Vec<(Arc<Cause>, Command)>) -> Vec<Decided> {
        self.at_leader_within(&commands, LIMIT).await
    }

    async fn at_leader_within(
        &self,
        commands: &[(Arc<Cause>, Command)],
        limit: Duration,
    ) -> Vec<Decided> {
        let until = Instant::now() + limit;
        let mut decided: Vec<Decided> = Vec::with_capacity(commands.len());
        let (mut batch, mut places) = (Vec::new(), Vec::new());
        for (at, (cause, command)) in commands.iter().enumerate() {
            if batch.len() > BATCH_BYTES {
                self.one_batch(&mut batch, &mut places, &mut decided, until)
                    .await;
            }
            decided.push(Err(Unavailable::NoLeader));
            let entry = Entry {
                at: self.core.now(),
                cause: cause.clone(),
                command: command.clone(),
            };
            match stored::encode_entry(&entry, self.core.level(), &mut batch) {
                Ok(()) => places.push(at),
                Err(refusal) => decided[at] = Ok(self.refused(refusal)),
            }
        }
        self.one_batch(&mut batch, &mut places, &mut decided, until)
            .await;
        decided
    }

    fn refused(&self, refusal: Refusal) -> Settled {
        Settled {
            revision: self.core.revision(),
            outcome: Err(refusal),
        }
    }

    async fn one_batch(
        &self,
        batch: &mut Vec<u8>,
        places: &mut Vec<usize>,
        decided: &mut [Decided],
        until: Instant,
    ) {
        if places.is_empty() {
            return;
        }
        // From before the question on, or an answer could pass by unnoticed.
        let keeping = self.core.answers.keep();
        let asked = self
            .servers
            .propose(std::mem::take(batch).into(), until)
            .await;
        let answers = match asked {
            Ok(place) => keeping
                .take(place, places.len(), until)
                .await
                .ok_or(Unavailable::Unknown),
            Err(unavailable) => Err(unavailable),
        };
        for (at, place) in places.drain(..).enumerate() {
            decided[place] = match &answers {
                Ok(answers) => answers.get(at).cloned().ok_or(Unavailable::Unknown),
                Err(unavailable) => Err(*unavailable),
            };
        }
    }

    /// Confirms for ever that what is shown is no older than the question: one question to the leader for all that wait.
    pub(crate) async fn confirm_always(
        self,
        mut barriers: mpsc::Receiver<oneshot::Sender<Result<(), Unavailable>>>,
    ) {
        let mut waiting = Vec::new();
        // Those that come meanwhile must not take this answer, which may be older than their question: they are the next ones.
        while barriers.recv_many(&mut waiting, 4096).await > 0 {
            let confirmed = self.confirm().await;
            for answer in waiting.drain(..) {
                let _gone = answer.send(confirmed);
            }
        }
    }

    async fn confirm(&self) -> Result<(), Unavailable> {
        if !self.core.standing.reachable() {
            return Err(Unavailable::NoLeader);
        }
        let until = Instant::now() + LIMIT;
        let index = self.servers.barrier(until).await?;
        match self.core.answers.reached(index, until).await {
            true => Ok(()),
            false => Err(Unavailable::NoLeader),
        }
    }

    /// Offers for ever what is owned and the servers do not have.
    pub(crate) async fn offer_always(self) {
        loop {
            let jitter = 0.75 + environment::random_fraction() / 2.0;
            let wanted = self.core.offer_wanted();
            let _either = timeout(COMPARED_EVERY.mul_f64(jitter), wanted).await;
            if !self.core.standing.reachable() {
                continue;
            }
            if !self.offer_all().await {
                sleep(OFFER_AGAIN).await;
                self.core.offer_soon();
            }
        }
    }

    /// Offers one after the other; true when nothing is left to be offered.
    async fn offer_all(&self) -> bool {
        let mut told = 0_u64;
        loop {
            let _alone = self.core.order.write().await;
            let Some(command) = self.core.next_offer() else {
                if told > 0 {
                    tracing::info!(
                        commands = told,
                        "the servers have everything that is owned here"
                    );
                }
                return true;
            };
            let offer = (self.core.own_cause(), command.clone());
            match self.at_leader(vec![offer]).await.pop() {
                Some(Ok(Settled { outcome: Ok(_), .. })) => {
                    self.core.offered(&command);
                    told += 1;
                }
                Some(Ok(Settled {
                    outcome: Err(refusal),
                    ..
                })) => {
                    self.core.offered(&command);
                    tracing::warn!(?refusal, ?command, "the servers refuse what is owned here");
                    return false;
                }
                Some(Err(Unavailable::Unknown)) => {
                    self.core.doubt();
                    return false;
                }
                Some(Err(_)) | None => return false,
            }
        }
    }
}

type Asked = Vec<(Arc<Cause>, Command)>;
type Answers = Vec<oneshot::Sender<Decided>>;

fn taken_apart(proposals: Vec<Proposal>) -> (Asked, Answers) {
    let parts = proposals.into_iter().map(|proposal| {
        let Proposal {
            cause,
            command,
            answer,
        } = proposal;
        ((cause, command), answer)
    });
    parts.unzip()
}
