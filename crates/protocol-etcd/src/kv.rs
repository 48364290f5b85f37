//! The KV service.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{
    Command, Done, Entry, Key, Keyspace, OpDone, Record, Revision, State, Write, Written,
};
use portolan_listener::{Action, Resource, Response};
use portolan_registry::Past;
use prost::Message;

use crate::{
    alarm,
    app::{App, allow, allow_keys, done, unexpected},
    asker::Asker,
    auth::rules::{Access, Who},
    check,
    error::{COMPACTED, Code, FUTURE_REVISION, Failure, REQUEST_TOO_LARGE},
    grpc::{self, Messages},
    key_range::keys,
    permitted, read,
    wire::encode::nested_len,
    wire::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RequestOp, TxnRequest, request_op::Request as Op,
    },
    write,
};

/// Rows of the first piece of a streamed range; each further piece doubles until it is as large as a request may be.
const FIRST_PIECE: usize = 10;

pub(crate) async fn range(
    app: Arc<App>,
    caller: Asker,
    request: RangeRequest,
) -> Result<Bytes, Failure> {
    allow_keys(&caller, Action::Read, &request.key, &request.range_end)?;
    check::range(&request)?;
    app.wake(&caller, &request.key, &request.range_end).await;
    let now = app.state(request.serializable).await?;
    app.auth
        .who(&now, &caller)?
        .may(Access::Read, &request.key, &request.range_end)?;
    let header = app.header(now.revision());
    match read::revision_asked(&now, request.revision)? {
        None => Ok(read::range(&now, &request, &header)),
        Some(revision) => {
            let past = past(&app, revision)?;
            if request.range_end.is_empty() || past.is_in_memory() {
                return Ok(read::range_then(&past, &request, &header)?);
            }
            // Many rows may have to be read from files.
            beside(move || Ok(read::range_then(&past, &request, &header)?)).await
        }
    }
}

/// The rows at an earlier revision, which was in the history a moment ago.
fn past(app: &App, revision: Revision) -> Result<Past, Failure> {
    Ok(app.registry.past(Some(Keyspace::Etcd), revision)?)
}

/// Does what may take long beside the threads that serve.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match portolan_environment::blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(unexpected("read")),
    }
}

pub(crate) async fn put(
    app: Arc<App>,
    caller: Asker,
    request: PutRequest,
) -> Result<Bytes, Failure> {
    may_put(&caller, &request)?;
    check::put(&request)?;
    bounded(&app, &request)?;
    let made = |state: &State, who: &Who| {
        alarm::check_space(state)?;
        permitted::put(state, who, &request)?;
        Ok(Write::one(write::put(state, &request)))
    };
    let (revision, written) = app.write(&caller, made).await?;
    let prev_kv = match &written.results[..] {
        [OpDone::Put { key, before, .. }] if request.prev_kv => {
            before.as_ref().map(|record| read::key_value(key, record))
        }
        _ => None,
    };
    Ok(grpc::frame(&PutResponse {
        header: Some(app.header(revision)),
        prev_kv,
    }))
}

pub(crate) async fn delete_range(
    app: Arc<App>,
    caller: Asker,
    request: DeleteRangeRequest,
) -> Result<Bytes, Failure> {
    let (revision, gone) = delete(&app, &caller, &request).await?;
    let prev_kvs = if request.prev_kv {
        gone.iter()
            .map(|(key, record)| read::key_value(key, record))
            .collect()
    } else {
        Vec::new()
    };
    Ok(grpc::frame(&DeleteRangeResponse {
        header: Some(app.header(revision)),
        deleted: gone.len() as i64,
        prev_kvs,
    }))
}

/// Deletes, and gives the revision and what went, in key order.
pub(crate) async fn delete(
    app: &App,
    caller: &Asker,
    request: &DeleteRangeRequest,
) -> Result<(Revision, Vec<(Key, Arc<Record>)>), Failure> {
    may_delete(caller, request)?;
    check::delete(request)?;
    bounded(app, request)?;
    let made = |state: &State, who: &Who| {
        alarm::not_corrupt(state)?;
        permitted::delete(who, request)?;
        Ok(Write::one(write::delete(request)))
    };
    let (revision, written) = app.write(caller, made).await?;
    match written.results.into_iter().next() {
        Some(OpDone::Deleted(gone)) => Ok((revision, gone)),
        _ => Err(unexpected("delete")),
    }
}

