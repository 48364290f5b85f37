//! Texts and codes.

use pb::request_op::Request as Op;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tonic::Code;

use super::{super::support::*, filled, txn};

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
        client.kv.range(at(3)).reply().await.count,
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
    let answer = client.kv.range(prefix("o")).reply().await;
    assert_eq!(
        (answer.count, revision(&answer.header)),
        (0, 3),
        "nothing that failed left anything behind"
    );
}

#[tokio::test]
async fn revision_0_is_compacted_once() {
    let (_server, mut client) = filled(&["a"]).await;
    let negative = || {
        let range = pb::RangeRequest {
            revision: -1,
            ..one("a")
        };
        txn(vec![Op::RequestRange(range), Op::RequestPut(put("b", ""))])
    };
    let at_zero = pb::CompactionRequest::default();
    client
        .kv
        .txn(negative())
        .await
        .expect("a store that was never compacted stands at -1");
    client.kv.compact(at_zero).await.expect("the first time");
    let compacted = (
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted".to_owned(),
    );
    assert_eq!(failure(client.kv.compact(at_zero).await), compacted);
    assert_eq!(failure(client.kv.txn(negative()).await), compacted);
    let first = pb::CompactionRequest {
        revision: 1,
        ..at_zero
    };
    client.kv.compact(first).await.expect("above 0");
}
