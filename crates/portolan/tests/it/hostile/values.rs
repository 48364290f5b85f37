//! Values that are no value: unknown enum numbers and words, numbers out of range.

use tonic::Code;

use super::Siege;
use crate::harness::etcd::{self, Etcd};
use crate::harness::http;
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

#[test]
fn etcd_s_unknown_enums_and_odd_numbers() {
    need_binary!();
    let siege = Siege::begin();
    etcd::runtime().block_on(async {
        let client = Etcd::connect(siege.address("etcd")).await.unwrap();
        let mut kv = client.kv();
        for (order, target) in [(99, 0), (0, 99), (-1, 0), (i32::MAX, i32::MIN)] {
            let request = pb::RangeRequest {
                key: "a".into(),
                sort_order: order,
                sort_target: target,
                ..Default::default()
            };
            let status = kv.range(request).await.expect_err("an unknown order");
            assert_eq!(
                (status.code(), status.message()),
                (Code::InvalidArgument, "etcdserver: invalid sort option")
            );
        }
        for (result, target) in [(99, 1), (1, 99), (-7, -7)] {
            let compare = pb::Compare {
                key: "a".into(),
                result,
                target,
                ..Default::default()
            };
            // Any answer will do, a hang or a lost connection will not.
            let _ = kv
                .txn(pb::TxnRequest {
                    compare: vec![compare],
                    ..Default::default()
                })
                .await;
        }
        let many = (0..129)
            .map(|number| pb::Compare {
                key: format!("k{number}").into(),
                ..Default::default()
            })
            .collect();
        let status = kv
            .txn(pb::TxnRequest {
                compare: many,
                ..Default::default()
            })
            .await
            .expect_err("too many");
        assert_eq!(
            status.message(),
            "etcdserver: too many operations in txn request"
        );
        let status = kv.put(pb::PutRequest::default()).await.expect_err("no key");
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "etcdserver: key is not provided")
        );
        let status = kv
            .txn(pb::TxnRequest {
                success: vec![pb::RequestOp { request: None }],
                ..Default::default()
            })
            .await
            .expect_err("an empty operation");
        assert_eq!(status.message(), "etcdserver: key not found");
        let status = kv
            .range(pb::RangeRequest {
                key: "a".into(),
                revision: i64::MAX,
                ..Default::default()
            })
            .await
            .expect_err("the future");
        assert_eq!(
            (status.code(), status.message()),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision"
            )
        );
        let status = kv
            .compact(pb::CompactionRequest {
                revision: i64::MAX,
                ..Default::default()
            })
            .await
            .expect_err("the future");
        assert_eq!(
            status.message(),
            "etcdserver: mvcc: required revision is a future revision"
        );
        let _ = kv
            .range(pb::RangeRequest {
                key: "a".into(),
                limit: i64::MIN,
                min_mod_revision: i64::MIN,
                max_mod_revision: i64::MIN,
                ..Default::default()
            })
            .await;

        let mut lease = client.lease();
        let status = lease
            .lease_grant(pb::LeaseGrantRequest {
                ttl: i64::MAX,
                id: 0,
            })
            .await
            .expect_err("too long");
        assert_eq!(
            (status.code(), status.message()),
            (Code::OutOfRange, "etcdserver: too large lease TTL")
        );
        for ttl in [0, -1, i64::MIN] {
            let granted = lease
                .lease_grant(pb::LeaseGrantRequest { ttl, id: 0 })
                .await
                .expect("raised to the minimum")
                .into_inner();
            assert!(granted.ttl >= 1, "{granted:?}");
        }
        let mut maintenance =
            pb::maintenance_client::MaintenanceClient::new(client.channel.clone());
        let _ = maintenance
            .alarm(pb::AlarmRequest {
                action: 77,
                member_id: u64::MAX,
                alarm: 77,
            })
            .await;
        client
            .put("after", b"all that")
            .await
            .expect("the connection still serves");
    });
    siege.end();
}

