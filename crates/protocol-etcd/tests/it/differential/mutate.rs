//! Falsehoods, one at a time, to see that each would be noticed.

use pb::response_op::Response;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::{
    compare::{Answer, Reply},
    side::{AllHeard, Heard},
};

/// What is falsified, once it occurs for the `after`th time.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub kind: Kind,
    pub after: usize,
    seen: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    HeaderRevision,
    RangeCount,
    RangeMore,
    Version,
    PutWithoutPrevious,
    Deleted,
    Succeeded,
    NestedHeader,
    ErrorText,
    ErrorCode,
    GrantedTtl,
    LeaseKeys,
    EventLost,
    EventWithoutPrevious,
    EventOrder,
    CancelledElsewhere,
    Progress,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::HeaderRevision,
        Self::RangeCount,
        Self::RangeMore,
        Self::Version,
        Self::PutWithoutPrevious,
        Self::Deleted,
        Self::Succeeded,
        Self::NestedHeader,
        Self::ErrorText,
        Self::ErrorCode,
        Self::GrantedTtl,
        Self::LeaseKeys,
        Self::EventLost,
        Self::EventWithoutPrevious,
        Self::EventOrder,
        Self::CancelledElsewhere,
        Self::Progress,
    ];
}

impl Mutation {
    pub fn new(kind: Kind, after: usize) -> Self {
        Self {
            kind,
            after,
            seen: 0,
        }
    }

    /// True at the occurrence that is to be falsified, and from then on.
    fn due(&mut self) -> bool {
        self.seen += 1;
        self.seen > self.after
    }

    pub fn answer(&mut self, answer: &mut Answer) {
        match (self.kind, answer) {
            (Kind::HeaderRevision, Ok(reply)) if self.due() => reply
                .header()
                .iter_mut()
                .for_each(|header| header.revision += 1),
            (Kind::RangeCount, Ok(Reply::Range(range))) if range.count > 1 && self.due() => {
                range.count -= 1
            }
            (Kind::RangeMore, Ok(Reply::Range(range))) if range.more && self.due() => {
                range.more = false
            }
            (Kind::Version, Ok(Reply::Range(range))) if !range.kvs.is_empty() && self.due() => {
                range.kvs[0].version += 1
            }
            (Kind::PutWithoutPrevious, Ok(Reply::Put(put)))
                if put.prev_kv.is_some() && self.due() =>
            {
                put.prev_kv = None
            }
            (Kind::Deleted, Ok(Reply::Delete(delete))) if delete.deleted > 0 && self.due() => {
                delete.deleted += 1
            }
            (Kind::Succeeded, Ok(Reply::Txn(txn))) if self.due() => txn.succeeded = !txn.succeeded,
            (Kind::NestedHeader, Ok(Reply::Txn(txn))) => {
                let header = txn
                    .responses
                    .iter_mut()
                    .find_map(|op| match &mut op.response {
                        Some(Response::ResponsePut(put)) => put.header.as_mut(),
                        _ => None,
                    });
                if let Some(header) = header.filter(|_| self.due()) {
                    header.member_id = 1;
                }
            }
            (Kind::ErrorText, Err(failure)) if self.due() => failure.text.push('.'),
            (Kind::ErrorCode, Err(failure)) if self.due() => failure.code = tonic::Code::Internal,
            (Kind::GrantedTtl, Ok(Reply::TimeToLive(answer)))
                if answer.granted_ttl > 0 && self.due() =>
            {
                answer.granted_ttl += 1
            }
            (Kind::LeaseKeys, Ok(Reply::TimeToLive(answer)))
                if !answer.keys.is_empty() && self.due() =>
            {
                answer.keys.pop();
            }
            _ => {}
        }
    }

    pub fn progress(&mut self, announced: &mut Option<i64>) {
        if self.kind == Kind::Progress
            && let Some(revision) = announced
        {
            *revision += i64::from(self.due());
        }
    }

    pub fn heard(&mut self, heard: &mut AllHeard) {
        let lists = heard.values_mut();
        match self.kind {
            Kind::EventLost => {
                for list in lists {
                    if let Some(at) = list
                        .iter()
                        .position(|heard| matches!(heard, Heard::Event(_)))
                    {
                        list.remove(at);
                        return;
                    }
                }
            }
            Kind::EventWithoutPrevious => {
                for heard in lists.flatten() {
                    if let Heard::Event(event) = heard {
                        event.prev_kv = None;
                    }
                }
            }
            Kind::EventOrder => {
                for list in lists {
                    let events =
                        |pair: &[Heard]| matches!(pair, [Heard::Event(_), Heard::Event(_)]);
                    if let Some(at) = list.windows(2).position(events) {
                        list.swap(at, at + 1);
                        return;
                    }
                }
            }
            Kind::CancelledElsewhere => {
                for heard in lists.flatten() {
                    if let Heard::Cancelled {
                        compact_revision, ..
                    } = heard
                    {
                        *compact_revision += 1;
                        return;
                    }
                }
            }
            _ => {}
        }
    }
}
