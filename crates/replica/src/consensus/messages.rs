//! What servers of a cluster say to each other: a version byte, then one request or answer.
//!
//! The words are written out here rather than taken from openraft, so that another version of it speaks the same.

use std::io;

use bytes::Bytes;
use openraft::errors::RaftError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::types::{
    LogId, Types, Vote, damaged, decode_vote, encode_vote, log_id, position, to_entry, to_stored,
};
use crate::log::{Body, LogEntry, Position};

const VERSION: u8 = 1;

type Place = Option<(u64, u64)>;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Append {
        vote: Bytes,
        previous: Place,
        committed: Place,
        /// Term, index, kind and bytes of each.
        entries: Vec<(u64, u64, u8, Bytes)>,
    },
    Vote(Ballot),
    PreVote(Ballot),
    /// A part of a snapshot file of `length` bytes; the answer to the last part says that it was installed.
    Snapshot {
        vote: Bytes,
        offset: u64,
        length: u64,
        bytes: Bytes,
    },
    /// The leader hands over to a server.
    Transfer {
        vote: Bytes,
        to: u64,
        last: Place,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ballot {
    vote: Bytes,
    last: Place,
    transfer: bool,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Appended,
    AppendedTo(Place),
    Conflict,
    HigherVote(Bytes),
    Vote {
        vote: Bytes,
        granted: bool,
        last: Place,
    },
    /// The part has arrived, more are wanted.
    More,
    Installed {
        vote: Bytes,
    },
    /// The server cannot answer, and says why.
    Failed(String),
    /// The server knows of the transfer.
    Transferring,
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Writing numbers and bytes into memory cannot fail.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

/// # Errors
/// When the bytes are not a message of this version.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|_| damaged("a message of a server cannot be read"))
        }
        Some((version, _)) => Err(damaged(&format!(
            "a server speaks version {version} of the messages, this one speaks {VERSION}"
        ))),
        None => Err(damaged("a message of a server is empty")),
    }
}

pub(super) fn vote(vote: &Vote) -> Bytes {
    Bytes::copy_from_slice(&encode_vote(vote))
}

fn place(id: Option<LogId>) -> Place {
    id.as_ref().map(position).map(|at| (at.term, at.index))
}

fn id(place: Place) -> Option<LogId> {
    place.map(|(term, index)| log_id(Position { term, index }))
}

impl Request {
    pub(super) fn append(request: AppendEntriesRequest<Types>) -> Request {
        Request::Append {
            vote: vote(&request.vote),
            previous: place(request.prev_log_id),
            committed: place(request.leader_commit),
            entries: request
                .entries
                .into_iter()
                .map(|entry| {
                    let entry = to_stored(entry);
                    let Position { term, index } = entry.position;
                    (term, index, entry.body.kind(), entry.body.to_bytes())
                })
                .collect(),
        }
    }

