//! The words of the feed: what an agent asks a server, and what it is answered.
//!
//! They are messages of the cluster port. Entries and records of states are the bytes that logs and snapshots hold, which carry versions
//! of their own.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{Revision, Timestamp};
use portolan_cluster::message;
use portolan_registry::Mark;
use serde::{Deserialize, Serialize};

/// A place in a cluster's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) revision: u64,
    pub(crate) at_ms: u64,
}

impl From<Mark> for Place {
    fn from(mark: Mark) -> Place {
        Place {
            index: mark.index,
            revision: mark.revision.0,
            at_ms: mark.at.0,
        }
    }
}

impl From<Place> for Mark {
    fn from(place: Place) -> Mark {
        Mark {
            index: place.index,
            revision: Revision(place.revision),
            at: Timestamp(place.at_ms),
        }
    }
}

/// What an agent asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// What comes after `after`, about `most_bytes` of it; where there is nothing, whatever comes within `wait_ms`.
    Follow {
        cluster: u64,
        after: Place,
        most_bytes: u32,
        wait_ms: u32,
    },
    /// A part of a whole state: the first one of the newest, or a further one of the state that was reached at `index`.
    Whole { index: Option<u64>, part: u32 },
}

/// What the answering server knows of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// How long ago it heard of the leader, in milliseconds, 0 on the leader itself; none where it knows none.
    pub(crate) contact_ms: Option<u64>,
    /// The members of the cluster.
    pub(crate) members: Vec<Member>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node: u64,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) voter: bool,
    pub(crate) leader: bool,
    pub(crate) last_contact_ms: Option<u64>,
    pub(crate) last_index: u64,
    pub(crate) term: u64,
    pub(crate) version: String,
    pub(crate) level: u8,
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<portolan_registry::Member> for Member {
    fn from(member: portolan_registry::Member) -> Member {
        Member {
            node: member.node,
            name: member.name,
            address: member.address,
            voter: member.voter,
            leader: member.leader,
            last_contact_ms: member.last_contact.map(milliseconds),
            last_index: member.last_index,
            term: member.term,
            version: member.version,
            level: member.level,
        }
    }
}

impl From<Member> for portolan_registry::Member {
    fn from(member: Member) -> portolan_registry::Member {
        portolan_registry::Member {
            node: member.node,
            name: member.name,
            address: member.address,
            voter: member.voter,
            leader: member.leader,
            own: false,
            last_contact: member.last_contact_ms.map(Duration::from_millis),
            last_index: member.last_index,
            term: member.term,
            version: member.version,
            level: member.level,
            round_trip: None,
        }
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Batches of entries in order, each with its index, and the place after them.
    Entries {
        standing: Standing,
        batches: Vec<(u64, Bytes)>,
        upto: Place,
        /// Nothing was newer when this was answered.
        current: bool,
    },
    /// Nothing came in time.
    Nothing { standing: Standing },
    /// The server has not come as far as the agent.
    Behind { standing: Standing },
    /// The agent has to begin with a whole state.
    Gone { standing: Standing },
    /// A part of the state that was reached at `place` in `cluster`: records, each with its length before it, compressed together.
    Part {
        cluster: u64,
        place: Place,
        parts: u32,
        bytes: Bytes,
    },
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        message::encode(self)
    }

    /// # Errors
    /// When the bytes are not a request that this version knows.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Request> {
        message::decode(bytes)
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        message::encode(self)
    }

    /// # Errors
    /// When the bytes are not an answer that this version knows.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Answer> {
        message::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written_and_others_are_refused() {
        let request = Request::Follow {
            cluster: 3,
            after: Place::from(Mark::default()),
            most_bytes: 5,
            wait_ms: 6,
        };
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes).unwrap(), request);
        let answer = Answer::Part {
            cluster: 1,
            place: Place::from(Mark::default()),
            parts: 2,
            bytes: Bytes::from_static(b"abc"),
        };
        assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
        for damaged in [&bytes[..bytes.len() - 1], &[9, 0][..], &[][..]] {
            assert!(Request::decode(damaged).is_err());
        }
    }
}
