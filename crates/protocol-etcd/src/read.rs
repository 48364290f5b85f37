//! State as replies.

use std::{cmp::Ordering, sync::Arc};

use bytes::Bytes;
use portolan_catalog::{Key, Keyspace, OpDone, Record, Revision, State, Written};
use portolan_registry::{Damage, Past};

use crate::{
    error::{COMPACTED, FUTURE_REVISION, Failure},
    grpc,
    key_range::keys,
    wire::{
        encode::{Ranged, Row, lease_of, nested_len, put_nested},
        etcdserverpb::{
            DeleteRangeResponse, PutResponse, RangeRequest, RangeResponse, RequestOp,
            ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
            range_request::{SortOrder, SortTarget},
            request_op::Request,
            response_op::Response,
        },
        mvccpb::KeyValue,
    },
};

/// Ranges of a transaction that are read at earlier revisions on the thread that serves; more are read beside it.
const BRIEF: usize = 128;

/// The revision that `asked` means to a plain range, given the newest state: none for the present.
///
/// # Errors
/// `FUTURE_REVISION` and `COMPACTED`.
pub(crate) fn revision_asked(now: &State, asked: i64) -> Result<Option<Revision>, Failure> {
    let Some(asked) = u64::try_from(asked)
        .ok()
        .filter(|asked| *asked > 0)
        .map(Revision)
    else {
        return Ok(None);
    };
    if asked > now.revision() {
        return Err(FUTURE_REVISION);
    }
    if asked < now.floor(Some(Keyspace::Etcd)) {
        return Err(COMPACTED);
    }
    Ok(Some(asked).filter(|asked| *asked < now.revision()))
}

/// Whether rows are left out by their revisions.
pub(crate) fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Whether etcd takes the order for that of its index. It does not look at the target of an order that was not given, although it sorts
/// by it afterwards: such a range is cut first and sorted then.
pub(crate) fn in_index_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || request.sort_order == SortOrder::Ascend as i32
            && request.sort_target == SortTarget::Key as i32
}

/// How many of the rows as they lie are needed: one more than are wanted, or all (0) when they are yet to be sorted or filtered.
pub(crate) fn early_limit(request: &RangeRequest) -> usize {
    if !in_index_order(request) || filters(request) {
        0
    } else {
        usize::try_from(request.limit)
            .map_or(0, |limit| limit.saturating_add(usize::from(limit > 0)))
    }
}

/// The rows of one answer.
pub(crate) struct Selected<'a> {
    rows: Vec<(&'a Key, &'a Record)>,
    more: bool,
    count: u64,
}

/// Filters, sorts and cuts what a range found. `found` are the first rows of `count`, at least up to the early limit.
fn select<'a>(
    request: &RangeRequest,
    found: impl Iterator<Item = (&'a Key, &'a Record)>,
    count: usize,
) -> Selected<'a> {
    let count = count as u64;
    if request.count_only {
        return Selected {
            rows: Vec::new(),
            more: false,
            count,
        };
    }
    let early = early_limit(request);
    let found = found.take(if early == 0 { usize::MAX } else { early });
    let within = |revision: Revision, low: i64, high: i64| {
        let revision = revision.0 as i64;
        (low == 0 || revision >= low) && (high == 0 || revision <= high)
    };
    let mut rows: Vec<_> = found
        .filter(|(_, record)| {
            within(
                record.modified,
                request.min_mod_revision,
                request.max_mod_revision,
            )
        })
        .filter(|(_, record)| {
            within(
                record.created,
                request.min_create_revision,
                request.max_create_revision,
            )
        })
        .collect();
    if request.sort_target != SortTarget::Key as i32
        || request.sort_order == SortOrder::Descend as i32
    {
        sort(request, &mut rows);
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let more = limit > 0 && rows.len() > limit;
    if more {
        rows.truncate(limit);
    }
    Selected { rows, more, count }
}

