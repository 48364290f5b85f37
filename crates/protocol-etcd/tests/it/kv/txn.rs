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

/// What etcd 3.7.3 does, as the comparison with it shows: both are events, and the revision moves although nothing is left.
#[tokio::test]
async fn a_key_that_one_transaction_puts_and_deletes_has_an_event_of_each() {
    let (_server, mut client) = filled(&["old"]).await;
    let mut watch = Watching::open(&mut client).await;
    watch
        .create(pb::WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            prev_kv: true,
            ..Default::default()
        })
        .await;
    let delete_from = |key: &str| {
        Op::RequestDeleteRange(pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: "\0".into(),
            prev_kv: true,
        })
    };
    let nested = |op: Op| Op::RequestTxn(txn(vec![op]));
    let delete = |key: &str| {
        nested(Op::RequestDeleteRange(pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        }))
    };
    // (operations, revision, events as key:type:version:previous value)
    let rows = [
        (
            vec![nested(Op::RequestPut(put("new", "1"))), delete("new")],
            3,
            "new:put:1: new:delete:0:",
        ),
        (
            vec![nested(Op::RequestPut(put("old", "2"))), delete("old")],
            4,
            "old:put:2:old old:delete:0:old",
        ),
        (vec![Op::RequestPut(put("old", "3"))], 5, "old:put:1:"),
        (
            vec![
                delete_from("old"),
                Op::RequestPut(put("old", "4")),
                delete_from("old"),
                Op::RequestRange(one("old")),
            ],
            6,
            "old:delete:0:3 old:put:1: old:delete:0:3",
        ),
        (
            vec![delete_from("old"), Op::RequestPut(put("old", "5"))],
            7,
            "old:put:1:",
        ),
        (
            vec![delete_from("old"), Op::RequestPut(put("old", "6"))],
            8,
            "old:delete:0:5 old:put:1:",
        ),
    ];
    for (ops, expected, events) in rows {
        let answer = client.kv.txn(txn(ops.clone())).reply().await;
        assert_eq!(revision(&answer.header), expected, "{events}");
        let told = watch.next().await;
        let text: Vec<String> = told
            .events
            .iter()
            .map(|event| {
                let kv = event.kv.as_ref().unwrap();
                let previous = event.prev_kv.as_ref().map_or(&b""[..], |kv| &kv.value[..]);
                format!(
                    "{}:{}:{}:{}",
                    String::from_utf8_lossy(&kv.key),
                    ["put", "delete"][event.r#type as usize],
                    kv.version,
                    String::from_utf8_lossy(previous)
                )
            })
            .collect();
        assert_eq!(
            (text.join(" ").as_str(), revision(&told.header)),
            (events, expected)
        );
    }
}