#[test]
fn etcd_s_unknown_methods_and_garbled_messages() {
    need_binary!();
    let siege = Siege::begin();
    etcd::runtime().block_on(async {
        let client = Etcd::connect(siege.address("etcd")).await.unwrap();
        for path in [
            "/etcdserverpb.KV/Explode",
            "/no.such.Service/Method",
            "/etcdserverpb.KV/",
        ] {
            let mut grpc = tonic::client::Grpc::new(client.channel.clone());
            grpc.ready().await.unwrap();
            let codec = tonic_codec::<pb::PutRequest, pb::PutResponse>();
            let path = path.parse().unwrap();
            let status = grpc
                .unary(tonic::Request::new(pb::PutRequest::default()), path, codec)
                .await
                .expect_err("no such method");
            assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        }
        // A message of another type is bytes that do not decode, or decode to something that is refused.
        let mut grpc = tonic::client::Grpc::new(client.channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_codec::<pb::WatchResponse, pb::TxnResponse>();
        let watch = pb::WatchResponse {
            cancel_reason: "x".repeat(1000),
            compact_revision: -5,
            watch_id: i64::MIN,
            ..Default::default()
        };
        let _ = grpc
            .unary(
                tonic::Request::new(watch),
                "/etcdserverpb.KV/Txn".parse().unwrap(),
                codec,
            )
            .await;
        client
            .put("after", b"all that")
            .await
            .expect("the connection still serves");
    });
    siege.end();
}

fn tonic_codec<T, U>() -> tonic_prost::ProstCodec<T, U> {
    tonic_prost::ProstCodec::default()
}

#[test]
fn a_transaction_nested_too_deep() {
    need_binary!();
    let siege = Siege::begin();
    etcd::runtime().block_on(async {
        let client = Etcd::connect(siege.address("etcd")).await.unwrap();
        let mut txn = pb::TxnRequest::default();
        for _ in 0..90 {
            txn = pb::TxnRequest {
                success: vec![pb::RequestOp {
                    request: Some(pb::request_op::Request::RequestTxn(txn)),
                }],
                ..Default::default()
            };
        }
        let refused = client.kv().txn(txn).await.unwrap_err();
        assert_eq!(refused.code() as i32, 3, "an invalid argument: {refused:?}");
        assert!(refused.message().contains("in each other"), "{refused:?}");
        client
            .put("after", b"all that")
            .await
            .expect("the connection still serves");
    });
    siege.end();
}

#[test]
fn consul_s_and_eureka_s_unknown_words() {
    need_binary!();
    let siege = Siege::begin();
    let consul = siege.address("consul");
    for (method, path, body) in [
        ("GET", "/v1/health/service/calm?wait=soon&index=1", None),
        ("GET", "/v1/health/service/calm?index=many", None),
        ("GET", "/v1/health/service/calm?filter=((((", None),
        ("GET", "/v1/health/service/calm?stale&consistent", None),
        ("PUT", "/v1/agent/service/maintenance/calm", None),
        (
            "PUT",
            "/v1/agent/service/maintenance/calm?enable=perhaps",
            None,
        ),
        (
            "PUT",
            "/v1/agent/check/update/none",
            Some("{\"Status\":\"zombie\"}"),
        ),
        ("PUT", "/v1/kv/a?cas=many", Some("v")),
        ("PUT", "/v1/kv/a?flags=-1", Some("v")),
        ("PUT", "/v1/kv/a?acquire=nobody", Some("v")),
    ] {
        let reply = http::call(consul, method, path, body).expect("an answer");
        assert!(
            reply.status >= 400,
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
    }
    // No check is in a state that there is not: Consul answers so too.
    let reply = http::call(consul, "GET", "/v1/health/state/zombie", None).unwrap();
    assert_eq!((reply.status, reply.text().trim()), (200, "[]"));
    let eureka = siege.address("eureka");
    let seen = crate::harness::eureka::app(eureka, "CALM").unwrap();
    let id = &seen[0].id;
    let reply = http::call(
        eureka,
        "PUT",
        &format!("/eureka/apps/CALM/{id}/status?value=ZOMBIE"),
        None,
    )
    .unwrap();
    assert_eq!(reply.status, 500, "{}", reply.text());
    let reply = http::call(
        eureka,
        "PUT",
        &format!("/eureka/apps/CALM/{id}?lastDirtyTimestamp=yesterday"),
        None,
    )
    .unwrap();
    assert!(reply.status >= 400, "{} {}", reply.status, reply.text());
    let reply = http::call_with(
        eureka,
        "POST",
        "/eureka/apps/WEB",
        &[("Content-Type", "text/plain")],
        Some(b"x"),
    )
    .unwrap();
    assert_eq!(reply.status, 415, "{}", reply.text());
    let reply = http::call_with(
        eureka,
        "GET",
        "/eureka/apps",
        &[("Accept", "text/html")],
        None,
    )
    .unwrap();
    assert_eq!(reply.status, 406, "{}", reply.text());
    siege.end();
}
