//! Questions about leases, which the leader answers, many at a time. Those about the agent's own checks are answered here while no server
//! can be reached.

use std::time::Duration;

use portolan_catalog::LeaseId;
use portolan_registry::{LeaseQuestion, Renewed, Unavailable};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::decide::Decider;

/// Leases that one question to the leader is about at most.
const LEASES: usize = 4096;
/// Questions on their way at a time.
const UNDER_WAY: usize = 4;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

type Renewal = (LeaseId, oneshot::Sender<Result<Renewed, Unavailable>>);
type Left = Result<Option<(Duration, Duration)>, Unavailable>;
type Time = (LeaseId, oneshot::Sender<Left>);

impl Decider {
    /// Answers for ever.
    pub(crate) async fn ask_about_leases_always(
        self,
        mut questions: mpsc::Receiver<LeaseQuestion>,
    ) {
        let (mut taken, mut under_way) = (Vec::new(), JoinSet::new());
        while questions.recv_many(&mut taken, LEASES).await > 0 {
            while under_way.len() >= UNDER_WAY {
                let _ended = under_way.join_next().await;
            }
            let (mut renewals, mut times) = (Vec::new(), Vec::new());
            for question in taken.drain(..) {
                match question {
                    LeaseQuestion::Renew(lease, answer) => renewals.push((lease, answer)),
                    LeaseQuestion::Time(lease, answer) => times.push((lease, answer)),
                }
            }
            let this = self.clone();
            under_way.spawn(async move {
                tokio::join!(this.renew(renewals), this.times(times));
            });
        }
    }

    async fn renew(&self, mut asked: Vec<Renewal>) {
        if asked.is_empty() {
            return;
        }
        let renewed = match self.core.standing.reachable() {
            true => {
                let leases = asked.iter().map(|(lease, _)| lease.clone()).collect();
                self.servers.renew(leases, Instant::now() + LIMIT).await
            }
            false => Err(Unavailable::NoLeader),
        };
        match renewed {
            Ok(renewed) => {
                for ((_, answer), renewal) in asked.into_iter().zip(renewed) {
                    // Whoever asked may have gone.
                    let _gone = answer.send(renewal.into());
                }
            }
            Err(unavailable) => {
                for (lease, answer) in asked.drain(..) {
                    let own = match &lease {
                        LeaseId::Check(check) => self.core.renew_check(check),
                        _ => None,
                    };
                    let renewed = own.map(Renewed::For).ok_or(unavailable);
                    let _gone = answer.send(renewed);
                }
            }
        }
    }

    async fn times(&self, asked: Vec<Time>) {
        if asked.is_empty() {
            return;
        }
        let times = match self.core.standing.reachable() {
            true => {
                let leases = asked.iter().map(|(lease, _)| lease.clone()).collect();
                self.servers.remaining(leases, Instant::now() + LIMIT).await
            }
            false => Err(Unavailable::NoLeader),
        };
        for (at, (_, answer)) in asked.into_iter().enumerate() {
            let time = match &times {
                Ok(times) => Ok(times.get(at).copied().flatten().map(|(left, since)| {
                    (Duration::from_millis(left), Duration::from_millis(since))
                })),
                Err(unavailable) => Err(*unavailable),
            };
            let _gone = answer.send(time);
        }
    }
}
