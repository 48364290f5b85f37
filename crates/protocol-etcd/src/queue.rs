//! A queue of keys under one prefix, oldest first: what etcd's locks and elections are made of, on servers and in clients alike.
//!
//! Each place is a key `prefix/lease` in hexadecimal, put under that lease. Whoever has the oldest key has the lock, or leads. A waiter
//! watches the key just before its own. Keys of clients' own recipes and of this server stand in the same queue.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Key, KeyRange, Keyspace, OpDone, Record, Revision, State, Written};
use portolan_listener::{Action, Caller};
use portolan_registry::Selector;

use crate::{
    app::{App, allow_keys, unexpected},
    asker::Asker,
    auth::rules::Access,
    error::{Code, Failure, STOPPED},
    kv, lease,
    wire::etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
};

/// Seconds of a lease that was not asked for. Nobody renews it, as in etcd.
const SESSION: i64 = 60;

/// A key in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) key: Bytes,
    /// When it was put: the order of the queue.
    pub(crate) created: Revision,
    /// As of this revision.
    pub(crate) seen: Revision,
    /// The value of a key that was there before.
    pub(crate) found: Option<Bytes>,
}

/// The lease that was asked for, or a new one.
pub(crate) async fn session(app: &App, caller: &Asker, lease: i64) -> Result<i64, Failure> {
    if lease != 0 {
        return Ok(lease);
    }
    let (_, id, _) = lease::granted(app, caller, 0, SESSION).await?;
    Ok(id)
}

/// Every key of the queue of this name begins so.
pub(crate) fn prefix(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// Puts a key for `lease` behind `prefix`, unless it is there.
pub(crate) async fn join(
    app: &App,
    caller: &Asker,
    prefix: &[u8],
    lease: i64,
    value: Bytes,
) -> Result<Place, Failure> {
    let sign = if lease < 0 { "-" } else { "" };
    let id = format!("{sign}{:x}", lease.unsigned_abs());
    let key = Bytes::from([prefix, id.as_bytes()].concat());
    let put = PutRequest {
        key: key.clone(),
        value,
        lease,
        ..Default::default()
    };
    let range = RangeRequest {
        key: key.clone(),
        ..Default::default()
    };
    let request = TxnRequest {
        compare: vec![created_at(&key, Revision(0))],
        success: vec![op(Request::RequestPut(put))],
        failure: vec![op(Request::RequestRange(range))],
    };
    // The recipe reads the queue in the same transaction.
    app.who(caller)?
        .may(Access::Read, prefix, &end_of(prefix))?;
    let (seen, written) = kv::write_txn(app, caller, &request).await?;
    let found = match written.results.into_iter().next() {
        Some(OpDone::Put { .. }) => {
            return Ok(Place {
                key,
                created: seen,
                seen,
                found: None,
            });
        }
        Some(OpDone::Read(read)) => read.rows.into_iter().next(),
        _ => None,
    };
    let (_, record) = found.ok_or_else(|| unexpected("a place in a queue"))?;
    Ok(Place {
        key,
        created: record.created,
        seen,
        found: Some(record.value.clone().unwrap_or_default()),
    })
}

/// Changes or deletes the key of a place, if it is still the same one. None when it is not.
pub(crate) async fn change(
    app: &App,
    caller: &Asker,
    (key, created): (&Bytes, Revision),
    then: Request,
) -> Result<(Revision, bool), Failure> {
    let request = TxnRequest {
        compare: vec![created_at(key, created)],
        success: vec![op(then)],
        failure: Vec::new(),
    };
    let (revision, Written { succeeded, .. }) = kv::write_txn(app, caller, &request).await?;
    Ok((revision, succeeded))
}

/// The request that deletes a key.
pub(crate) fn deletion(key: &Bytes) -> Request {
    Request::RequestDeleteRange(DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    })
}

/// Waits until no key of the queue is older than `created`.
pub(crate) async fn turn(
    app: &App,
    caller: &Asker,
    prefix: &[u8],
    created: Revision,
) -> Result<(), Failure> {
    let range = KeyRange::prefix(prefix);
    loop {
        let state = app.registry.snapshot();
        let older = records(&state, &range).filter(|(_, record)| record.created < created);
        let Some((key, _)) = older.max_by_key(|(_, record)| record.created) else {
            return Ok(());
        };
        let selector = Selector::Key(Keyspace::Etcd, key.clone());
        let revision = state.revision();
        drop(state);
        // Without a history to follow, the state is looked at again.
        let Ok(mut feed) = app.registry.follow(vec![selector], revision) else {
            continue;
        };
        tokio::select! {
            _ = feed.next() => {}
            () = caller.draining() => return Err(STOPPED),
        }
    }
}

/// The oldest key of the queue.
pub(crate) fn first<'a>(state: &'a State, range: &'a KeyRange) -> Option<(&'a Key, &'a Record)> {
    records(state, range).min_by_key(|(_, record)| record.created)
}

fn records<'a>(
    state: &'a State,
    range: &'a KeyRange,
) -> impl Iterator<Item = (&'a Key, &'a Record)> {
    state
        .range(Keyspace::Etcd, range)
        .map(|(key, record)| (key, &**record))
}

/// Asks whether `caller` may look at the whole queue.
pub(crate) fn allow_queue(caller: &Caller, action: Action, prefix: &[u8]) -> Result<(), Failure> {
    allow_keys(caller, action, prefix, &end_of(prefix))
}

/// The end of the range of everything that begins with `prefix`.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != 0xff) else {
        return vec![0];
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

/// Failures of what is built on the keys have no code of their own in etcd. Those that tell when to try again keep theirs.
pub(crate) fn without_code(failure: Failure) -> Failure {
    match failure.code {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::PermissionDenied => {
            failure
        }
        _ => Failure {
            code: Code::Unknown,
            ..failure
        },
    }
}

/// Takes the key of a waiter away when it does not wait to the end: when its client goes, or its time is up.
pub(crate) struct Waiter {
    app: Arc<App>,
    caller: Asker,
    /// None when it stays.
    place: Option<Place>,
}

impl Waiter {
    pub(crate) fn new(app: &Arc<App>, caller: &Asker, place: &Place) -> Waiter {
        Waiter {
            app: app.clone(),
            caller: caller.clone(),
            place: Some(place.clone()),
        }
    }

    /// The key stays.
    pub(crate) fn stays(mut self) {
        self.place = None;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        // At the end of the process there is nobody left to ask; the lease takes the key then.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (app, caller) = (self.app.clone(), self.caller.clone());
        runtime.spawn(async move {
            let then = deletion(&place.key);
            if let Err(failure) = change(&app, &caller, (&place.key, place.created), then).await {
                tracing::warn!(?failure, "a waiter's key stays until its lease ends");
            }
        });
    }
}

fn created_at(key: &Bytes, revision: Revision) -> Compare {
    Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(revision.0 as i64)),
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}