/// A transaction that only reads is a read: it is not proposed, and moves nothing.
pub(crate) async fn txn(
    app: Arc<App>,
    caller: Asker,
    request: TxnRequest,
) -> Result<Bytes, Failure> {
    may_txn(&caller, &request)?;
    check::txn(&request)?;
    bounded(&app, &request)?;
    let (reads_only, serializable) = kind_of(&request);
    if !reads_only {
        // Held from before, so that what the transaction may read stays readable whatever happens meanwhile.
        let held = read::looks_back(&request).then(|| app.registry.hold_past());
        let (revision, mut written) = decide(&app, &caller, &request).await?;
        if let Some(held) = held {
            written = look_back(&app, &request, written, held).await?;
        }
        return Ok(grpc::frame(&read::txn(
            &request,
            &written,
            revision,
            app.header(revision),
        )));
    }
    app.state(serializable).await?;
    let held = app.registry.hold_past();
    let state = held.present().clone();
    permitted::txn(&state, &app.auth.who(&state, &caller)?, &request)?;
    // It runs like any other, on a copy of the state that nobody else sees.
    let entry = Entry {
        at: state.last_at(),
        cause: caller.call_cause(),
        command: Command::Write(write::txn(&state, &request)),
    };
    let (revision, mut written) = match done(State::clone(&state).apply(&entry).settled)? {
        (revision, Done::Written(written)) => (revision, written),
        _ => return Err(unexpected("transaction")),
    };
    if read::looks_back(&request) {
        written = look_back(&app, &request, written, held).await?;
    }
    Ok(grpc::frame(&read::txn(
        &request,
        &written,
        revision,
        app.header(revision),
    )))
}

/// Checks a transaction that may write as a request of its own, and proposes it.
pub(crate) async fn write_txn(
    app: &App,
    caller: &Asker,
    request: &TxnRequest,
) -> Result<(Revision, Written), Failure> {
    may_txn(caller, request)?;
    check::txn(request)?;
    bounded(app, request)?;
    decide(app, caller, request).await
}

async fn decide(
    app: &App,
    caller: &Asker,
    request: &TxnRequest,
) -> Result<(Revision, Written), Failure> {
    let made = |state: &State, who: &Who| {
        if has_puts(request) {
            alarm::check_space(state)?;
        }
        alarm::not_corrupt(state)?;
        permitted::txn(state, who, request)?;
        Ok(write::txn(state, request))
    };
    app.write(caller, made).await
}

/// Fills in the ranges at earlier revisions: a transaction settles only that they can be read.
async fn look_back(
    app: &App,
    request: &TxnRequest,
    mut written: Written,
    held: Past,
) -> Result<Written, Failure> {
    let latest = app.registry.hold_past();
    if read::is_brief(request) {
        read::look_back(request, &mut written, &held, &latest)?;
        return Ok(written);
    }
    let request = request.clone();
    beside(move || {
        read::look_back(&request, &mut written, &held, &latest)?;
        Ok(written)
    })
    .await
}

pub(crate) async fn compact(
    app: Arc<App>,
    caller: Asker,
    request: CompactionRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    let now = app.state(false).await?;
    app.auth.who(&now, &caller)?.manages()?;
    alarm::not_corrupt(&now)?;
    let compacted = now
        .floors()
        .was_compacted(Keyspace::Etcd)
        .then(|| now.floor(Some(Keyspace::Etcd)));
    let revision = u64::try_from(request.revision)
        .map(Revision)
        .map_err(|_| COMPACTED)?;
    if revision > now.revision() {
        return Err(FUTURE_REVISION);
    }
    // Revision 0 can be compacted once, as in etcd, where a store that was never compacted stands at -1.
    if compacted.is_some_and(|floor| revision <= floor) {
        return Err(COMPACTED);
    }
    // What is below cannot be read from then on; its memory and files are given back soon after, in slices.
    let (revision, _) = done(
        app.propose(
            &caller,
            Command::Compact {
                space: Some(Keyspace::Etcd),
                revision,
            },
        )
        .await?,
    )?;
    Ok(grpc::frame(&CompactionResponse {
        header: Some(app.header(revision)),
    }))
}

/// A range in pieces, all read at the revision of the first.
pub(crate) async fn range_stream(app: Arc<App>, caller: Asker, mut messages: Messages) -> Response {
    let allowed = allow(&caller, Action::Read, Resource::Public);
    let begun = async {
        allowed?;
        begin_stream(&app, &caller, messages.only().await?).await
    };
    match begun.await {
        Ok(pieces) => grpc::streaming(Some(pieces), |pieces| async move {
            pieces.map(|mut pieces| {
                (
                    Ok::<_, Failure>(pieces.next()),
                    Some(pieces).filter(|pieces| !pieces.ended),
                )
            })
        }),
        Err(failure) => grpc::unary(Err(failure)),
    }
}

