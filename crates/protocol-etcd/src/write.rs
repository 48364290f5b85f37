//! Requests as commands.
//!
//! Layout recognition happens here, before anything is proposed: a put whose key and value a layout knows carries the instance.
//! Whatever is kept is copied: keys and values of a request are slices of the connection's receive buffer and would hold all of it.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{
    Command, Comparand, Compare, Key, Keyspace, LeaseId, Op, Put, Read, Registration, Relation,
    Revision, State, Terms, Write,
    layout::{Form, Mode},
};

use crate::{
    key_range::keys,
    read,
    wire::etcdserverpb::{
        self as pb, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
};

/// A lease of this many seconds and more is refused.
pub(crate) const MAX_TTL: i64 = 9_000_000_000;
/// The shortest lease; shorter ones become this. One and a half election timeouts of etcd's default, in whole seconds.
pub(crate) const MIN_TTL: i64 = 2;

/// A lease. The id is settled already.
pub(crate) fn grant_command(id: i64, ttl: i64) -> Command {
    Command::Grant {
        lease: LeaseId::Etcd(id),
        terms: Some(Terms::strict(ttl as u64 * 1000)),
        session: None,
    }
}

/// A put.
pub(crate) fn put(state: &State, request: &PutRequest) -> Op {
    let recognised = if request.ignore_value {
        None
    } else {
        recognise(state, request)
    };
    let recognised = recognised.into_iter().collect();
    let value = if request.ignore_value {
        Bytes::new()
    } else {
        Bytes::copy_from_slice(&request.value)
    };
    Op::Put(Box::new(Put {
        lease: (request.lease != 0).then_some(LeaseId::Etcd(request.lease)),
        keep_value: request.ignore_value,
        keep_lease: request.ignore_lease,
        recognised,
        ..Put::new(Keyspace::Etcd, Key::from(&request.key[..]), value)
    }))
}

/// A delete.
pub(crate) fn delete(request: &DeleteRangeRequest) -> Op {
    Op::Delete {
        space: Keyspace::Etcd,
        range: keys(&request.key, &request.range_end),
        expect: Default::default(),
    }
}

/// What a layout that is not switched off sees in the record.
///
/// The forms without a root of their own recognise only what is under a lease, as every client of theirs writes it.
fn recognise(state: &State, request: &PutRequest) -> Option<Arc<Registration>> {
    let found = state
        .layouts()
        .filter(|(_, layout)| layout.mode != Mode::Off && layout.form.keyspace() == Keyspace::Etcd)
        .find_map(|(_, layout)| {
            let rootless = matches!(layout.form, Form::GoZero { .. } | Form::GrpcNaming { .. });
            if rootless && request.lease == 0 && !request.ignore_lease {
                return None;
            }
            layout.form.recognise(&request.key, &request.value)
        })
        .filter(|found| !state.is_own_service(&found.service))?;
    Some(Arc::new(found))
}

/// A transaction, with everything nested in it.
pub(crate) fn txn(state: &State, request: &TxnRequest) -> Write {
    Write {
        when: request.compare.iter().filter_map(compare).collect(),
        then: request
            .success
            .iter()
            .filter_map(|op| operation(state, op))
            .collect(),
        or_else: request
            .failure
            .iter()
            .filter_map(|op| operation(state, op))
            .collect(),
        report_all: false,
    }
}

/// An operation; an empty one was refused before.
fn operation(state: &State, op: &RequestOp) -> Option<Op> {
    Some(match op.request.as_ref()? {
        Request::RequestPut(request) => put(state, request),
        Request::RequestDeleteRange(request) => delete(request),
        Request::RequestTxn(request) => Op::Nested(txn(state, request)),
        Request::RequestRange(request) => Op::Read(read_op(state, request)),
    })
}

fn read_op(state: &State, request: &RangeRequest) -> Read {
    let at = match request.revision {
        0 => None,
        // Inside of a transaction etcd compares a negative revision with the last compaction: -1 is that of a store never compacted.
        -1 if !state.floors().was_compacted(Keyspace::Etcd) => None,
        below @ ..0 => {
            debug_assert!(below < 0);
            Some(Revision(0))
        }
        revision => Some(Revision(revision as u64)),
    };
    Read {
        space: Keyspace::Etcd,
        range: keys(&request.key, &request.range_end),
        at,
        limit: read::early_limit(request),
        count_only: request.count_only,
    }
}

/// A comparison; none when it holds whatever it is compared with, which etcd says of a result it does not know.
fn compare(request: &pb::Compare) -> Option<Compare> {
    let target = CompareTarget::try_from(request.target).ok();
    let union = request.target_union.as_ref();
    let comparand = match (target, union) {
        (Some(CompareTarget::Version), Some(TargetUnion::Version(n))) => Comparand::Version(*n),
        (Some(CompareTarget::Create), Some(TargetUnion::CreateRevision(n))) => {
            Comparand::Created(*n)
        }
        (Some(CompareTarget::Mod), Some(TargetUnion::ModRevision(n))) => Comparand::Modified(*n),
        (Some(CompareTarget::Value), Some(TargetUnion::Value(value))) => {
            Comparand::Value(Bytes::copy_from_slice(value))
        }
        (Some(CompareTarget::Lease), Some(TargetUnion::Lease(n))) => Comparand::Lease(*n),
        // What the union does not say, or says of another target, is zero or empty.
        (Some(CompareTarget::Version), _) => Comparand::Version(0),
        (Some(CompareTarget::Create), _) => Comparand::Created(0),
        (Some(CompareTarget::Mod), _) => Comparand::Modified(0),
        (Some(CompareTarget::Value), _) => Comparand::Value(Bytes::new()),
        (Some(CompareTarget::Lease), _) => Comparand::Lease(0),
        // An unknown target is equal to whatever it is compared with.
        (None, _) => {
            return match CompareResult::try_from(request.result) {
                Ok(CompareResult::Greater | CompareResult::Less | CompareResult::NotEqual) => {
                    Some(on(request, Relation::Less, Comparand::Version(0)))
                }
                Ok(CompareResult::Equal) | Err(_) => None,
            };
        }
    };
    let relation = match CompareResult::try_from(request.result) {
        Ok(CompareResult::Equal) => Relation::Equal,
        Ok(CompareResult::Greater) => Relation::Greater,
        Ok(CompareResult::Less) => Relation::Less,
        Ok(CompareResult::NotEqual) => Relation::NotEqual,
        // Of a value it still asks for the key to be there.
        Err(_) if matches!(comparand, Comparand::Value(_)) => {
            return Some(on(request, Relation::Greater, Comparand::Version(0)));
        }
        Err(_) => return None,
    };
    Some(on(request, relation, comparand))
}

fn on(request: &pb::Compare, relation: Relation, comparand: Comparand) -> Compare {
    Compare {
        space: Keyspace::Etcd,
        range: keys(&request.key, &request.range_end),
        relation,
        comparand,
    }
}
