//! The leader's side of what other servers and agents send it, and this server's own questions to the leader.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_catalog::{LeaseId, stored};
use portolan_cluster::answers::Answers;
use portolan_cluster::forward::{Forward, Leader, Renewal, Request, Response, leases_from_bytes};
use portolan_cluster::message::{decode, encode};
use portolan_environment::watch;
use portolan_environment::{Answer, Peer, mutated};
use portolan_registry::{LeaseQuestion, Registry, Renewed, Unavailable};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::propose::{Forwarded, HOLD, LOOK, NotDecided};
use super::raft_node::RaftNode;
use crate::stats::Stats;

/// Leases that one question to the leader is about at most.
const LEASES: usize = 4096;
/// Questions about leases on their way to the leader.
const FLIGHTS: usize = 4;

/// Answers what other servers and agents send to the leader.
pub(crate) struct Forwards {
    pub(crate) node_id: u64,
    pub(crate) raft: RaftNode,
    pub(crate) registry: Registry,
    pub(crate) queue: mpsc::Sender<Forwarded>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
}

impl Forwards {
    /// Another server that leads, if this one knows of it.
    fn elsewhere(&self) -> Response {
        let leader = self.leader.borrow().clone();
        Response::NotLeader(leader.filter(|leader| leader.node != self.node_id))
    }

    async fn reply(&self, request: &[u8]) -> io::Result<Response> {
        Ok(match decode(request)? {
            Request::Propose(bytes) => {
                let Ok(entries) = stored::decode_entries(&bytes) else {
                    return Ok(Response::Unreadable);
                };
                let (place, decided) = oneshot::channel();
                if self.queue.try_send(Forwarded { entries, place }).is_err() {
                    return Ok(Response::Busy);
                }
                match decided.await {
                    Ok(Ok(place)) => Response::Decided(place),
                    Ok(Err(NotDecided::NotLeader)) => self.elsewhere(),
                    Ok(Err(NotDecided::Full)) => Response::Full,
                    Err(_) => Response::Unknown,
                }
            }
            Request::Renew(bytes) => {
                let leases = leases_from_bytes(&bytes)?;
                if !self.registry.leads() {
                    return Ok(self.elsewhere());
                }
                let renewing = leases.iter().map(|lease| self.registry.renew_here(lease));
                let renewed = join_all(renewing).await;
                Response::Renewed(renewed.into_iter().map(to_renewal).collect())
            }
            Request::Remaining(bytes) => {
                let leases = leases_from_bytes(&bytes)?;
                if !self.registry.leads() {
                    return Ok(self.elsewhere());
                }
                let time = |lease| {
                    let (left, since) = self.registry.lease_time_here(lease)?;
                    Some((milliseconds(left), milliseconds(since)))
                };
                Response::Remaining(leases.iter().map(time).collect())
            }
            Request::Barrier => match self.raft.read_index().await {
                Ok(index) => Response::Barrier(index),
                Err(_) => self.elsewhere(),
            },
        })
    }
}

impl Peer for Forwards {
    fn answer(&self, _: u64, request: Vec<u8>) -> Answer<'_> {
        Box::pin(async move { Ok(encode(&self.reply(&request).await?)) })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn to_renewal(renewed: Result<Renewed, Unavailable>) -> Renewal {
    match renewed {
        Ok(Renewed::For(time)) => Renewal::For(milliseconds(time)),
        Ok(Renewed::Unknown) => Renewal::Unknown,
        Err(_) => Renewal::Undecided,
    }
}

/// What asks the leader for this server's own clients.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) node_id: u64,
    pub(crate) raft: RaftNode,
    pub(crate) stats: Arc<Stats>,
    pub(crate) forward: Forward,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) answers: Arc<Answers>,
}

/// Where an answer goes.
type Answering<T> = oneshot::Sender<Result<T, Unavailable>>;
/// Time left and time since the last renewal.
type LeaseTime = Option<(Duration, Duration)>;

/// A reader behind the barrier.
pub(crate) type Waiting = oneshot::Sender<Result<(), Unavailable>>;

