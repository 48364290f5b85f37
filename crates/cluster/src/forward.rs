//! To the leader: proposals, renewals and read barriers of servers that do not lead, and of agents.
//!
//! Nothing is decided twice: a batch goes out again only when it is known that it was not decided, because it never reached a server or that
//! server did not lead. Otherwise its outcome is unknown. Renewals and barriers may be repeated.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{Cause, Command, Entry, LeaseId, Timestamp, Why, stored};
use portolan_environment::watch;
use portolan_environment::{Channel, Transport};
use portolan_registry::{Renewed, Unavailable};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::message::{decode, encode};

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The entry.
    pub index: u64,
    /// The batch's first command among those of the entry.
    pub offset: u32,
}

/// A server and its cluster address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its Raft id.
    pub node: u64,
    /// Where it listens.
    pub address: String,
}

/// What is asked of the leader.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Commands to decide, as [`stored::encode_entry`] writes entries. Their times are the leader's business.
    Propose(Bytes),
    /// Leases to renew, as [`leases_to_bytes`] writes them.
    Renew(Bytes),
    /// The index that everything acknowledged so far is at or below.
    Barrier,
    /// How long leases have left, and since when, as [`leases_to_bytes`] writes them.
    Remaining(Bytes),
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// It has these milliseconds again.
    For(u64),
    /// There is no such lease.
    Unknown,
    /// It could not be decided now.
    Undecided,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// The batch is in the log, committed.
    Decided(Place),
    /// One for each lease.
    Renewed(Vec<Renewal>),
    /// Everything acknowledged before is at or below this index.
    Barrier(u64),
    /// For each lease milliseconds left and since the last renewal; none where it does not run.
    Remaining(Vec<Option<(u64, u64)>>),
    /// Another server leads, perhaps this one. Nothing was decided.
    NotLeader(Option<Leader>),
    /// Nothing was decided: the disk is full.
    Full,
    /// Nothing was decided: too much is waiting.
    Busy,
    /// Nothing was decided: the bytes cannot be read here.
    Unreadable,
    /// Whether anything was decided is not known.
    Unknown,
}

/// The bytes of some leases.
#[must_use]
pub fn leases_to_bytes(leases: &[LeaseId]) -> Bytes {
    let cause = Arc::new(Cause::own(Why::Call));
    let mut bytes = Vec::with_capacity(leases.len() * 24);
    for lease in leases {
        let entry = Entry {
            at: Timestamp(0),
            cause: cause.clone(),
            command: Command::Revive {
                lease: lease.clone(),
            },
        };
        // A lease's name is within what entries may hold; if not, there is no such lease.
        let _longer = stored::encode_entry(&entry, stored::LEVEL, &mut bytes);
    }
    bytes.into()
}

/// Reads leases.
///
/// # Errors
/// `InvalidData` when they are none.
pub fn leases_from_bytes(bytes: &[u8]) -> io::Result<Vec<LeaseId>> {
    let entries = stored::decode_entries(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "leases cannot be read"))?;
    let leases = entries.into_iter().filter_map(|entry| match entry.command {
        Command::Revive { lease } => Some(lease),
        _ => None,
    });
    Ok(leases.collect())
}

/// How long after a failed attempt the next one waits, unless the leader changes before.
const AGAIN: Duration = Duration::from_millis(20);
/// A leader that does not answer a repeatable question for so long is asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the answer of a leader that hands over may still be on its way.
const LATE: Duration = Duration::from_millis(250);

/// Asks whoever leads. Clones share what they know of it.
#[derive(Clone, Debug)]
pub struct Forward {
    transport: Arc<dyn Transport>,
    leader: watch::Receiver<Option<Leader>>,
}

