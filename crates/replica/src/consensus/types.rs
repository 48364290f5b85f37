//! The type configuration, and what of openraft's types reaches the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::impls::{BoxedErrorSource, InlineBatch};
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, EntryPayload, OptionalSend, RaftTypeConfig};
use portolan_catalog::Settled;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::command_batch::CommandBatch;
use crate::log::{Body, LogEntry, Position};

/// A leader's term.
pub(crate) type Term = u64;
type LeaderId = openraft::impls::leader_id_std::LeaderId<Term, u64>;
type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = EntryPayload<CommandBatch, u64, BasicNode>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, BasicNode>;
pub(crate) type Raft = openraft::Raft<Types, super::Machine>;

/// The configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = CommandBatch;
    type R = Answers;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = Term;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = super::runtime::NodeRuntime;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// The answers to a batch's commands, in their order. They never leave the node that applied the batch.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Answers {
    #[serde(skip)]
    pub(crate) settled: Vec<Settled>,
}

/// Gives a write's result to whoever waits for it. Dropped without a result when openraft stops.
pub(crate) struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    pub(crate) fn new(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Reply(Box::new(answer))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Reply<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

impl Serialize for CommandBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for CommandBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw;

        impl Visitor<'_> for Raw {
            type Value = CommandBatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a batch")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<CommandBatch, E> {
                Ok(CommandBatch::from_bytes(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<CommandBatch, E> {
                Ok(CommandBatch::from_bytes(bytes.into()))
            }
        }

        deserializer.deserialize_bytes(Raw)
    }
}

pub(crate) fn position(id: &LogId) -> Position {
    Position {
        term: id.leader_id.term,
        index: id.index,
    }
}

pub(crate) fn log_id(position: Position) -> LogId {
    LogId::new_term_index(position.term, position.index)
}

pub(crate) fn to_stored(entry: Entry) -> LogEntry {
    let (leader, index) = entry.log_id_parts();
    let position = Position {
        term: leader.term,
        index,
    };
    let body = match entry.payload {
        EntryPayload::Blank => Body::Blank,
        EntryPayload::Normal(batch) => Body::Batch(batch),
        EntryPayload::Membership(membership) => {
            Body::Membership(encode_membership(&membership).into())
        }
    };
    LogEntry { position, body }
}

pub(crate) fn to_entry(stored: &LogEntry) -> io::Result<Entry> {
    let payload = match &stored.body {
        Body::Blank => EntryPayload::Blank,
        Body::Batch(batch) => EntryPayload::Normal(batch.clone()),
        Body::Membership(bytes) => EntryPayload::Membership(decode_membership(bytes)?),
    };
    Ok(Entry::new(log_id(stored.position), payload))
}

/// Version, term, whom, committed.
pub(crate) fn encode_vote(vote: &Vote) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[0] = 1;
    bytes[1..9].copy_from_slice(&vote.leader_id.term.to_le_bytes());
    bytes[9..17].copy_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    bytes[17] = u8::from(vote.committed);
    bytes
}

pub(crate) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    if bytes.len() != 18 || bytes[0] != 1 {
        return Err(damaged("the saved vote has an unknown form"));
    }
    let number = |at: usize| crate::log::frame::u64_at(bytes, at);
    Ok(Vote {
        leader_id: LeaderId::new(number(1), number(9)),
        committed: bytes[17] == 1,
    })
}

/// A membership on the disk: version 1, then configurations and nodes.
#[derive(serde::Serialize, serde::Deserialize)]
struct MembershipTwin {
    configurations: Vec<Vec<u64>>,
    nodes: Vec<(u64, String)>,
}

pub(crate) fn encode_membership(membership: &Membership) -> Vec<u8> {
    let twin = MembershipTwin {
        configurations: membership
            .get_joint_config()
            .iter()
            .map(|voters| voters.iter().copied().collect())
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
    };
    // Writing numbers and strings into memory cannot fail.
    postcard::to_extend(&twin, vec![1]).unwrap_or_default()
}

/// A member's address and name, as a membership holds them: `10.0.0.1:8300 n1`. A server that was never reachable has neither.
pub(crate) fn node_text(address: &str, name: &str) -> String {
    format!("{address} {name}")
}

/// Address and name of a member.
pub(crate) fn node_parts(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// The membership of a cluster of one, encoded.
pub(crate) fn alone(node_id: u64) -> Vec<u8> {
    let voters = BTreeSet::from([node_id]);
    encode_membership(&Membership::new_with_defaults(vec![voters], []))
}

/// The membership of several voters, encoded.
#[cfg(test)]
pub(crate) fn together(voters: &[u64]) -> Vec<u8> {
    let voters = voters.iter().copied().collect();
    encode_membership(&Membership::new_with_defaults(vec![voters], []))
}

/// How many members an encoded membership has; 0 when it cannot be read.
pub(crate) fn members(bytes: &[u8]) -> usize {
    decode_membership(bytes).map_or(0, |membership| membership.nodes().count())
}

/// # Errors
/// When the bytes are not those of a membership.
pub(crate) fn decode_membership(bytes: &[u8]) -> io::Result<Membership> {
    let Some((1, rest)) = bytes.split_first() else {
        return Err(damaged("a membership has an unknown form"));
    };
    let twin: MembershipTwin =
        postcard::from_bytes(rest).map_err(|_| damaged("a membership cannot be read"))?;
    let configurations: Vec<BTreeSet<u64>> = twin
        .configurations
        .into_iter()
        .map(|voters| voters.into_iter().collect())
        .collect();
    if configurations.is_empty() {
        return Ok(Membership::default());
    }
    let nodes: BTreeMap<u64, BasicNode> = twin
        .nodes
        .into_iter()
        .map(|(id, addr)| (id, BasicNode { addr }))
        .collect();
    Membership::new(configurations, nodes).map_err(|_| damaged("a membership is not consistent"))
}

pub(crate) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
