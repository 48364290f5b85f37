//! Leases.

use std::{sync::Arc, time::Duration};

use portolan_listener::{Action, Decision, Policy, Principal, Resource};
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::support::*;

fn grant(id: i64, ttl: i64) -> pb::LeaseGrantRequest {
    pb::LeaseGrantRequest { id, ttl }
}

#[tokio::test]
async fn grants() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (id, ttl, granted) in [
        (5, 60, 60),
        (6, 0, 2),
        (-7, -7, 2),
        (8, 1, 2),
        (9, 9_000_000_000, 9_000_000_000),
    ] {
        let answer = client.lease.lease_grant(grant(id, ttl)).reply().await;
        assert_eq!(
            (
                answer.id,
                answer.ttl,
                answer.error.as_str(),
                revision(&answer.header)
            ),
            (id, granted, "", 1)
        );
        let left = client
            .lease
            .lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: false })
            .reply()
            .await;
        assert!(
            left.granted_ttl == granted && left.ttl <= granted && left.ttl >= granted - 2,
            "{left:?}"
        );
    }
    let chosen = client.lease.lease_grant(grant(0, 60)).reply().await;
    assert!(chosen.id > 0);
    assert_eq!(
        failure(client.lease.lease_grant(grant(5, 60)).await),
        (
            Code::FailedPrecondition,
            "etcdserver: lease already exists".into()
        )
    );
    assert_eq!(
        failure(client.lease.lease_grant(grant(50, 9_000_000_001)).await),
        (Code::OutOfRange, "etcdserver: too large lease TTL".into())
    );
    let mut leases: Vec<i64> = client
        .lease
        .lease_leases(pb::LeaseLeasesRequest {})
        .reply()
        .await
        .leases
        .iter()
        .map(|lease| lease.id)
        .collect();
    leases.sort_unstable();
    let mut expected = vec![-7, 5, 6, 8, 9, chosen.id];
    expected.sort_unstable();
    assert_eq!(leases, expected);
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_in_one_revision() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.lease.lease_grant(grant(5, 60)).await.unwrap();
    client.lease.lease_grant(grant(6, 60)).await.unwrap();
    for key in ["b", "a", "c"] {
        client
            .kv
            .put(pb::PutRequest {
                lease: 5,
                ..put(key, "")
            })
            .await
            .unwrap();
    }
    client
        .kv
        .put(pb::PutRequest {
            lease: 6,
            ..put("c", "")
        })
        .await
        .unwrap();
    let left = client
        .lease
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 5, keys: true })
        .reply()
        .await;
    assert_eq!(left.keys, ["a", "b"]);
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("")).await;
    let mut all = watch_of("");
    (all.key, all.range_end) = ("\0".into(), "\0".into());
    watching.create(all).await;
    let revoked = client
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 5 })
        .reply()
        .await;
    assert_eq!(revision(&revoked.header), 6);
    let response = watching.next().await;
    assert_eq!(
        told(&response),
        [
            (true, "a".into(), String::new(), 6),
            (true, "b".into(), String::new(), 6)
        ]
    );
    let nothing = client.lease.lease_grant(grant(7, 60)).reply().await;
    client
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 7 })
        .await
        .unwrap();
    let after = client.kv.range(one("c")).reply().await;
    assert_eq!(
        (
            after.count,
            revision(&after.header),
            revision(&nothing.header)
        ),
        (1, 6, 6),
        "no keys, no revision"
    );
    assert_eq!(
        failure(
            client
                .lease
                .lease_revoke(pb::LeaseRevokeRequest { id: 5 })
                .await
        ),
        (
            Code::NotFound,
            "etcdserver: requested lease not found".into()
        )
    );
    let unknown = client
        .lease
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 5, keys: true })
        .reply()
        .await;
    assert_eq!(
        (
            unknown.id,
            unknown.ttl,
            unknown.granted_ttl,
            revision(&unknown.header)
        ),
        (5, -1, 0, 6),
        "no error"
    );
}

