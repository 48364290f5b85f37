//! What may differ is made equal; everything else is compared.

use std::collections::BTreeMap;

use pb::response_op::Response;
use portolan_protocol_etcd::wire::{etcdserverpb as pb, mvccpb};

use super::{
    generate::{FIRST_TOKEN, Request},
    side::{AllHeard, Heard},
};

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    Grant(pb::LeaseGrantResponse),
    Revoke(pb::LeaseRevokeResponse),
    KeepAlive(pb::LeaseKeepAliveResponse),
    TimeToLive(pb::LeaseTimeToLiveResponse),
    Leases(pb::LeaseLeasesResponse),
}

/// Code and text of a status: clients look at either.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub code: tonic::Code,
    pub text: String,
}

pub type Answer = Result<Reply, Failure>;

impl Failure {
    pub fn broken(what: impl ToString) -> Self {
        Self {
            code: tonic::Code::Unknown,
            text: what.to_string(),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: status.code(),
            text: status.message().to_owned(),
        }
    }
}

impl Reply {
    pub fn header(&mut self) -> &mut Option<pb::ResponseHeader> {
        match self {
            Self::Range(reply) => &mut reply.header,
            Self::Put(reply) => &mut reply.header,
            Self::Delete(reply) => &mut reply.header,
            Self::Txn(reply) => &mut reply.header,
            Self::Compact(reply) => &mut reply.header,
            Self::Grant(reply) => &mut reply.header,
            Self::Revoke(reply) => &mut reply.header,
            Self::KeepAlive(reply) => &mut reply.header,
            Self::TimeToLive(reply) => &mut reply.header,
            Self::Leases(reply) => &mut reply.header,
        }
    }

    pub fn revision(&self) -> i64 {
        self.clone()
            .header()
            .as_ref()
            .map_or(0, |header| header.revision)
    }
}

/// What one server calls things.
#[derive(Debug, Default)]
pub struct Normal {
    header: Option<(u64, u64, u64)>,
    /// Lease ids the server chose, in order; token n is `FIRST_TOKEN + n`.
    chosen: Vec<i64>,
    tokens: BTreeMap<i64, i64>,
}

impl Normal {
    /// Puts this server's lease ids in the place of the tokens.
    pub fn outgoing(&self, mut request: Request) -> Request {
        match &mut request {
            Request::Put(put) => self.real(&mut put.lease),
            Request::Txn(txn) => self.real_txn(txn),
            Request::Grant(grant) => self.real(&mut grant.id),
            Request::Revoke(revoke) => self.real(&mut revoke.id),
            Request::KeepAlive(keep) => self.real(&mut keep.id),
            Request::TimeToLive(ask) => self.real(&mut ask.id),
            Request::Range(_)
            | Request::Stream(_)
            | Request::Delete(_)
            | Request::Compact(_)
            | Request::Leases(_) => {}
        }
        request
    }

    fn real(&self, id: &mut i64) {
        if let Some(real) = usize::try_from(*id - FIRST_TOKEN.min(*id))
            .ok()
            .filter(|_| *id >= FIRST_TOKEN)
            .and_then(|n| self.chosen.get(n))
        {
            *id = *real;
        }
    }