/// Sorts by what was asked for; equals stay in key order, in both directions.
fn sort(request: &RangeRequest, rows: &mut [(&Key, &Record)]) {
    let by: fn(&(&Key, &Record), &(&Key, &Record)) -> Ordering =
        match SortTarget::try_from(request.sort_target) {
            Ok(SortTarget::Version) => |a, b| a.1.version.cmp(&b.1.version),
            Ok(SortTarget::Create) => |a, b| a.1.created.cmp(&b.1.created),
            Ok(SortTarget::Mod) => |a, b| a.1.modified.cmp(&b.1.modified),
            Ok(SortTarget::Value) => |a, b| {
                a.1.value
                    .as_deref()
                    .unwrap_or_default()
                    .cmp(b.1.value.as_deref().unwrap_or_default())
            },
            Ok(SortTarget::Key) | Err(_) => |a, b| a.0.cmp(b.0),
        };
    if request.sort_order == SortOrder::Descend as i32 {
        rows.sort_by(|a, b| by(b, a));
    } else {
        rows.sort_by(by);
    }
}

fn rows<'a>(
    request: &'a RangeRequest,
    selected: &'a Selected<'a>,
) -> impl Iterator<Item = Row<'a>> + Clone {
    // Keys alone come from etcd's index, which knows no leases; sorting by value needs the value, and finds the lease beside it.
    let lease = !request.keys_only || request.sort_target == SortTarget::Value as i32;
    selected.rows.iter().map(move |(key, record)| Row {
        key,
        record,
        value: !request.keys_only,
        lease,
    })
}

/// The answer to a range on `state`, framed. The header's revision is that of the newest state, whichever was read.
pub(crate) fn range(state: &State, request: &RangeRequest, header: &ResponseHeader) -> Bytes {
    if request.range_end.is_empty() {
        let record = state.record(Keyspace::Etcd, &request.key);
        let key = Key::from(&request.key[..]);
        let found = record.iter().map(|record| (&key, &***record));
        return framed(
            request,
            header,
            &select(request, found, usize::from(record.is_some())),
        );
    }
    let range = keys(&request.key, &request.range_end);
    let all = state
        .range(Keyspace::Etcd, &range)
        .map(|(key, record)| (key, &**record));
    // The count is of everything in the range, however few rows are wanted.
    let count = state.count(Keyspace::Etcd, &range);
    framed(request, header, &select(request, all, count))
}

/// The rows that a range needs at most as they lie.
fn most(request: &RangeRequest) -> usize {
    match early_limit(request) {
        _ if request.count_only => 0,
        0 => usize::MAX,
        limit => limit,
    }
}

/// The answer to a range at an earlier revision, framed.
///
/// # Errors
/// A damaged file of the history.
pub(crate) fn range_then(
    past: &Past,
    request: &RangeRequest,
    header: &ResponseHeader,
) -> Result<Bytes, Damage> {
    let range = keys(&request.key, &request.range_end);
    let found = past.range(Keyspace::Etcd, &range, most(request))?;
    let rows = found.rows.iter().map(|(key, record)| (key, &**record));
    Ok(framed(request, header, &select(request, rows, found.count)))
}

/// The ranges of a transaction at revisions of their own.
fn ranges_then(request: &TxnRequest) -> impl Iterator<Item = &RangeRequest> {
    let ops = request.success.iter().chain(&request.failure);
    let ranges: Box<dyn Iterator<Item = &RangeRequest>> =
        Box::new(ops.flat_map(|op| match &op.request {
            Some(Request::RequestRange(range)) => vec![range],
            Some(Request::RequestTxn(nested)) => ranges_then(nested).collect(),
            _ => Vec::new(),
        }));
    ranges.filter(|range| range.revision != 0)
}

/// Whether a transaction has ranges at revisions of their own.
pub(crate) fn looks_back(request: &TxnRequest) -> bool {
    ranges_then(request).next().is_some()
}

