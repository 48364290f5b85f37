//! What can be said of a request by looking at it alone, in the order in which etcd looks.

use std::collections::{BTreeMap, HashSet};

use crate::{
    error::{
        DUPLICATE_KEY, EMPTY_KEY, Failure, INVALID_SORT, KEY_NOT_FOUND, LEASE_PROVIDED,
        TOO_MANY_OPS, VALUE_PROVIDED,
    },
    wire::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};

/// Operations in the longest list of a transaction; nested ones get what is left of it.
pub(crate) const MAX_TXN_OPS: usize = 128;

pub(crate) fn range(request: &RangeRequest) -> Result<(), Failure> {
    if request.key.is_empty() {
        return Err(EMPTY_KEY);
    }
    if SortOrder::try_from(request.sort_order).is_err()
        || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(INVALID_SORT);
    }
    Ok(())
}

pub(crate) fn put(request: &PutRequest) -> Result<(), Failure> {
    if request.key.is_empty() {
        return Err(EMPTY_KEY);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(LEASE_PROVIDED);
    }
    Ok(())
}

pub(crate) fn delete(request: &DeleteRangeRequest) -> Result<(), Failure> {
    if request.key.is_empty() {
        Err(EMPTY_KEY)
    } else {
        Ok(())
    }
}

/// A whole transaction: its shape first, then conflicts between its puts and deletes.
pub(crate) fn txn(request: &TxnRequest) -> Result<(), Failure> {
    shape(request, MAX_TXN_OPS)?;
    // Both branches are checked, whichever will be taken.
    intervals(&request.success)?;
    intervals(&request.failure)?;
    Ok(())
}

fn shape(request: &TxnRequest, budget: usize) -> Result<(), Failure> {
    let longest = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let Some(rest) = budget.checked_sub(longest) else {
        return Err(TOO_MANY_OPS);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(EMPTY_KEY);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete(request)?,
            Some(Request::RequestTxn(request)) => shape(request, rest)?,
            None => return Err(KEY_NOT_FOUND),
        }
    }
    Ok(())
}

/// The keys a list of operations would put, and the intervals it would delete.
#[derive(Default)]
struct Touched<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Intervals,
}

/// Refuses a list in which a key is put twice, or put and deleted.
///
/// Three oddities are etcd's own and kept: the then- and the else-branch of one nested transaction may put the same key; an interval without
/// end is taken for the literal string `\0`, so it conflicts with nothing; and a delete of a later nested transaction is not held against
/// the puts of an earlier one.
fn intervals(ops: &[RequestOp]) -> Result<Touched<'_>, Failure> {
    let mut touched = Touched::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            let end = if delete.range_end.is_empty() {
                [&delete.key[..], b"\0"].concat()
            } else {
                delete.range_end.to_vec()
            };
            touched.deletes.add(delete.key.to_vec(), end);
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else {
            continue;
        };
        let (then, or_else) = (intervals(&nested.success)?, intervals(&nested.failure)?);
        for key in &then.puts {
            if touched.puts.contains(key) || touched.deletes.contain(key) {
                return Err(DUPLICATE_KEY);
            }
        }
        for key in &or_else.puts {
            if touched.puts.contains(key) && !then.puts.contains(key)
                || touched.deletes.contain(key)
            {
                return Err(DUPLICATE_KEY);
            }
        }
        touched.puts.extend(then.puts);
        touched.puts.extend(or_else.puts);
        touched.deletes.join(then.deletes);
        touched.deletes.join(or_else.deletes);
    }
    for op in ops {
        let Some(Request::RequestPut(put)) = &op.request else {
            continue;
        };
        if touched.deletes.contain(&put.key) || !touched.puts.insert(&put.key) {
            return Err(DUPLICATE_KEY);
        }
    }
    Ok(touched)
}

/// Intervals of keys, joined where they overlap: asking costs a search, however many were added.
#[derive(Default)]
struct Intervals(BTreeMap<Vec<u8>, Vec<u8>>);

impl Intervals {
    fn add(&mut self, mut start: Vec<u8>, mut end: Vec<u8>) {
        if end <= start {
            return;
        }
        if let Some((before, until)) = self.0.range(..=start.clone()).next_back()
            && *until >= start
        {
            start.clone_from(before);
        }
        while let Some((next, until)) = self.0.range(start.clone()..).next() {
            if *next > end {
                break;
            }
            if *until > end {
                end.clone_from(until);
            }
            let next = next.clone();
            self.0.remove(&next);
        }
        self.0.insert(start, end);
    }

    fn join(&mut self, other: Intervals) {
        if self.0.is_empty() {
            *self = other;
        } else {
            other
                .0
                .into_iter()
                .for_each(|(start, end)| self.add(start, end));
        }
    }

