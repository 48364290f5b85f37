//! The way to other members of the cluster, and the answers to their requests.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use portolan_environment::{Answer, Channel, Peer, Transport};

use super::admission::Admission;
use super::machine::to_openraft;
use super::messages::{Ballot, Request, Response, decode, encode, vote};
use super::types::{Raft, Types, Vote, decode_vote, node_parts};
use crate::broken::Broken;
use crate::log::{Log, Position};
use crate::snapshot::{SnapshotFile, Snapshots};

type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotFile>;

/// Bytes of a snapshot in one message. Heartbeats go over the same connection and must not wait long behind one.
const PART: usize = 256 << 10;
/// How long one part of a snapshot may take.
const PART_TIME: Duration = Duration::from_secs(5);
/// The last part includes the installation, at least as fast as this many bytes a second.
const INSTALL_SPEED: u64 = 10 << 20;

/// Makes connections.
#[derive(Clone, Debug)]
pub(crate) struct Network(pub(crate) Arc<dyn Transport>);

/// The way to one member.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Arc<dyn Transport>,
    to: u64,
    address: String,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        Connection {
            transport: self.0.clone(),
            to: target,
            address: node_parts(&node.addr).0.to_owned(),
        }
    }
}

impl Connection {
    async fn ask(&self, request: &Request, limit: Duration) -> io::Result<Response> {
        let answer = self
            .transport
            .call(
                self.to,
                &self.address,
                Channel::Raft,
                encode(request),
                limit,
            )
            .await?;
        decode(&answer)
    }

    async fn send(
        &self,
        from: Vote,
        snapshot: &SnapshotFile,
    ) -> io::Result<SnapshotResponse<Types>> {
        let mut offset = 0;
        loop {
            let bytes = snapshot.part(offset, PART)?;
            let next = offset + bytes.len() as u64;
            let request = Request::Snapshot {
                vote: vote(&from),
                offset,
                length: snapshot.length(),
                bytes: Bytes::from(bytes),
            };
            let install = match next == snapshot.length() {
                true => Duration::from_secs(snapshot.length() / INSTALL_SPEED),
                false => Duration::ZERO,
            };
            match self.ask(&request, PART_TIME + install).await? {
                Response::More if next > offset && next < snapshot.length() => offset = next,
                Response::Installed { vote } => {
                    return Ok(SnapshotResponse::new(decode_vote(&vote)?));
                }
                other => return Err(other.unexpected()),
            }
        }
    }
}

fn failed(error: &io::Error) -> RPCError<Types> {
    match error.kind() {
        // Try again at once: the next one may get through.
        io::ErrorKind::TimedOut => RPCError::Network(NetworkError::new(error)),
        _ => RPCError::Unreachable(Unreachable::new(error)),
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.ask(&Request::append(request), option.hard_ttl())
            .await
            .and_then(|response| response.to_appended())
            .map_err(|error| failed(&error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(&Request::Vote(Ballot::new(&request)), option.hard_ttl())
            .await
            .and_then(|response| response.to_voted())
            .map_err(|error| failed(&error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(&Request::PreVote(Ballot::new(&request)), option.hard_ttl())
            .await
            .and_then(|response| response.to_voted())
            .map_err(|error| failed(&error))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(&Request::transfer(&request), option.hard_ttl())
            .await
            .and_then(|response| response.to_transferring())
            .map(Ok)
            .map_err(|error| failed(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = pin!(self.send(vote, &snapshot.snapshot));
        match select(pin!(cancel), sending).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((sent, _)) => sent.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => StreamingError::Network(NetworkError::new(&error)),
                _ => StreamingError::Unreachable(Unreachable::new(&error)),
            }),
        }
    }
}

/// The leader, 0 if none is known, and the term.
fn leader_and_term(raft: &Raft) -> (u64, u64) {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    (metrics.current_leader.unwrap_or(0), metrics.current_term)
}

/// Answers other members. Until Raft runs here, it says so.
pub(crate) struct Member {
    pub(crate) raft: RwLock<Option<Raft>>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Whether the connection to the leader is known to be broken.
    pub(crate) broken: Arc<Broken>,
    pub(crate) admission: Admission,
}

impl Member {
    pub(crate) fn new(snapshots: Arc<Snapshots>, broken: Arc<Broken>, log: Arc<Log>) -> Self {
        Member {
            raft: RwLock::default(),
            snapshots,
            broken,
            admission: Admission::new(log),
        }
    }

    /// From now on `raft` answers.
    pub(crate) fn begin(&self, raft: Raft) {
        *self.raft.write().unwrap_or_else(PoisonError::into_inner) = Some(raft);
    }

    fn raft(&self) -> io::Result<Raft> {
        let raft = self.raft.read().unwrap_or_else(PoisonError::into_inner);
        raft.clone()
            .ok_or_else(|| io::Error::other("the server is starting"))
    }

    async fn reply(&self, request: &[u8]) -> io::Result<Response> {
        let raft = self.raft()?;
        Ok(match decode(request)? {
            Request::Append {
                vote,
                previous,
                committed,
                entries,
            } => {
                let sizes: Vec<(Position, usize)> = entries
                    .iter()
                    .map(|(term, index, _, bytes)| {
                        let (term, index) = (*term, *index);
                        (Position { term, index }, bytes.len())
                    })
                    .collect();
                let _admitted = self.admission.entries(&sizes).await?;
                let request = Request::to_append(&vote, previous, committed, entries)?;
                match raft.append_entries(request).await {
                    Ok(response) => Response::appended(&response),
                    Err(error) => Response::failed(&error),
                }
            }
            Request::Vote(ballot) => {
                let mut request = ballot.request()?;
                // The lease protects a leader that is heard; one whose connection broke here as well need not be waited for.
                let (leader, term) = leader_and_term(&raft);
                request.leadership_transfer |= self.broken.is(leader, term);
                match raft.vote(request).await {
                    Ok(response) => Response::voted(&response),
                    Err(error) => Response::failed(&error),
                }
            }
            Request::Transfer { vote, to, last } => {
                let request = Request::to_transfer(&vote, to, last)?;
                match raft.handle_transfer_leader(request).await {
                    Ok(Ok(())) => Response::Transferring,
                    Ok(Err(error)) => Response::Failed(error.to_string()),
                    Err(error) => Response::Failed(error.to_string()),
                }
            }
            Request::PreVote(ballot) => match raft.pre_vote(ballot.request()?).await {
                Ok(response) => Response::voted(&response),
                Err(error) => Response::failed(&error),
            },
            Request::Snapshot {
                vote,
                offset,
                length,
                bytes,
            } => {
                let received = self.snapshots.receive(offset, length, &bytes);
                let Some(file) = self.admission.part(received)? else {
                    return Ok(Response::More);
                };
                let snapshot = to_openraft(file)?;
                let installed = raft
                    .install_full_snapshot(decode_vote(&vote)?, snapshot)
                    .await
                    .map_err(io::Error::other)?;
                Response::Installed {
                    vote: super::messages::vote(&installed.vote),
                }
            }
        })
    }
}

impl Peer for Member {
    fn answer(&self, _: u64, request: Vec<u8>) -> Answer<'_> {
        Box::pin(async move {
            let response = match self.reply(&request).await {
                Ok(response) => response,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(error) => Response::Failed(error.to_string()),
            };
            Ok(encode(&response))
        })
    }
}