/// Whether those are few, and each of one key.
pub(crate) fn is_brief(request: &TxnRequest) -> bool {
    let mut count = 0;
    ranges_then(request).all(|range| {
        count += 1;
        range.range_end.is_empty() && count <= BRIEF
    })
}

/// Fills in what a transaction's ranges at earlier revisions found. `held` is from before it was settled, `latest` from after.
///
/// # Errors
/// A damaged file of the history.
pub(crate) fn look_back(
    request: &TxnRequest,
    written: &mut Written,
    held: &Past,
    latest: &Past,
) -> Result<(), Failure> {
    let ops = if written.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, done) in ops.iter().zip(&mut written.results) {
        match (&op.request, done) {
            (Some(Request::RequestRange(request)), OpDone::Read(done)) => {
                let Some(at) = done.at else {
                    continue;
                };
                let space = Some(Keyspace::Etcd);
                let then = held.at(space, at).or_else(|_| latest.at(space, at))?;
                let range = keys(&request.key, &request.range_end);
                let found = then.range(Keyspace::Etcd, &range, most(request))?;
                (done.rows, done.count) = (found.rows, found.count);
            }
            (Some(Request::RequestTxn(request)), OpDone::Nested(nested)) => {
                look_back(request, nested, held, latest)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A range that leaves in pieces, all of one state.
pub(crate) struct Pieces {
    state: Arc<State>,
    request: RangeRequest,
    header: ResponseHeader,
    /// Where the next piece begins; none before the first.
    from: Option<Bytes>,
    sent: u64,
}

impl Pieces {
    pub(crate) fn new(state: Arc<State>, request: RangeRequest, header: ResponseHeader) -> Pieces {
        Pieces {
            state,
            request,
            header,
            from: None,
            sent: 0,
        }
    }

    /// The next piece, framed, of at most `most` rows, and whether it is the last. Only the last has a header, `more` and the count.
    pub(crate) fn next(&mut self, most: usize) -> (Bytes, bool) {
        let limit = u64::try_from(self.request.limit)
            .ok()
            .filter(|limit| *limit > 0)
            .unwrap_or(u64::MAX);
        let wanted = if self.request.count_only {
            0
        } else {
            usize::try_from(limit - self.sent)
                .unwrap_or(usize::MAX)
                .min(most)
        };
        let range = keys(
            self.from.as_deref().unwrap_or(&self.request.key),
            if self.from.is_some() && self.request.range_end.is_empty() {
                &[]
            } else {
                &self.request.range_end
            },
        );
        let mut rest = self
            .state
            .range(Keyspace::Etcd, &range)
            .map(|(key, record)| (key, &**record));
        let rows: Vec<_> = rest.by_ref().take(wanted).collect();
        let left = rest.next().is_some();
        drop(rest);
        self.sent += rows.len() as u64;
        let last = self.request.count_only || !left || self.sent >= limit;
        let lease = !self.request.keys_only;
        let encoded = rows.iter().map(|(key, record)| Row {
            key,
            record,
            value: !self.request.keys_only,
            lease,
        });
        let ranged = if last {
            let whole = keys(&self.request.key, &self.request.range_end);
            let count = self.state.count(Keyspace::Etcd, &whole) as u64;
            Ranged {
                header: Some(&self.header),
                rows: encoded,
                more: left && !self.request.count_only,
                count,
            }
        } else {
            Ranged {
                header: None,
                rows: encoded,
                more: false,
                count: 0,
            }
        };
        let piece = grpc::framed(nested_len(ranged.len()), |out| {
            put_nested(1, ranged.len(), out);
            ranged.put(out);
        });
        // The key after the last one sent: the same with a zero byte behind it.
        self.from = rows
            .last()
            .map(|(key, _)| [key, &b"\0"[..]].concat().into());
        (piece, last)
    }
}

fn framed(request: &RangeRequest, header: &ResponseHeader, selected: &Selected<'_>) -> Bytes {
    let ranged = Ranged {
        header: Some(header),
        rows: rows(request, selected),
        more: selected.more,
        count: selected.count,
    };
    grpc::framed(ranged.len(), |out| ranged.put(out))
}

/// A record as a message.
pub(crate) fn key_value(key: &[u8], record: &Record) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key),
        create_revision: record.created.0 as i64,
        mod_revision: record.modified.0 as i64,
        version: record.version as i64,
        value: record.bytes(),
        lease: lease_of(record),
    }
}

