//! Alarms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use portolan_protocol_etcd::{Ask, Settings, Standing, wire::etcdserverpb as pb};
use tonic::Code;

use super::{super::support::*, plain::get};

fn alarm(action: i32, alarm: i32) -> pb::AlarmRequest {
    pb::AlarmRequest {
        action,
        member_id: 9,
        alarm,
    }
}

/// How many alarms the answer to `action` names.
async fn named(client: &mut Client, action: i32, kind: i32) -> usize {
    let answer = client.maintenance.alarm(alarm(action, kind)).reply().await;
    answer.alarms.len()
}

#[tokio::test]
async fn alarms_are_in_force_until_they_are_lifted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.put("k", "v").await;
    let raised = client.maintenance.alarm(alarm(1, 1)).reply().await;
    assert_eq!(
        raised.alarms,
        [pb::AlarmMember {
            member_id: 9,
            alarm: 1
        }]
    );
    assert_eq!(named(&mut client, 0, 0).await, 1);
    assert_eq!(named(&mut client, 0, 2).await, 0);
    let no_room = (
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded".to_owned(),
    );
    assert_eq!(failure(client.kv.put(put("k", "v")).await), no_room);
    assert_eq!(
        failure(
            client
                .lease
                .lease_grant(pb::LeaseGrantRequest { id: 1, ttl: 9 })
                .await
        ),
        no_room
    );
    let put_op = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put("k", "v"))),
    };
    assert_eq!(
        failure(
            client
                .kv
                .txn(pb::TxnRequest {
                    failure: vec![put_op],
                    ..Default::default()
                })
                .await
        ),
        no_room
    );
    assert_eq!(
        client.kv.range(one("k")).reply().await.count,
        1,
        "reads go on"
    );
    assert_eq!(
        client.kv.delete_range(gone("k")).reply().await.deleted,
        1,
        "deletes too"
    );
    let status = client
        .maintenance
        .status(pb::StatusRequest {})
        .reply()
        .await;
    assert_eq!(status.errors, ["memberID:9 alarm:NOSPACE "]);
    assert_eq!(
        get(&server, "GET", "/health").await,
        (
            503,
            "text/plain; charset=utf-8".into(),
            "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".into()
        )
    );
    assert_eq!(get(&server, "GET", "/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(named(&mut client, 2, 1).await, 1);
    assert_eq!(named(&mut client, 2, 1).await, 0);
    client.put("k", "v").await;
    client.maintenance.alarm(alarm(1, 2)).await.unwrap();
    let corrupt = (Code::DataLoss, "etcdserver: corrupt cluster".to_owned());
    assert_eq!(failure(client.kv.put(put("k", "v")).await), corrupt);
    assert_eq!(failure(client.kv.delete_range(gone("k")).await), corrupt);
    let compaction = pb::CompactionRequest {
        revision: 2,
        physical: false,
    };
    assert_eq!(failure(client.kv.compact(compaction).await), corrupt);
    // etcd goes on reading.
    let read = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestRange(one("k"))),
    };
    assert_eq!(client.kv.range(one("k")).reply().await.count, 1);
    let read = pb::TxnRequest {
        success: vec![read],
        ..Default::default()
    };
    assert!(client.kv.txn(read).reply().await.succeeded);
    assert_eq!(get(&server, "GET", "/readyz").await.0, 503);
}

/// A data directory beyond its quota raises the alarm by itself; lifted while it is still too large, it comes back.
#[tokio::test]
async fn the_quota_raises_an_alarm() {
    let bytes = Arc::new(AtomicU64::new(10));
    let told = bytes.clone();
    let settings = Settings {
        quota_bytes: 1000,
        standing: Ask::new(move || Standing {
            bytes: told.load(Ordering::Relaxed),
            ..Standing::default()
        }),
        ..Settings::default()
    };
    let server = Server::with(settings, Vec::new()).await;
    let mut client = server.client().await;
    client.put("k", "v").await;
    let status = client.maintenance.status(pb::StatusRequest {});
    assert_eq!(status.reply().await.db_size_quota, 1000);
    let refused = async |client: &mut Client| {
        for _ in 0..1000 {
            if let Err(status) = client.kv.put(put("k", "v")).await {
                return (status.code(), status.message().to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("every put is taken");
    };
    let no_room = (
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded".to_owned(),
    );
    let lift = pb::AlarmRequest {
        action: 2,
        member_id: 1,
        alarm: 1,
    };
    bytes.store(1001, Ordering::Relaxed);
    assert_eq!(refused(&mut client).await, no_room);
    client.maintenance.alarm(lift).reply().await;
    assert_eq!(refused(&mut client).await, no_room);
    bytes.store(999, Ordering::Relaxed);
    client.maintenance.alarm(lift).reply().await;
    client.put("k", "v").await;
}