    /// # Errors
    /// When the parts make no sense.
    pub(super) fn to_append(
        from: &[u8],
        previous: Place,
        committed: Place,
        entries: Vec<(u64, u64, u8, Bytes)>,
    ) -> io::Result<AppendEntriesRequest<Types>> {
        let entries = entries
            .into_iter()
            .map(|(term, index, kind, bytes)| {
                let body = Body::decode(kind, bytes)
                    .ok_or_else(|| damaged("an entry of a server has an unknown kind"))?;
                to_entry(&LogEntry {
                    position: Position { term, index },
                    body,
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(AppendEntriesRequest {
            vote: decode_vote(from)?,
            prev_log_id: id(previous),
            entries,
            leader_commit: id(committed),
        })
    }
}

impl Request {
    pub(super) fn transfer(request: &TransferLeaderRequest<Types>) -> Request {
        Request::Transfer {
            vote: vote(request.from_leader()),
            to: *request.to_node_id(),
            last: place(request.last_log_id().copied()),
        }
    }

    /// # Errors
    /// When it holds no vote.
    pub(super) fn to_transfer(
        from: &[u8],
        to: u64,
        last: Place,
    ) -> io::Result<TransferLeaderRequest<Types>> {
        Ok(TransferLeaderRequest::new(decode_vote(from)?, to, id(last)))
    }
}

impl Ballot {
    pub(super) fn new(request: &VoteRequest<Types>) -> Ballot {
        Ballot {
            vote: vote(&request.vote),
            last: place(request.last_log_id),
            transfer: request.leadership_transfer,
        }
    }

    /// # Errors
    /// When it holds no vote.
    pub(super) fn request(&self) -> io::Result<VoteRequest<Types>> {
        let mut request = VoteRequest::new(decode_vote(&self.vote)?, id(self.last));
        request.leadership_transfer = self.transfer;
        Ok(request)
    }
}

impl Response {
    pub(super) fn appended(response: &AppendEntriesResponse<Types>) -> Response {
        match response {
            AppendEntriesResponse::Success => Response::Appended,
            AppendEntriesResponse::PartialSuccess(to) => Response::AppendedTo(place(*to)),
            AppendEntriesResponse::Conflict => Response::Conflict,
            AppendEntriesResponse::HigherVote(higher) => Response::HigherVote(vote(higher)),
        }
    }

    pub(super) fn voted(response: &VoteResponse<Types>) -> Response {
        Response::Vote {
            vote: vote(&response.vote),
            granted: response.vote_granted,
            last: place(response.last_log_id),
        }
    }

    pub(super) fn failed(error: &RaftError<Types>) -> Response {
        Response::Failed(error.to_string())
    }

    /// # Errors
    /// When it answers something else, or says that the server failed.
    pub(super) fn to_appended(&self) -> io::Result<AppendEntriesResponse<Types>> {
        match self {
            Response::Appended => Ok(AppendEntriesResponse::Success),
            Response::AppendedTo(to) => Ok(AppendEntriesResponse::PartialSuccess(id(*to))),
            Response::Conflict => Ok(AppendEntriesResponse::Conflict),
            Response::HigherVote(higher) => {
                Ok(AppendEntriesResponse::HigherVote(decode_vote(higher)?))
            }
            other => Err(other.unexpected()),
        }
    }

    /// # Errors
    /// As [`Response::to_appended`].
    pub(super) fn to_voted(&self) -> io::Result<VoteResponse<Types>> {
        match self {
            Response::Vote {
                vote,
                granted,
                last,
            } => Ok(VoteResponse::new(decode_vote(vote)?, id(*last), *granted)),
            other => Err(other.unexpected()),
        }
    }

    /// # Errors
    /// As [`Response::to_appended`].
    pub(super) fn to_transferring(&self) -> io::Result<()> {
        match self {
            Response::Transferring => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    pub(super) fn unexpected(&self) -> io::Error {
        match self {
            Response::Failed(why) => io::Error::other(why.clone()),
            _ => damaged("a server answered something that was not asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_batch::CommandBatch;

    fn request() -> AppendEntriesRequest<Types> {
        let entry = |index, body| {
            let position = Position { term: 3, index };
            to_entry(&LogEntry { position, body }).unwrap()
        };
        let batch = CommandBatch::from_bytes(Bytes::from_static(b"commands"));
        AppendEntriesRequest {
            vote: decode_vote(&encode_vote(&Vote::new_committed(3, 7))).unwrap(),
            prev_log_id: id(Some((2, 9))),
            entries: vec![entry(10, Body::Blank), entry(11, Body::Batch(batch))],
            leader_commit: None,
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let bytes = encode(&Request::append(request()));
        let Request::Append {
            vote,
            previous,
            committed,
            entries,
        } = decode(&bytes).unwrap()
        else {
            panic!("another request");
        };
        let arrived = Request::to_append(&vote, previous, committed, entries).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{:?}", request()));
    }

    #[test]
    fn cut_and_foreign_bytes_are_refused() {
        let bytes = encode(&Request::append(request()));
        for length in 0..bytes.len() {
            assert!(decode::<Request>(&bytes[..length]).is_err(), "{length}");
        }
        let mut later = bytes.clone();
        later[0] = 2;
        let error = decode::<Request>(&later).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        for at in 1..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            // Anything but a panic.
            if let Ok(Request::Append {
                vote,
                previous,
                committed,
                entries,
            }) = decode(&flipped)
            {
                drop(Request::to_append(&vote, previous, committed, entries));
            }
        }
    }
}
