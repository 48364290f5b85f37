//! Ranges, puts, deletes, transactions and compaction.

use pb::{compare::*, request_op::Request as Op, response_op::Response};
use portolan_protocol_etcd::wire::{etcdserverpb as pb, mvccpb};
use tonic::Code;

use super::support::*;

async fn filled(keys: &[&str]) -> (Server, Client) {
    let server = Server::start().await;
    let mut client = server.client().await;
    for key in keys {
        client.kv.put(put(key, key)).await.unwrap();
    }
    (server, client)
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn txn(success: Vec<Op>) -> pb::TxnRequest {
    pb::TxnRequest {
        success: success.into_iter().map(op).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_write_has_its_own_revision_and_only_changes_move_it() {
    let (_server, mut client) = filled(&[]).await;
    let header = client
        .kv
        .range(one("k"))
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap();
    assert_eq!(header.revision, 1, "an empty store is at 1");
    assert!(
        header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0,
        "{header:?}"
    );
    let first = client.kv.put(put("k", "v")).await.unwrap().into_inner();
    let again = client.kv.put(put("k", "v")).await.unwrap().into_inner();
    assert_eq!(
        (revision(&first.header), revision(&again.header)),
        (2, 3),
        "an equal value is a change all the same"
    );
    let nothing = pb::DeleteRangeRequest {
        key: "x".into(),
        ..Default::default()
    };
    assert_eq!(
        revision(
            &client
                .kv
                .delete_range(nothing)
                .await
                .unwrap()
                .into_inner()
                .header
        ),
        3
    );
    let kv = client
        .kv
        .range(one("k"))
        .await
        .unwrap()
        .into_inner()
        .kvs
        .remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    let gone = client
        .kv
        .delete_range(pb::DeleteRangeRequest {
            key: "k".into(),
            prev_kv: true,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            revision(&gone.header),
            gone.deleted,
            gone.prev_kvs[0].version
        ),
        (4, 1, 2)
    );
    client.kv.put(put("k", "v")).await.unwrap();
    let kv = client
        .kv
        .range(one("k"))
        .await
        .unwrap()
        .into_inner()
        .kvs
        .remove(0);
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (5, 5, 1),
        "a new incarnation"
    );
}

#[tokio::test]
async fn ranges_limits_counts_and_orders() {
    let (_server, mut client) = filled(&["a", "b", "b1", "b2", "c"]).await;
    client.kv.put(put("a", "z")).await.unwrap();
    let all = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let rows: Vec<(&str, pb::RangeRequest, &str, i64, bool)> = vec![
        ("one", one("b"), "b", 1, false),
        ("none", one("x"), "", 0, false),
        ("prefix", prefix("b"), "b b1 b2", 3, false),
        (
            "interval",
            pb::RangeRequest {
                key: "a".into(),
                range_end: "b1".into(),
                ..Default::default()
            },
            "a b",
            2,
            false,
        ),
        (
            "from",
            pb::RangeRequest {
                key: "b2".into(),
                range_end: "\0".into(),
                ..Default::default()
            },
            "b2 c",
            2,
            false,
        ),
        (
            "reversed",
            pb::RangeRequest {
                key: "c".into(),
                range_end: "a".into(),
                ..Default::default()
            },
            "",
            0,
            false,
        ),
        ("everything", all.clone(), "a b b1 b2 c", 5, false),
        (
            "limit does not touch the count",
            pb::RangeRequest {
                limit: 2,
                ..all.clone()
            },
            "a b",
            5,
            true,
        ),
        (
            "limit of all",
            pb::RangeRequest {
                limit: 5,
                ..all.clone()
            },
            "a b b1 b2 c",
            5,
            false,
        ),
        (
            "count alone",
            pb::RangeRequest {
                count_only: true,
                limit: 1,
                ..all.clone()
            },
            "",
            5,
            false,
        ),
        (
            "descending",
            pb::RangeRequest {
                sort_order: 2,
                limit: 2,
                ..all.clone()
            },
            "c b2",
            5,
            true,
        ),
        (
            "by modification",
            pb::RangeRequest {
                sort_order: 2,
                sort_target: 3,
                limit: 1,
                ..all.clone()
            },
            "a",
            5,
            true,
        ),
        (
            "by creation",
            pb::RangeRequest {
                sort_order: 1,
                sort_target: 2,
                ..all.clone()
            },
            "a b b1 b2 c",
            5,
            false,
        ),
        (
            "a target without an order ascends",
            pb::RangeRequest {
                sort_target: 3,
                ..all.clone()
            },
            "b b1 b2 c a",
            5,
            false,
        ),
        (
            "filter, then limit",
            pb::RangeRequest {
                min_create_revision: 4,
                limit: 2,
                ..all.clone()
            },
            "b1 b2",
            5,
            true,
        ),
        (
            "two filters",
            pb::RangeRequest {
                min_mod_revision: 4,
                max_mod_revision: 5,
                ..all.clone()
            },
            "b1 b2",
            5,
            false,
        ),
        (
            "in the past",
            pb::RangeRequest {
                revision: 3,
                ..all.clone()
            },
            "a b",
            2,
            false,
        ),
        (
            "before everything is now",
            pb::RangeRequest {
                revision: -4,
                ..all.clone()
            },
            "a b b1 b2 c",
            5,
            false,
        ),
    ];
    for (name, request, keys, count, more) in rows {
        let answer = client.kv.range(request.clone()).await.unwrap().into_inner();
        assert_eq!(
            (
                key_names(&answer.kvs).join(" ").as_str(),
                answer.count,
                answer.more,
                revision(&answer.header)
            ),
            (keys, count, more, 7),
            "{name}"
        );
        // The same out of a transaction, but for the odd way of reading the past.
        if request.revision >= 0 {
            let nested = client
                .kv
                .txn(txn(vec![Op::RequestRange(request)]))
                .await
                .unwrap()
                .into_inner();
            let Some(Response::ResponseRange(nested)) = &nested.responses[0].response else {
                panic!("{nested:?}")
            };
            assert_eq!(
                (&nested.kvs, nested.count, nested.more),
                (&answer.kvs, answer.count, answer.more),
                "{name}"
            );
        }
    }
    let keys_only = client
        .kv
        .range(pb::RangeRequest {
            keys_only: true,
            ..one("a")
        })
        .await
        .unwrap()
        .into_inner();
    assert!(keys_only.kvs[0].value.is_empty() && keys_only.kvs[0].version == 2);
}

#[tokio::test]
async fn a_range_streams_in_pieces_of_one_revision() {
    let names: Vec<String> = (0..37).map(|n| format!("k{n:02}")).collect();
    let (_server, mut client) = filled(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (limit, expected, more) in [
        (0, 37, false),
        (10, 10, true),
        (11, 11, true),
        (37, 37, false),
        (90, 37, false),
    ] {
        let mut pieces = client
            .kv
            .range_stream(pb::RangeRequest {
                limit,
                ..prefix("k")
            })
            .await
            .unwrap()
            .into_inner();
        let mut keys = Vec::new();
        let mut last = pb::RangeResponse::default();
        while let Some(piece) = pieces.message().await.unwrap() {
            assert!(last.header.is_none(), "only the last piece has a header");
            last = piece.range_response.unwrap();
            keys.extend(key_names(&last.kvs));
        }
        assert_eq!(
            (
                keys.as_slice(),
                last.count,
                last.more,
                revision(&last.header)
            ),
            (&names[..expected], 37, more, 38),
            "limit {limit}"
        );
    }
    let sorted = client
        .kv
        .range_stream(pb::RangeRequest {
            sort_order: 2,
            ..prefix("k")
        })
        .await;
    assert_eq!(
        failure(sorted),
        (
            Code::Unimplemented,
            "RangeStream does not support custom sort orders".into()
        )
    );
}

#[tokio::test]
async fn what_a_put_keeps_and_detaches() {
    let (_server, mut client) = filled(&[]).await;
    client
        .lease
        .lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 60 })
        .await
        .unwrap();
    client
        .kv
        .put(pb::PutRequest {
            lease: 7,
            ..put("k", "v1")
        })
        .await
        .unwrap();
    let kept = pb::PutRequest {
        key: "k".into(),
        ignore_value: true,
        ignore_lease: true,
        prev_kv: true,
        ..Default::default()
    };
    let before = client
        .kv
        .put(kept)
        .await
        .unwrap()
        .into_inner()
        .prev_kv
        .unwrap();
    assert_eq!((before.version, before.lease), (1, 7));
    let after = client
        .kv
        .range(one("k"))
        .await
        .unwrap()
        .into_inner()
        .kvs
        .remove(0);
    assert_eq!(
        (&after.value[..], after.lease, after.version),
        (&b"v1"[..], 7, 2)
    );
    client.kv.put(put("k", "v2")).await.unwrap();
    let detached = client
        .kv
        .range(one("k"))
        .await
        .unwrap()
        .into_inner()
        .kvs
        .remove(0);
    assert_eq!(detached.lease, 0);
    client
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 7 })
        .await
        .unwrap();
    assert_eq!(
        client.kv.range(one("k")).await.unwrap().into_inner().count,
        1
    );
}

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
    let answer = client.kv.txn(request).await.unwrap().into_inner();
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
    let kvs = client.kv.range(prefix("n")).await.unwrap().into_inner().kvs;
    assert_eq!(kvs[0].create_revision, 4);
}