#[tokio::test]
async fn keep_alives_are_answered_one_by_one_and_end_nothing() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.lease.lease_grant(grant(5, 60)).await.unwrap();
    let (requests, receiver) = mpsc::channel(512);
    let ids: Vec<i64> = (0..300).map(|n| if n % 3 == 0 { 99 } else { 5 }).collect();
    for id in &ids {
        requests
            .send(pb::LeaseKeepAliveRequest { id: *id })
            .await
            .unwrap();
    }
    let mut answers = client
        .lease
        .lease_keep_alive(ReceiverStream::new(receiver))
        .reply()
        .await;
    for id in &ids {
        let answer = timeout(Duration::from_secs(5), answers.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let ttl = if *id == 5 { 60 } else { 0 };
        assert_eq!(
            (answer.id, answer.ttl, revision(&answer.header)),
            (*id, ttl, 1)
        );
    }
    // The last one came; the stream is still good.
    requests
        .send(pb::LeaseKeepAliveRequest { id: 5 })
        .await
        .unwrap();
    assert_eq!(
        timeout(Duration::from_secs(5), answers.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .ttl,
        60
    );
    drop(requests);
    assert!(
        timeout(Duration::from_secs(5), answers.message())
            .await
            .unwrap()
            .unwrap()
            .is_none(),
        "ends when the client has finished"
    );
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_in_time_and_one_that_is_renewed_does_not() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for id in [5, 6] {
        client.lease.lease_grant(grant(id, 2)).await.unwrap();
        client
            .kv
            .put(pb::PutRequest {
                lease: id,
                ..put(&format!("k{id}"), "")
            })
            .await
            .unwrap();
    }
    let began = tokio::time::Instant::now();
    let (requests, receiver) = mpsc::channel(8);
    requests
        .send(pb::LeaseKeepAliveRequest { id: 6 })
        .await
        .unwrap();
    let mut answers = client
        .lease
        .lease_keep_alive(ReceiverStream::new(receiver))
        .reply()
        .await;
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("k")).await;
    let ended = loop {
        tokio::select! {
            response = watching.next() => break response,
            () = tokio::time::sleep(Duration::from_millis(400)) => {
                requests.send(pb::LeaseKeepAliveRequest { id: 6 }).await.unwrap();
                assert_eq!(answers.message().await.unwrap().unwrap().ttl, 2);
            }
        }
    };
    assert_eq!(told(&ended), [(true, "k5".into(), String::new(), 4)]);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(1900) && took < Duration::from_millis(3500),
        "{took:?}"
    );
    assert_eq!(client.kv.range(one("k6")).reply().await.count, 1);
    requests
        .send(pb::LeaseKeepAliveRequest { id: 5 })
        .await
        .unwrap();
    let late = loop {
        let answer = answers.message().await.unwrap().unwrap();
        if answer.id == 5 {
            break answer;
        }
    };
    assert_eq!(late.ttl, 0);
}

/// Nobody may touch lease 7, nor see it.
#[derive(Debug)]
struct NotSeven;

impl Policy for NotSeven {
    fn decide(&self, _: &Principal, _: Action, resource: Resource<'_>) -> Decision {
        match resource {
            Resource::Session("0000000000000007") => Decision::Deny,
            _ => Decision::Allow,
        }
    }
}

#[tokio::test]
async fn a_policy_decides_lease_by_lease() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for id in [7, 8] {
        client.lease.lease_grant(grant(id, 60)).reply().await;
    }
    server.context.set_policy(Some(Arc::new(NotSeven)));
    let denied = (
        Code::PermissionDenied,
        "etcdserver: permission denied".to_owned(),
    );
    let left = |id| pb::LeaseTimeToLiveRequest { id, keys: false };
    let revoke = |id| pb::LeaseRevokeRequest { id };
    assert_eq!(
        failure(client.lease.lease_grant(grant(7, 60)).await),
        denied
    );
    assert_eq!(
        failure(client.lease.lease_time_to_live(left(7)).await),
        denied
    );
    assert_eq!(failure(client.lease.lease_revoke(revoke(7)).await), denied);
    let listed = client.lease.lease_leases(pb::LeaseLeasesRequest {});
    let listed: Vec<i64> = listed.reply().await.leases.iter().map(|l| l.id).collect();
    assert_eq!(listed, [8]);
    client.lease.lease_time_to_live(left(8)).reply().await;
    client.lease.lease_revoke(revoke(8)).reply().await;
    server.context.set_policy(None);
    client.lease.lease_revoke(revoke(7)).reply().await;
}