impl Asker {
    /// Answers readers who want the latest state: all who wait share one confirmation.
    pub(crate) async fn confirm_reads(self, mut barriers: mpsc::Receiver<Waiting>) {
        let mut waiting = Vec::new();
        let mut last: Option<Instant> = None;
        while barriers.recv_many(&mut waiting, 4096).await > 0 {
            let assumed = mutated("reuse-read-barrier")
                && last.is_some_and(|at| at.elapsed() < Duration::from_secs(3))
                || mutated("read-without-asking") && self.raft.leads();
            let confirmed = match assumed {
                true => Ok(()),
                false => self.barrier().await,
            };
            last = confirmed.is_ok().then(Instant::now);
            for reader in waiting.drain(..) {
                // Who asked may have gone.
                let _gone = reader.send(confirmed);
            }
        }
    }

    /// Resolves when everything acknowledged before the call is applied here.
    async fn barrier(&self) -> Result<(), Unavailable> {
        let until = Instant::now() + HOLD;
        let mut known = self.leader.clone();
        loop {
            let leader = known.borrow_and_update().clone();
            let index = match leader {
                Some(leader) if leader.node == self.node_id => self.raft.read_index().await.ok(),
                Some(_) => Some(self.forward.barrier(until).await?),
                None => None,
            };
            if let Some(index) = index {
                return match self.answers.reached(index, until).await {
                    true => Ok(()),
                    false => Err(Unavailable::NoLeader),
                };
            }
            if Instant::now() >= until || self.stats.leader_lost.get() != 0 {
                return Err(Unavailable::NoLeader);
            }
            // Looked at again either way, unless there will be no leader any more: the node has stopped.
            if let Ok(Err(_)) = timeout(LOOK, known.changed()).await {
                return Err(Unavailable::NoLeader);
            }
        }
    }

    /// Asks the leader about leases, many at a time.
    pub(crate) async fn ask_about_leases(self, mut questions: mpsc::Receiver<LeaseQuestion>) {
        let places = Arc::new(Semaphore::new(FLIGHTS));
        let mut flights = JoinSet::new();
        let mut taken = Vec::new();
        while questions.recv_many(&mut taken, LEASES).await > 0 {
            let place = places.clone().acquire_owned().await;
            while flights.try_join_next().is_some() {}
            let asker = self.clone();
            let (mut renew, mut time) = (Vec::new(), Vec::new());
            for question in taken.drain(..) {
                match question {
                    LeaseQuestion::Renew(lease, answer) => renew.push((lease, answer)),
                    LeaseQuestion::Time(lease, answer) => time.push((lease, answer)),
                }
            }
            flights.spawn(async move {
                tokio::join!(asker.renew(renew), asker.times(time));
                drop(place);
            });
        }
    }

    async fn renew(&self, asked: Vec<(LeaseId, Answering<Renewed>)>) {
        if asked.is_empty() {
            return;
        }
        let (leases, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let until = Instant::now() + HOLD;
        let renewed = self.forward.renew(&leases, until).await;
        let results: Vec<Result<Renewed, Unavailable>> = match renewed {
            Ok(renewed) => renewed.into_iter().map(Into::into).collect(),
            Err(why) => vec![Err(why); leases.len()],
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // Who asked may have gone.
            let _gone = answer.send(result);
        }
    }

    async fn times(&self, asked: Vec<(LeaseId, Answering<LeaseTime>)>) {
        if asked.is_empty() {
            return;
        }
        let (leases, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let until = Instant::now() + HOLD;
        let times = self.forward.remaining(&leases, until).await;
        let of =
            |at: usize| match &times {
                Ok(times) => Ok(times.get(at).copied().flatten().map(|(left, since)| {
                    (Duration::from_millis(left), Duration::from_millis(since))
                })),
                Err(why) => Err(*why),
            };
        for (at, answer) in answers.into_iter().enumerate() {
            // Who asked may have gone.
            let _gone = answer.send(of(at));
        }
    }
}