#[tokio::test]
async fn comparisons() {
    let (_server, mut client) = filled(&["a", "b"]).await;
    client.kv.put(put("a", "x")).await.unwrap();
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
        let answer = client.kv.txn(request).await.unwrap().into_inner();
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

#[tokio::test]
async fn texts_and_codes() {
    let (_server, mut client) = filled(&["a", "b"]).await;
    client
        .kv
        .compact(pb::CompactionRequest {
            revision: 2,
            physical: true,
        })
        .await
        .unwrap();
    client
        .kv
        .compact(pb::CompactionRequest {
            revision: 3,
            physical: true,
        })
        .await
        .unwrap();
    let at = |revision: i64| pb::RangeRequest {
        revision,
        ..one("a")
    };
    type Row = (Op, Code, &'static str);
    let rows: Vec<Row> = vec![
        (
            Op::RequestRange(one("")),
            Code::InvalidArgument,
            "etcdserver: key is not provided",
        ),
        (
            Op::RequestPut(put("", "v")),
            Code::InvalidArgument,
            "etcdserver: key is not provided",
        ),
        (
            Op::RequestDeleteRange(Default::default()),
            Code::InvalidArgument,
            "etcdserver: key is not provided",
        ),
        (
            Op::RequestRange(pb::RangeRequest {
                sort_order: 8,
                ..one("a")
            }),
            Code::InvalidArgument,
            "etcdserver: invalid sort option",
        ),
        (
            Op::RequestPut(pb::PutRequest {
                ignore_value: true,
                ..put("a", "v")
            }),
            Code::InvalidArgument,
            "etcdserver: value is provided",
        ),
        (
            Op::RequestPut(pb::PutRequest {
                ignore_lease: true,
                lease: 3,
                ..put("a", "v")
            }),
            Code::InvalidArgument,
            "etcdserver: lease is provided",
        ),
        (
            Op::RequestPut(pb::PutRequest {
                ignore_value: true,
                ..put("x", "")
            }),
            Code::InvalidArgument,
            "etcdserver: key not found",
        ),
        (
            Op::RequestPut(pb::PutRequest {
                lease: 3,
                ..put("a", "v")
            }),
            Code::NotFound,
            "etcdserver: requested lease not found",
        ),
        (
            Op::RequestRange(at(4)),
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            Op::RequestRange(at(2)),
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (request, code, text) in rows {
        let single = match request.clone() {
            Op::RequestRange(request) => failure(client.kv.range(request).await),
            Op::RequestPut(request) => failure(client.kv.put(request).await),
            Op::RequestDeleteRange(request) => failure(client.kv.delete_range(request).await),
            Op::RequestTxn(request) => failure(client.kv.txn(request).await),
        };
        assert_eq!(single, (code, text.to_owned()), "{request:?}");
        assert_eq!(
            failure(client.kv.txn(txn(vec![request.clone()])).await),
            (code, text.to_owned()),
            "in a transaction: {request:?}"
        );
        // Whatever else the transaction would have done is not done.
        let with_put = txn(vec![Op::RequestPut(put("other", "v")), request]);
        failure(client.kv.txn(with_put).await);
    }
    assert_eq!(
        client.kv.range(at(3)).await.unwrap().into_inner().count,
        1,
        "the compacted revision itself can be read"
    );
    assert_eq!(
        failure(client.kv.txn(txn(vec![Op::RequestRange(at(-1))])).await).1,
        "etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(
        failure(
            client
                .kv
                .txn(pb::TxnRequest {
                    success: vec![pb::RequestOp { request: None }],
                    ..Default::default()
                })
                .await
        ),
        (Code::InvalidArgument, "etcdserver: key not found".into())
    );
    let many = txn((0..129)
        .map(|n| Op::RequestPut(put(&n.to_string(), "")))
        .collect());
    assert_eq!(
        failure(client.kv.txn(many).await),
        (
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request".into()
        )
    );
    let twice = txn(vec![
        Op::RequestPut(put("k", "1")),
        Op::RequestPut(put("k", "2")),
    ]);
    assert_eq!(
        failure(client.kv.txn(twice).await),
        (
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request".into()
        )
    );
    for (revision, text) in [
        (9, "a future revision"),
        (3, "compacted"),
        (0, "compacted"),
        (-1, "compacted"),
    ] {
        let (code, said) = failure(
            client
                .kv
                .compact(pb::CompactionRequest {
                    revision,
                    physical: false,
                })
                .await,
        );
        assert!(
            code == Code::OutOfRange && said.ends_with(text),
            "{revision}: {said}"
        );
    }
    let answer = client.kv.range(prefix("o")).await.unwrap().into_inner();
    assert_eq!(
        (answer.count, revision(&answer.header)),
        (0, 3),
        "nothing that failed left anything behind"
    );
}

#[tokio::test]
async fn sizes() {
    let (_server, mut client) = filled(&[]).await;
    let large = |bytes: usize| pb::PutRequest {
        key: "k".into(),
        value: vec![b'x'; bytes].into(),
        ..Default::default()
    };
    client.kv.put(large(1_500_000)).await.unwrap();
    assert_eq!(
        failure(client.kv.put(large(1_600_000)).await),
        (
            Code::InvalidArgument,
            "etcdserver: request is too large".into()
        )
    );
    let (code, text) = failure(client.kv.put(large(2_200_000)).await);
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    let kv: Vec<mvccpb::KeyValue> = client.kv.range(one("k")).await.unwrap().into_inner().kvs;
    assert_eq!(kv[0].value.len(), 1_500_000);
}

#[tokio::test]
async fn serializable_and_linearizable_reads_see_what_was_answered() {
    let (_server, mut client) = filled(&[]).await;
    for n in 0..50 {
        client.kv.put(put("k", &n.to_string())).await.unwrap();
        for serializable in [true, false] {
            let answer = client
                .kv
                .range(pb::RangeRequest {
                    serializable,
                    ..one("k")
                })
                .await
                .unwrap()
                .into_inner();
            assert_eq!(pairs(&answer.kvs), [("k".to_owned(), n.to_string())]);
        }
    }
}
