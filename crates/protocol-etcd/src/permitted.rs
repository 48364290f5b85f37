//! Whether a user of etcd's may do what a request asks for, operation by operation.
//!
//! The rule of the whole server, [`crate::app::allow`], is asked beside it.

use portolan_catalog::{Attached, Key, Keyspace, LeaseId, State};

use crate::{
    auth::rules::{Access, Who},
    error::Failure,
    wire::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
    },
};

/// A put needs the key, to read it too if its old value is asked for, and every other key of its lease: whoever may attach a key to a lease
/// could end them all.
pub(crate) fn put(state: &State, who: &Who, request: &PutRequest) -> Result<(), Failure> {
    if matches!(who, Who::Anyone) {
        return Ok(());
    }
    who.may(Access::Write, &request.key, &[])?;
    if request.lease != 0 {
        lease(state, who, Access::Write, request.lease)?;
    }
    match request.prev_kv {
        true => who.may(Access::Read, &request.key, &[]),
        false => Ok(()),
    }
}

/// A delete needs the keys, to read them too if their old values are asked for.
pub(crate) fn delete(who: &Who, request: &DeleteRangeRequest) -> Result<(), Failure> {
    who.may(Access::Write, &request.key, &request.range_end)?;
    match request.prev_kv {
        true => who.may(Access::Read, &request.key, &request.range_end),
        false => Ok(()),
    }
}

/// A transaction needs every comparison and every operation of both branches, whichever is taken.
pub(crate) fn txn(state: &State, who: &Who, request: &TxnRequest) -> Result<(), Failure> {
    if matches!(who, Who::Anyone) {
        return Ok(());
    }
    for compare in &request.compare {
        who.may(Access::Read, &compare.key, &compare.range_end)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        operation(state, who, op)?;
    }
    Ok(())
}

fn operation(state: &State, who: &Who, op: &RequestOp) -> Result<(), Failure> {
    match &op.request {
        Some(Request::RequestRange(range)) => who.may(Access::Read, &range.key, &range.range_end),
        Some(Request::RequestPut(request)) => put(state, who, request),
        Some(Request::RequestDeleteRange(request)) => delete(who, request),
        Some(Request::RequestTxn(request)) => txn(state, who, request),
        None => Ok(()),
    }
}

/// What is done to a lease is done to its keys. Whoever has the role `root` may do it even with a token of earlier roles.
pub(crate) fn lease(state: &State, who: &Who, access: Access, id: i64) -> Result<(), Failure> {
    if who.manages().is_ok() {
        return Ok(());
    }
    keys(state, &LeaseId::Etcd(id)).try_for_each(|key| who.may(access, &key, &[]))
}

/// The keys that are under a lease.
pub(crate) fn keys<'a>(state: &'a State, lease: &'a LeaseId) -> impl Iterator<Item = Key> + 'a {
    let key = |attached: Attached| match attached {
        Attached::Record(Keyspace::Etcd, key) => Some(key),
        Attached::Record(..) | Attached::Lock(..) | Attached::Instance(_) => None,
    };
    state.attached(lease).filter_map(key)
}
