//! Transactions and their comparisons.

use pb::{compare::*, request_op::Request as Op, response_op::Response};
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::{super::support::*, filled, txn};

#[tokio::test]
async fn a_transaction_is_one_revision_and_its_parts_see_one_another() {
    let (_server, mut client) = filled(&["a", "b"]).await;
    let request = txn(vec![
        Op::RequestRange(one("n")),
        Op::RequestPut(put("n", "1")),
        Op::RequestRange(prefix("")),
        Op::RequestDeleteRange(pb::DeleteRangeRequest {
            key: "a".into(),
            prev_kv: true,
            ..Default::default()
        }),
        Op::RequestTxn(txn(vec![
            Op::RequestPut(put("m", "2")),
            Op::RequestRange(one("n")),
        ])),
    ]);
    let request = {
        let mut request = request;
        if let Some(Op::RequestRange(range)) = &mut request.success[2].request {
            (range.key, range.range_end) = ("\0".into(), "\0".into());
        }
        request
    };
    let answer = client.kv.txn(request).reply().await;
    assert!(answer.succeeded);
    assert_eq!(revision(&answer.header), 4);
    let part = |n: usize| answer.responses[n].response.clone().unwrap();
    let bare = |revision: i64| {
        Some(pb::ResponseHeader {
            revision,
            ..Default::default()
        })
    };
    let Response::ResponseRange(before) = part(0) else {
        panic!()
    };
    assert_eq!(
        (before.header, before.count),
        (bare(3), 0),
        "as of this part, without ids"
    );
    let Response::ResponsePut(written) = part(1) else {
        panic!()
    };
    assert_eq!(written.header, bare(4));
    let Response::ResponseRange(seen) = part(2) else {
        panic!()
    };
    assert_eq!(
        (seen.header, key_names(&seen.kvs), seen.kvs[2].mod_revision),
        (bare(4), vec!["a".into(), "b".into(), "n".into()], 4)
    );
    let Response::ResponseDeleteRange(deleted) = part(3) else {
        panic!()
    };
    assert_eq!(
        (deleted.deleted, key_names(&deleted.prev_kvs)),
        (1, vec!["a".into()])
    );
    let Response::ResponseTxn(nested) = part(4) else {
        panic!()
    };
    assert_eq!(
        (nested.header, nested.succeeded, nested.responses.len()),
        (bare(0), true, 2),
        "an empty header, but there"
    );
    let kvs = client.kv.range(prefix("n")).reply().await.kvs;
    assert_eq!(kvs[0].create_revision, 4);
}

#[tokio::test]
async fn comparisons() {
    let (_server, mut client) = filled(&["a", "b"]).await;
    client.put("a", "x").await;
    let compare = |key: &str, target, result, union| pb::Compare {
        key: key.to_owned().into(),
        target: target as i32,
        result: result as i32,
        target_union: union,
        range_end: Default::default(),
    };
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let rows = [
        (
            compare("a", Version, Equal, Some(TargetUnion::Version(2))),
            true,
        ),
        (
            compare("a", Version, Greater, Some(TargetUnion::Version(2))),
            false,
        ),
        (
            compare("a", Create, Less, Some(TargetUnion::CreateRevision(3))),
            true,
        ),
        (
            compare("a", Mod, Equal, Some(TargetUnion::ModRevision(4))),
            true,
        ),
        (
            compare("a", Value, Equal, Some(TargetUnion::Value("x".into()))),
            true,
        ),
        (
            compare("a", Value, NotEqual, Some(TargetUnion::Value("y".into()))),
            true,
        ),
        (
            compare("a", Lease, Equal, Some(TargetUnion::Lease(0))),
            true,
        ),
        (compare("no", Version, Equal, None), true),
        (
            compare("no", Create, Equal, Some(TargetUnion::CreateRevision(0))),
            true,
        ),
        (
            compare(
                "no",
                Value,
                Equal,
                Some(TargetUnion::Value(Default::default())),
            ),
            false,
        ),
        (
            compare("no", Value, NotEqual, Some(TargetUnion::Value("x".into()))),
            false,
        ),
        (
            pb::Compare {
                range_end: "c".into(),
                ..compare("a", Mod, Greater, Some(TargetUnion::ModRevision(2)))
            },
            true,
        ),
        (
            pb::Compare {
                range_end: "c".into(),
                ..compare("a", Mod, Greater, Some(TargetUnion::ModRevision(3)))
            },
            false,
        ),
        (
            pb::Compare {
                range_end: "z".into(),
                ..compare("x", Mod, Equal, Some(TargetUnion::ModRevision(0)))
            },
            true,
        ),
    ];
    for (compare, expected) in rows {
        let request = pb::TxnRequest {
            compare: vec![compare.clone()],
            ..Default::default()
        };
        let answer = client.kv.txn(request).reply().await;
        assert_eq!(
            (
                answer.succeeded,
                revision(&answer.header),
                answer.responses.len()
            ),
            (expected, 4, 0),
            "{compare:?}"
        );
    }
}
