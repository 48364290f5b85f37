//! Ranges.

use pb::{request_op::Request as Op, response_op::Response};
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tonic::Code;

use super::{super::support::*, filled, txn};

#[tokio::test]
async fn ranges_limits_counts_and_orders() {
    let (_server, mut client) = filled(&["a", "b", "b1", "b2", "c"]).await;
    client.put("a", "z").await;
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
        let answer = client.kv.range(request.clone()).reply().await;
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
                .reply()
                .await;
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
        .reply()
        .await;
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
        (-2, 37, false),
    ] {
        let mut pieces = client
            .kv
            .range_stream(pb::RangeRequest {
                limit,
                ..prefix("k")
            })
            .reply()
            .await;
        let (mut keys, mut many) = (Vec::new(), 0);
        let mut last = pb::RangeResponse::default();
        while let Some(piece) = pieces.message().await.unwrap() {
            assert!(last.header.is_none(), "only the last piece has a header");
            last = piece.range_response.unwrap();
            many += 1;
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
        assert_eq!(many == 1, limit < 0 || limit == 10, "limit {limit}: {many}");
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
async fn serializable_and_linearizable_reads_see_what_was_answered() {
    let (_server, mut client) = filled(&[]).await;
    for n in 0..50 {
        client.put("k", &n.to_string()).await;
        for serializable in [true, false] {
            let answer = client
                .kv
                .range(pb::RangeRequest {
                    serializable,
                    ..one("k")
                })
                .reply()
                .await;
            assert_eq!(pairs(&answer.kvs), [("k".to_owned(), n.to_string())]);
        }
    }
}