    fn contain(&self, key: &[u8]) -> bool {
        !self.0.is_empty()
            && self
                .0
                .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
                .next_back()
                .is_some_and(|(_, end)| key < &end[..])
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put_op(key: &'static str) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: key.into(),
                ..Default::default()
            })),
        }
    }

    fn delete_op(key: &'static str, end: &'static str) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestDeleteRange(DeleteRangeRequest {
                key: key.into(),
                range_end: end.into(),
                prev_kv: false,
            })),
        }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestTxn(TxnRequest {
                compare: vec![],
                success,
                failure,
            })),
        }
    }

    #[test]
    fn keys_that_are_put_twice_or_put_and_deleted() {
        let rows: Vec<(&str, Vec<RequestOp>, bool)> = vec![
            ("nothing", vec![], true),
            ("two keys", vec![put_op("a"), put_op("b")], true),
            ("twice", vec![put_op("a"), put_op("a")], false),
            (
                "deleted before",
                vec![delete_op("a", ""), put_op("a")],
                false,
            ),
            (
                "deleted after",
                vec![put_op("a"), delete_op("a", "")],
                false,
            ),
            (
                "beside the deleted",
                vec![delete_op("a", ""), put_op("a\0")],
                true,
            ),
            (
                "in a deleted interval",
                vec![delete_op("a", "c"), put_op("b")],
                false,
            ),
            ("at its end", vec![delete_op("a", "c"), put_op("c")], true),
            (
                "in the second of overlapping ones",
                vec![delete_op("b", "d"), delete_op("a", "c"), put_op("c")],
                false,
            ),
            (
                "between two",
                vec![delete_op("a", "b"), delete_op("c", "d"), put_op("b")],
                true,
            ),
            (
                "deletes may overlap",
                vec![delete_op("a", "c"), delete_op("b", "d"), delete_op("a", "")],
                true,
            ),
            (
                "to infinity is literal",
                vec![put_op("k"), delete_op("a", "\0")],
                true,
            ),
            (
                "reversed is empty",
                vec![put_op("b"), delete_op("c", "a")],
                true,
            ),
            (
                "outside and nested",
                vec![put_op("a"), nested(vec![put_op("a")], vec![])],
                false,
            ),
            (
                "in both branches of one",
                vec![nested(vec![put_op("a")], vec![put_op("a")])],
                true,
            ),
            (
                "in branches of two",
                vec![
                    nested(vec![put_op("a")], vec![]),
                    nested(vec![], vec![put_op("a")]),
                ],
                false,
            ),
            (
                "nested put, outer delete",
                vec![nested(vec![], vec![put_op("a")]), delete_op("a", "")],
                false,
            ),
            (
                "nested delete, outer put",
                vec![nested(vec![delete_op("a", "b")], vec![]), put_op("a")],
                false,
            ),
            (
                "nested delete, then nested put",
                vec![
                    nested(vec![delete_op("a", "")], vec![]),
                    nested(vec![put_op("a")], vec![]),
                ],
                false,
            ),
            (
                "nested put, then nested delete",
                vec![
                    nested(vec![put_op("a")], vec![]),
                    nested(vec![delete_op("a", "")], vec![]),
                ],
                true,
            ),
        ];
        for (name, ops, fine) in rows {
            let request = TxnRequest {
                compare: vec![],
                success: vec![],
                failure: ops,
            };
            assert_eq!(
                txn(&request),
                if fine { Ok(()) } else { Err(DUPLICATE_KEY) },
                "{name}"
            );
        }
    }

    #[test]
    fn the_budget_of_operations_is_shared_with_nested_ones() {
        let many = |n: usize| (0..n).map(|_| delete_op("a", "")).collect::<Vec<_>>();
        let rows = [
            (128, 0, true),
            (129, 0, false),
            (127, 1, true),
            (127, 2, false),
            (1, 127, true),
            (1, 128, false),
        ];
        for (outer, inner, fine) in rows {
            let mut ops = many(outer - usize::from(inner > 0));
            if inner > 0 {
                ops.push(nested(many(inner), vec![]));
            }
            let request = TxnRequest {
                compare: vec![],
                success: ops,
                failure: vec![],
            };
            assert_eq!(
                txn(&request),
                if fine { Ok(()) } else { Err(TOO_MANY_OPS) },
                "{outer} and {inner}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_order() {
        let value = Bytes::from_static(b"v");
        let rows = [
            (
                PutRequest {
                    ignore_value: true,
                    value: value.clone(),
                    ..Default::default()
                },
                Err(EMPTY_KEY),
            ),
            (
                PutRequest {
                    key: "k".into(),
                    ignore_value: true,
                    value,
                    ignore_lease: true,
                    lease: 3,
                    ..Default::default()
                },
                Err(VALUE_PROVIDED),
            ),
            (
                PutRequest {
                    key: "k".into(),
                    ignore_value: true,
                    ignore_lease: true,
                    lease: 3,
                    ..Default::default()
                },
                Err(LEASE_PROVIDED),
            ),
            (
                PutRequest {
                    key: "k".into(),
                    ignore_value: true,
                    ignore_lease: true,
                    ..Default::default()
                },
                Ok(()),
            ),
        ];
        for (request, expected) in rows {
            assert_eq!(put(&request), expected, "{request:?}");
        }
        assert_eq!(
            range(&RangeRequest {
                sort_order: 9,
                ..Default::default()
            }),
            Err(EMPTY_KEY)
        );
        assert_eq!(
            range(&RangeRequest {
                key: "k".into(),
                sort_order: 3,
                ..Default::default()
            }),
            Err(INVALID_SORT)
        );
        assert_eq!(
            range(&RangeRequest {
                key: "k".into(),
                sort_target: -1,
                ..Default::default()
            }),
            Err(INVALID_SORT)
        );
        let empty = TxnRequest {
            success: vec![RequestOp { request: None }],
            ..Default::default()
        };
        assert_eq!(txn(&empty), Err(KEY_NOT_FOUND));
    }
}