    fn real_txn(&self, txn: &mut pb::TxnRequest) {
        for compare in &mut txn.compare {
            if let Some(pb::compare::TargetUnion::Lease(id)) = &mut compare.target_union {
                self.real(id);
            }
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(pb::request_op::Request::RequestPut(put)) => self.real(&mut put.lease),
                Some(pb::request_op::Request::RequestTxn(txn)) => self.real_txn(txn),
                _ => {}
            }
        }
    }

    /// Replaces in an answer what only this server could have said.
    pub fn incoming(&mut self, request: &Request, answer: &mut Answer) -> Result<(), String> {
        let Ok(reply) = answer else { return Ok(()) };
        let header = reply
            .header()
            .as_mut()
            .ok_or("an answer without a header")?;
        let who = (header.cluster_id, header.member_id, header.raft_term);
        let known = *self.header.get_or_insert(who);
        if who.0 == 0
            || who.1 == 0
            || who.2 == 0
            || (known.0, known.1) != (who.0, who.1)
            || known.2 > who.2
        {
            return Err(format!("header {header:?} after {known:?}"));
        }
        (header.cluster_id, header.member_id, header.raft_term) = (1, 1, 1);
        match reply {
            Reply::Grant(grant) => {
                if matches!(request, Request::Grant(asked) if asked.id == 0) {
                    if grant.id <= 0 || self.tokens.contains_key(&grant.id) {
                        return Err(format!("chose the lease id {}", grant.id));
                    }
                    self.tokens
                        .insert(grant.id, FIRST_TOKEN + self.chosen.len() as i64);
                    self.chosen.push(grant.id);
                }
                self.token(&mut grant.id);
            }
            Reply::Range(range) => range
                .kvs
                .iter_mut()
                .for_each(|kv| self.token(&mut kv.lease)),
            Reply::Put(put) => put
                .prev_kv
                .iter_mut()
                .for_each(|kv| self.token(&mut kv.lease)),
            Reply::Delete(delete) => delete
                .prev_kvs
                .iter_mut()
                .for_each(|kv| self.token(&mut kv.lease)),
            Reply::Txn(txn) => self.token_txn(txn),
            Reply::KeepAlive(keep) => self.token(&mut keep.id),
            Reply::TimeToLive(answer) => {
                self.token(&mut answer.id);
                answer.keys.sort();
            }
            Reply::Leases(leases) => {
                leases
                    .leases
                    .iter_mut()
                    .for_each(|lease| self.token(&mut lease.id));
                leases.leases.sort_by_key(|lease| lease.id);
            }
            Reply::Compact(_) | Reply::Revoke(_) => {}
        }
        Ok(())
    }

    fn token(&self, id: &mut i64) {
        if let Some(token) = self.tokens.get(id) {
            *id = *token;
        }
    }

    fn token_txn(&self, txn: &mut pb::TxnResponse) {
        for op in &mut txn.responses {
            match &mut op.response {
                Some(Response::ResponseRange(range)) => range
                    .kvs
                    .iter_mut()
                    .for_each(|kv| self.token(&mut kv.lease)),
                Some(Response::ResponsePut(put)) => put
                    .prev_kv
                    .iter_mut()
                    .for_each(|kv| self.token(&mut kv.lease)),
                Some(Response::ResponseDeleteRange(delete)) => delete
                    .prev_kvs
                    .iter_mut()
                    .for_each(|kv| self.token(&mut kv.lease)),
                Some(Response::ResponseTxn(txn)) => self.token_txn(txn),
                None => {}
            }
        }
    }

    pub fn heard(&self, mut heard: Heard) -> Heard {
        if let Heard::Event(event) = &mut heard {
            for kv in event.kv.iter_mut().chain(&mut event.prev_kv) {
                self.token(&mut kv.lease);
            }
        }
        heard
    }
}

/// Compares two answers to one request.
pub fn answers(request: &Request, left: &Answer, right: &Answer) -> Result<(), String> {
    let (mut left, mut right) = (left.clone(), right.clone());
    if let (Ok(left), Ok(right)) = (&mut left, &mut right) {
        forgive(request, left, right);
    }
    if left == right {
        Ok(())
    } else {
        Err(format!("left:  {}\nright: {}", show(&left), show(&right)))
    }
}

fn show(answer: &Answer) -> String {
    format!("{answer:?}").chars().take(4000).collect()
}

/// Evens out the order of equals, and a second of remaining time.
fn forgive(request: &Request, left: &mut Reply, right: &mut Reply) {
    match (request, left, right) {
        (
            Request::Range(asked) | Request::Stream(asked),
            Reply::Range(left),
            Reply::Range(right),
        ) => order_equals(asked, left, right),
        (Request::Txn(asked), Reply::Txn(left), Reply::Txn(right)) => {
            order_equals_in_txn(asked, left, right)
        }
        (_, Reply::TimeToLive(left), Reply::TimeToLive(right))
            if (left.ttl - right.ttl).abs() <= 1 && left.ttl >= 0 && right.ttl >= 0 =>
        {
            left.ttl = right.ttl
        }
        _ => {}
    }
}