async fn begin_stream(app: &App, caller: &Asker, request: RangeRequest) -> Result<Pieces, Failure> {
    check::range(&request)?;
    if !read::in_index_order(&request) {
        return Err(Failure::new(
            Code::Unimplemented,
            "RangeStream does not support custom sort orders",
        ));
    }
    if read::filters(&request) {
        return Err(Failure::new(
            Code::Unimplemented,
            "RangeStream does not support revision filters",
        ));
    }
    allow_keys(caller, Action::Read, &request.key, &request.range_end)?;
    app.wake(caller, &request.key, &request.range_end).await;
    let now = app.state(request.serializable).await?;
    app.auth
        .who(&now, caller)?
        .may(Access::Read, &request.key, &request.range_end)?;
    let header = app.header(now.revision());
    let state = match read::revision_asked(&now, request.revision)? {
        None => now,
        Some(revision) => {
            let past = past(app, revision)?;
            let range = keys(&request.key, &request.range_end);
            Arc::new(beside(move || Ok(past.records(Keyspace::Etcd, &range)?)).await?)
        }
    };
    let limitless = request.limit < 0;
    Ok(Pieces {
        reader: read::Pieces::new(state, request, header),
        // etcd takes a negative limit for the end of the first piece, and none for the end of the answer.
        rows: if limitless { usize::MAX } else { FIRST_PIECE },
        most: app.settings.request_bytes,
        ended: false,
    })
}

struct Pieces {
    reader: read::Pieces,
    rows: usize,
    most: usize,
    ended: bool,
}

impl Pieces {
    fn next(&mut self) -> Bytes {
        let (piece, last) = self.reader.next(self.rows);
        self.ended = last;
        if piece.len() < self.most / 2 {
            self.rows = self.rows.saturating_mul(2);
        } else if piece.len() > self.most * 2 {
            self.rows = (self.rows / 2).max(1);
        }
        piece
    }
}

/// Bytes that etcd adds to a request in its log: a header with the number of the proposal.
const PROPOSAL: usize = 14;

/// What is kept must fit into an entry of the log. Counted is what etcd would write.
fn bounded(app: &App, request: &impl Message) -> Result<(), Failure> {
    if nested_len(request.encoded_len()) + PROPOSAL > app.settings.request_bytes {
        Err(REQUEST_TOO_LARGE)
    } else {
        Ok(())
    }
}

fn may_put(caller: &Asker, request: &PutRequest) -> Result<(), Failure> {
    allow_keys(caller, Action::Write, &request.key, &[])?;
    if request.prev_kv {
        allow_keys(caller, Action::Read, &request.key, &[])
    } else {
        Ok(())
    }
}

fn may_delete(caller: &Asker, request: &DeleteRangeRequest) -> Result<(), Failure> {
    allow_keys(caller, Action::Write, &request.key, &request.range_end)?;
    if request.prev_kv {
        allow_keys(caller, Action::Read, &request.key, &request.range_end)
    } else {
        Ok(())
    }
}

/// Each comparison and each operation of both branches is asked for, and an empty transaction too.
fn may_txn(caller: &Asker, request: &TxnRequest) -> Result<(), Failure> {
    allow(caller, Action::Read, Resource::Public)?;
    for compare in &request.compare {
        allow_keys(caller, Action::Read, &compare.key, &compare.range_end)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Op::RequestRange(request)) => {
                allow_keys(caller, Action::Read, &request.key, &request.range_end)?
            }
            Some(Op::RequestPut(request)) => may_put(caller, request)?,
            Some(Op::RequestDeleteRange(request)) => may_delete(caller, request)?,
            Some(Op::RequestTxn(request)) => may_txn(caller, request)?,
            None => {}
        }
    }
    Ok(())
}

/// Whether a transaction has ranges alone, and whether all of them are serializable.
fn kind_of(request: &TxnRequest) -> (bool, bool) {
    let mut kind = (true, true);
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Op::RequestRange(range)) => kind.1 &= range.serializable,
            _ => kind = (false, false),
        }
    }
    kind
}

fn has_puts(request: &TxnRequest) -> bool {
    let puts = |op: &RequestOp| match &op.request {
        Some(Op::RequestPut(_)) => true,
        Some(Op::RequestTxn(request)) => has_puts(request),
        _ => false,
    };
    request.success.iter().chain(&request.failure).any(puts)
}