impl Forward {
    /// Asks over `transport` whom `leader` names.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, leader: watch::Receiver<Option<Leader>>) -> Forward {
        Forward { transport, leader }
    }

    /// Has a batch decided: where it is in the log.
    ///
    /// # Errors
    /// [`Unavailable::NoLeader`] when nobody could be asked until then, [`Unavailable::Unknown`] when it may have been decided.
    pub async fn propose(&self, entries: Bytes, until: Instant) -> Result<Place, Unavailable> {
        let request = encode(&Request::Propose(entries));
        let mut known = self.leader.clone();
        loop {
            let leader = find(&mut known, until).await?;
            let limit = until.saturating_duration_since(Instant::now());
            let answer = tokio::select! {
                biased;
                answer = self.ask(&leader, request.clone(), limit) => answer,
                // It may have decided before it was cut off: nobody can tell, so that it is not asked of the next one.
                () = replaced(known.clone(), leader.node) => return Err(Unavailable::Unknown),
            };
            match answer {
                Ok(Response::Decided(place)) => return Ok(place),
                Ok(Response::Full) => return Err(Unavailable::Full),
                Ok(Response::Busy) => return Err(Unavailable::Busy),
                // It was not decided, and would not be elsewhere: an older server leads.
                Ok(Response::Unreadable) => return Err(Unavailable::NoLeader),
                Ok(Response::NotLeader(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) | Err(_) => return Err(Unavailable::Unknown),
            }
            again(&mut known, until).await?;
        }
    }

    /// Renews leases.
    ///
    /// # Errors
    /// [`Unavailable::NoLeader`] when nobody answered in time.
    pub async fn renew(
        &self,
        leases: &[LeaseId],
        until: Instant,
    ) -> Result<Vec<Renewal>, Unavailable> {
        let bytes = leases_to_bytes(leases);
        match self.repeat(&Request::Renew(bytes), until).await? {
            Response::Renewed(renewed) if renewed.len() == leases.len() => Ok(renewed),
            _ => Err(Unavailable::NoLeader),
        }
    }

    /// How long leases have left and since when, in milliseconds.
    ///
    /// # Errors
    /// As [`Forward::renew`].
    pub async fn remaining(
        &self,
        leases: &[LeaseId],
        until: Instant,
    ) -> Result<Vec<Option<(u64, u64)>>, Unavailable> {
        let bytes = leases_to_bytes(leases);
        match self.repeat(&Request::Remaining(bytes), until).await? {
            Response::Remaining(times) if times.len() == leases.len() => Ok(times),
            _ => Err(Unavailable::NoLeader),
        }
    }

    /// The index that everything acknowledged before this call is at or below.
    ///
    /// # Errors
    /// As [`Forward::renew`].
    pub async fn barrier(&self, until: Instant) -> Result<u64, Unavailable> {
        match self.repeat(&Request::Barrier, until).await? {
            Response::Barrier(index) => Ok(index),
            _ => Err(Unavailable::NoLeader),
        }
    }

    /// Asks until somebody answers; only for what may be asked twice.
    async fn repeat(&self, request: &Request, until: Instant) -> Result<Response, Unavailable> {
        let request = encode(request);
        let mut known = self.leader.clone();
        loop {
            let leader = find(&mut known, until).await?;
            let limit = until.saturating_duration_since(Instant::now());
            match self
                .ask(&leader, request.clone(), limit.min(PATIENCE))
                .await
            {
                Ok(Response::NotLeader(_)) | Err(_) => {}
                Ok(response) => return Ok(response),
            }
            again(&mut known, until).await?;
        }
    }

    async fn ask(
        &self,
        leader: &Leader,
        request: Vec<u8>,
        limit: Duration,
    ) -> io::Result<Response> {
        let (to, address) = (leader.node, &leader.address);
        let answer = self
            .transport
            .call(to, address, Channel::Forward, request, limit)
            .await?;
        decode(&answer)
    }
}

/// Waits for a leader.
async fn find(
    known: &mut watch::Receiver<Option<Leader>>,
    until: Instant,
) -> Result<Leader, Unavailable> {
    match timeout_at(until, known.wait_for(Option::is_some)).await {
        Ok(Ok(leader)) => leader.clone().ok_or(Unavailable::NoLeader),
        Ok(Err(_)) => Err(Unavailable::Stopping),
        Err(_) => Err(Unavailable::NoLeader),
    }
}

/// Resolves when `node` leads no longer, as far as is known here, and its answer had time to arrive.
async fn replaced(mut known: watch::Receiver<Option<Leader>>, node: u64) {
    let other = |leader: &Option<Leader>| leader.as_ref().is_none_or(|leader| leader.node != node);
    // Without anybody who tells, nothing is known.
    if known.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
    sleep(LATE).await;
}

/// Waits until it is worth asking again.
async fn again(
    known: &mut watch::Receiver<Option<Leader>>,
    until: Instant,
) -> Result<(), Unavailable> {
    let now = Instant::now();
    if now >= until {
        return Err(Unavailable::NoLeader);
    }
    tokio::select! {
        biased;
        changed = known.changed() => changed.map_err(|_| Unavailable::Stopping),
        () = sleep_until((now + AGAIN).min(until)) => Ok(()),
    }
}

impl From<Renewal> for Result<Renewed, Unavailable> {
    fn from(renewal: Renewal) -> Self {
        match renewal {
            Renewal::For(ms) => Ok(Renewed::For(Duration::from_millis(ms))),
            Renewal::Unknown => Ok(Renewed::Unknown),
            Renewal::Undecided => Err(Unavailable::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader that never answers.
    #[derive(Debug)]
    struct Mute;

    impl Transport for Mute {
        fn call<'a>(
            &'a self,
            _: u64,
            _: &'a str,
            _: Channel,
            _: Vec<u8>,
            limit: Duration,
        ) -> portolan_environment::Answer<'a> {
            Box::pin(async move {
                sleep(limit).await;
                Err(io::ErrorKind::TimedOut.into())
            })
        }

        fn serve(&self, _: Channel, _: Arc<dyn portolan_environment::Peer>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_at_a_leader_that_is_cut_off_ends_when_another_one_leads() {
        let leads = |node| {
            Some(Leader {
                node,
                address: "a:1".to_owned(),
            })
        };
        let (tell, leader) = watch::channel(leads(1));
        let forward = Forward::new(Arc::new(Mute), leader);
        let begun = Instant::now();
        let until = begun + Duration::from_secs(10);
        let (answer, ()) = tokio::join!(forward.propose(Bytes::new(), until), async {
            sleep(Duration::from_secs(1)).await;
            tell.send_replace(leads(2));
        });
        assert_eq!(answer, Err(Unavailable::Unknown));
        let took = begun.elapsed();
        assert_eq!(took, Duration::from_secs(1) + LATE);
    }

    #[test]
    fn leases_arrive() {
        let leases = [LeaseId::Etcd(7), LeaseId::Etcd(-9)];
        let bytes = leases_to_bytes(&leases);
        assert_eq!(leases_from_bytes(&bytes).unwrap(), leases);
        assert!(leases_from_bytes(&bytes[..3]).is_err());
    }
}
