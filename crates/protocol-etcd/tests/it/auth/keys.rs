//! Operations on keys, one by one.

use pb::{compare::TargetUnion, request_op::Request as Op};
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tonic::Code;

use super::*;

fn ops(ops: Vec<Op>) -> Vec<pb::RequestOp> {
    ops.into_iter()
        .map(|op| pb::RequestOp { request: Some(op) })
        .collect()
}

#[tokio::test]
async fn each_operation_needs_its_permission() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, reader, writer, both] = people(&mut client).await;
    let range = |key: &str, end: &str| pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    };
    let ranges = [
        (&root, "a", "z", true),
        (&root, "\0", "\0", true),
        (&reader, "a/", "", true),
        (&reader, "a/", "a0", true),
        (&reader, "a/", "a1", false),
        (&reader, "a", "", false),
        (&writer, "a/", "", false),
        (&both, "b", "f", true),
        (&both, "b", "f\0", false),
        (&both, "y", "\0", true),
        (&both, "b", "\0", false),
    ];
    for (token, key, end, allowed) in ranges {
        for serializable in [false, true] {
            let asked = pb::RangeRequest {
                serializable,
                ..range(key, end)
            };
            let answer = client.kv.range(by(token, asked)).await;
            assert_eq!(answer.is_ok(), allowed, "{key} {end}");
            if !allowed {
                assert_eq!(failure(answer), denied());
            }
        }
    }
    // What is wrong with a request is said before who asks for it.
    let empty = client.kv.range(by(&reader, range("", ""))).await;
    assert_eq!(
        failure(empty),
        said(Code::InvalidArgument, "key is not provided")
    );
    let with_previous = |key: &str| pb::PutRequest {
        prev_kv: true,
        ..put(key, "v")
    };
    client.kv.put(by(&writer, put("a/1", "v"))).reply().await;
    assert_eq!(
        failure(client.kv.put(by(&writer, with_previous("a/1"))).await),
        denied()
    );
    assert_eq!(
        failure(client.kv.put(by(&reader, put("a/1", "v"))).await),
        denied()
    );
    assert_eq!(failure(client.kv.put(put("a/1", "v")).await), nameless());
    client.kv.put(by(&both, with_previous("b"))).reply().await;
    let delete = |key: &str, prev_kv| pb::DeleteRangeRequest {
        prev_kv,
        ..gone(key)
    };
    assert_eq!(
        failure(
            client
                .kv
                .delete_range(by(&writer, delete("a/1", true)))
                .await
        ),
        denied()
    );
    assert_eq!(
        failure(
            client
                .kv
                .delete_range(by(&reader, delete("a/1", false)))
                .await
        ),
        denied()
    );
    let deleted = client
        .kv
        .delete_range(by(&writer, delete("a/1", false)))
        .reply()
        .await;
    assert_eq!(deleted.deleted, 1);
    // Both branches and everything nested, whichever is taken.
    let compare = |key: &str| pb::Compare {
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Version(0)),
        ..Default::default()
    };
    let puts = |key: &str| Op::RequestPut(put(key, "v"));
    let nested = |key: &str| {
        Op::RequestTxn(pb::TxnRequest {
            failure: ops(vec![Op::RequestDeleteRange(gone(key))]),
            ..Default::default()
        })
    };
    let rows = [
        (vec![], vec![], vec![], true),
        (
            vec![compare("b")],
            vec![puts("b")],
            vec![Op::RequestRange(one("x"))],
            true,
        ),
        (vec![compare("x")], vec![puts("b")], vec![puts("x")], false),
        (vec![compare("a/")], vec![puts("b")], vec![], false),
        (vec![], vec![nested("b")], vec![], true),
        (vec![], vec![nested("x")], vec![], false),
        (
            vec![],
            vec![Op::RequestRange(one("y")), Op::RequestRange(one("a/"))],
            vec![],
            false,
        ),
    ];
    for (compare, success, failure_of, allowed) in rows {
        let txn = pb::TxnRequest {
            compare,
            success: ops(success),
            failure: ops(failure_of),
        };
        let shown = format!("{txn:?}");
        let answer = client.kv.txn(by(&both, txn)).await;
        assert_eq!(answer.is_ok(), allowed, "{shown}");
        if !allowed {
            assert_eq!(failure(answer), denied());
        }
    }
    assert_eq!(undecided(&server), 0);
}