/// The answer to a transaction: what each operation of the branch taken did.
///
/// `settled` is the command's revision. The header of a part carries the revision as of that part and nothing else.
pub(crate) fn txn(
    request: &TxnRequest,
    written: &Written,
    settled: Revision,
    header: ResponseHeader,
) -> TxnResponse {
    let changed = changes(&written.results);
    let before = if changed {
        settled.0 as i64 - 1
    } else {
        settled.0 as i64
    };
    let mut revision = before;
    TxnResponse {
        header: Some(header),
        ..branch(request, written, before, &mut revision)
    }
}

fn changes(results: &[OpDone]) -> bool {
    results.iter().any(|result| match result {
        OpDone::Put { .. } => true,
        OpDone::Deleted(gone) => !gone.is_empty(),
        OpDone::Nested(nested) => changes(&nested.results),
        OpDone::Read(_) | OpDone::Held(_) | OpDone::Command(_) => false,
    })
}

fn branch(request: &TxnRequest, written: &Written, before: i64, revision: &mut i64) -> TxnResponse {
    let ops = if written.succeeded {
        &request.success
    } else {
        &request.failure
    };
    let responses = ops
        .iter()
        .zip(&written.results)
        .map(|(op, done)| ResponseOp {
            response: part(op, done, before, revision),
        })
        .collect();
    TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded: written.succeeded,
        responses,
    }
}

fn part(op: &RequestOp, done: &OpDone, before: i64, revision: &mut i64) -> Option<Response> {
    let header = |revision: i64| {
        Some(ResponseHeader {
            revision,
            ..Default::default()
        })
    };
    Some(match (op.request.as_ref()?, done) {
        (
            Request::RequestPut(request),
            OpDone::Put {
                key,
                before: previous,
                ..
            },
        ) => {
            *revision = before + 1;
            let prev_kv = previous
                .as_ref()
                .filter(|_| request.prev_kv)
                .map(|record| key_value(key, record));
            Response::ResponsePut(PutResponse {
                header: header(*revision),
                prev_kv,
            })
        }
        (Request::RequestDeleteRange(request), OpDone::Deleted(gone)) => {
            if !gone.is_empty() {
                *revision = before + 1;
            }
            let prev_kvs = if request.prev_kv {
                gone.iter()
                    .map(|(key, record)| key_value(key, record))
                    .collect()
            } else {
                Vec::new()
            };
            Response::ResponseDeleteRange(DeleteRangeResponse {
                header: header(*revision),
                deleted: gone.len() as i64,
                prev_kvs,
            })
        }
        (Request::RequestRange(request), OpDone::Read(read)) => {
            let found = read.rows.iter().map(|(key, record)| (key, &**record));
            let selected = select(request, found, read.count);
            let kvs = rows(request, &selected)
                .map(|row| {
                    let mut kv = key_value(row.key, row.record);
                    if !row.value {
                        kv.value = Bytes::new();
                    }
                    if !row.lease {
                        kv.lease = 0;
                    }
                    kv
                })
                .collect();
            Response::ResponseRange(RangeResponse {
                header: header(*revision),
                kvs,
                more: selected.more,
                count: selected.count as i64,
            })
        }
        (Request::RequestTxn(request), OpDone::Nested(nested)) => {
            Response::ResponseTxn(branch(request, nested, before, revision))
        }
        _ => return None,
    })
}