fn order_equals_in_txn(
    asked: &pb::TxnRequest,
    left: &mut pb::TxnResponse,
    right: &mut pb::TxnResponse,
) {
    if left.succeeded != right.succeeded {
        return;
    }
    let ops = if left.succeeded {
        &asked.success
    } else {
        &asked.failure
    };
    for ((op, left), right) in ops
        .iter()
        .zip(&mut left.responses)
        .zip(&mut right.responses)
    {
        match (&op.request, &mut left.response, &mut right.response) {
            (
                Some(pb::request_op::Request::RequestRange(asked)),
                Some(Response::ResponseRange(left)),
                Some(Response::ResponseRange(right)),
            ) => order_equals(asked, left, right),
            (
                Some(pb::request_op::Request::RequestTxn(asked)),
                Some(Response::ResponseTxn(left)),
                Some(Response::ResponseTxn(right)),
            ) => order_equals_in_txn(asked, left, right),
            _ => {}
        }
    }
}

/// Keys that are equal in what they are sorted by come in no promised order; cut by a limit, it is not even promised which of them come.
fn order_equals(
    asked: &pb::RangeRequest,
    left: &mut pb::RangeResponse,
    right: &mut pb::RangeResponse,
) {
    use pb::range_request::{SortOrder, SortTarget};
    let (Ok(order), Ok(target)) = (
        SortOrder::try_from(asked.sort_order),
        SortTarget::try_from(asked.sort_target),
    ) else {
        return;
    };
    if target == SortTarget::Key
        || (order == SortOrder::None && asked.sort_order != 0)
        || left.kvs.len() != right.kvs.len()
    {
        return;
    }
    // Without its value a key shows nothing of what it was sorted by.
    if target == SortTarget::Value && asked.keys_only {
        if !left.more && !right.more {
            left.kvs.sort_by(|a, b| a.key.cmp(&b.key));
            right.kvs.sort_by(|a, b| a.key.cmp(&b.key));
        }
        return;
    }
    let class = |kv: &mvccpb::KeyValue| match target {
        SortTarget::Key => (0, kv.key.clone()),
        SortTarget::Version => (kv.version, bytes::Bytes::new()),
        SortTarget::Create => (kv.create_revision, bytes::Bytes::new()),
        SortTarget::Mod => (kv.mod_revision, bytes::Bytes::new()),
        SortTarget::Value => (0, kv.value.clone()),
    };
    let classes = |range: &pb::RangeResponse| range.kvs.iter().map(class).collect::<Vec<_>>();
    let (of_left, of_right) = (classes(left), classes(right));
    if of_left != of_right {
        return;
    }
    if left.more
        && right.more
        && let Some(last) = of_left.last()
    {
        left.kvs.retain(|kv| class(kv) != *last);
        right.kvs.retain(|kv| class(kv) != *last);
    }
    // A stable sort within runs of equals: the sequence of classes is the same on both sides already.
    for kvs in [&mut left.kvs, &mut right.kvs] {
        kvs.chunk_by_mut(|a, b| class(a) == class(b))
            .for_each(|run| run.sort_by(|a, b| a.key.cmp(&b.key)));
    }
}

/// Compares what all watchers heard, and counts the events. True beside a difference: no further event can mend it.
pub fn heard(left: &AllHeard, right: &AllHeard) -> Result<usize, (String, bool)> {
    let mut events = 0;
    for id in left.keys().chain(right.keys()) {
        let empty = Vec::new();
        let (left, right) = (
            left.get(id).unwrap_or(&empty),
            right.get(id).unwrap_or(&empty),
        );
        events += left.len();
        if let Some(at) =
            (0..left.len().max(right.len())).find(|at| left.get(*at) != right.get(*at))
        {
            let before = at.checked_sub(1).and_then(|at| left.get(at));
            let next = |side: &[Heard]| {
                side.get(at + 1)
                    .map_or_else(String::new, |next| format!("\n  then  {}", brief(next)))
            };
            let difference = format!(
                "stream {}, watcher {}, item {at} (after {}):\nleft:  {}{}\nright: {}{}",
                id.0,
                id.1,
                before.map_or("nothing".into(), brief),
                left.get(at).map_or("nothing".into(), brief),
                next(left),
                right.get(at).map_or("nothing".into(), brief),
                next(right),
            );
            return Err((difference, at < left.len() && at < right.len()));
        }
    }
    Ok(events / 2)
}

fn brief(heard: &Heard) -> String {
    format!("{heard:?}").chars().take(700).collect()
}
