//! The Lock and Election services.

use std::time::Duration;

use portolan_protocol_etcd::wire::{
    etcdserverpb as pb,
    v3electionpb::{self as election, election_client::ElectionClient},
    v3lockpb::{self as locks, lock_client::LockClient},
};
use tonic::Code;

use super::{
    gateway::{lines, open, post},
    support::*,
};

async fn grant(client: &mut Client, id: i64) -> i64 {
    let request = pb::LeaseGrantRequest { ttl: 60, id };
    client.lease.lease_grant(request).reply().await.id
}

fn wanted(name: &str, lease: i64) -> locks::LockRequest {
    locks::LockRequest {
        name: name.to_owned().into(),
        lease,
    }
}

/// Waits until this many keys begin with `start`.
async fn until(client: &mut Client, start: &str, count: i64) {
    for _ in 0..2000 {
        if client.kv.range(prefix(start)).reply().await.count == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{start} never has {count} keys");
}

#[tokio::test]
async fn a_lock_has_one_holder_and_a_waiter_that_goes_leaves_no_key() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut lock = LockClient::new(server.channel().await);
    for id in [255, -255, 7] {
        grant(&mut client, id).await;
    }
    let first = lock.lock(wanted("m", 255)).reply().await;
    assert_eq!((&first.key[..], revision(&first.header)), (&b"m/ff"[..], 2));
    // The same lease has it already.
    let again = lock.lock(wanted("m", 255)).reply().await;
    assert_eq!((&again.key[..], revision(&again.header)), (&b"m/ff"[..], 2));
    let waiting = {
        let mut lock = lock.clone();
        tokio::spawn(async move { lock.lock(wanted("m", -255)).reply().await })
    };
    until(&mut client, "m/", 2).await;
    let given_up = {
        let mut lock = lock.clone();
        tokio::spawn(async move { lock.lock(wanted("m", 7)).await })
    };
    until(&mut client, "m/", 3).await;
    given_up.abort();
    until(&mut client, "m/", 2).await;
    // A client's time is up.
    let mut late = tonic::Request::new(wanted("m", 7));
    late.set_timeout(Duration::from_millis(50));
    let (code, _) = failure(lock.lock(late).await);
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled));
    until(&mut client, "m/", 2).await;
    assert!(!waiting.is_finished());
    let unlock = locks::UnlockRequest { key: first.key };
    lock.unlock(unlock.clone()).reply().await;
    let second = waiting.await.unwrap();
    assert_eq!(&second.key[..], b"m/-ff");
    // Of a lease of the server's own.
    let other = lock.lock(wanted("n", 0)).reply().await;
    let kv = client.kv.range(prefix("n/")).reply().await.kvs.remove(0);
    assert_eq!(kv.key, other.key);
    assert_eq!(other.key, format!("n/{:x}", kv.lease).into_bytes());
    // What is not there is unlocked without complaint; failures have no code of their own.
    lock.unlock(unlock).reply().await;
    assert_eq!(
        failure(lock.lock(wanted("m", 4711)).await),
        (
            Code::Unknown,
            "etcdserver: requested lease not found".to_owned()
        )
    );
    assert_eq!(
        failure(lock.unlock(locks::UnlockRequest::default()).await),
        (Code::Unknown, "etcdserver: key is not provided".to_owned())
    );
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn a_waiter_whose_lease_ends_has_no_lock() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut lock = LockClient::new(server.channel().await);
    for id in [1, 2] {
        grant(&mut client, id).await;
    }
    let held = lock.lock(wanted("m", 1)).reply().await;
    let waiting = {
        let mut lock = lock.clone();
        tokio::spawn(async move { lock.lock(wanted("m", 2)).await })
    };
    until(&mut client, "m/", 2).await;
    let revoke = pb::LeaseRevokeRequest { id: 2 };
    client.lease.lease_revoke(revoke).reply().await;
    lock.unlock(locks::UnlockRequest { key: held.key })
        .reply()
        .await;
    assert_eq!(
        failure(waiting.await.unwrap()),
        (Code::Unknown, "mutex: session is expired".to_owned())
    );
}

#[tokio::test]
async fn elections() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut elect = ElectionClient::new(server.channel().await);
    for id in [1, 2] {
        grant(&mut client, id).await;
    }
    let stand = |lease, value: &'static str| election::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
    };
    let who = || election::LeaderRequest { name: "e".into() };
    assert_eq!(
        failure(elect.leader(who()).await),
        (Code::Unknown, "election: no leader".to_owned())
    );
    let mut observed = elect.observe(who()).reply().await;
    let won = elect.campaign(stand(1, "a")).reply().await;
    let leader = won.leader.clone().unwrap();
    assert_eq!(
        (
            &leader.key[..],
            leader.rev,
            leader.lease,
            revision(&won.header)
        ),
        (&b"e/1"[..], 2, 1, 2)
    );
    // The same again says something new.
    let again = elect.campaign(stand(1, "b")).reply().await;
    assert_eq!((again.leader, revision(&again.header)), (won.leader, 2));
    let next = {
        let mut elect = elect.clone();
        tokio::spawn(async move { elect.campaign(stand(2, "c")).reply().await })
    };
    until(&mut client, "e/", 2).await;
    let say = election::ProclaimRequest {
        leader: Some(leader.clone()),
        value: "d".into(),
    };
    assert_eq!(
        revision(&elect.proclaim(say.clone()).reply().await.header),
        5
    );
    let now = elect.leader(who()).reply().await;
    assert_eq!(
        pairs(&[now.kv.unwrap()]),
        [("e/1".to_owned(), "d".to_owned())]
    );
    let resign = election::ResignRequest {
        leader: Some(leader),
    };
    elect.resign(resign.clone()).reply().await;
    let second = next.await.unwrap();
    assert_eq!(&second.leader.unwrap().key[..], b"e/2");
    let mut told = Vec::new();
    while told.last() != Some(&("e/2".to_owned(), "c".to_owned())) {
        let answer = observed.message().await.unwrap().unwrap();
        told.push(pairs(&[answer.kv.unwrap()]).remove(0));
    }
    let values: Vec<&str> = told.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["a", "b", "d", "c"]);
    assert_eq!(
        failure(elect.proclaim(say).await),
        (Code::Unknown, "election: not leader".to_owned())
    );
    // Whoever does not lead may resign.
    elect.resign(resign).reply().await;
    for text in [
        failure(elect.resign(election::ResignRequest::default()).await),
        failure(elect.proclaim(election::ProclaimRequest::default()).await),
    ] {
        assert_eq!(
            text,
            (
                Code::Unknown,
                "\"leader\" field must be provided".to_owned()
            )
        );
    }
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn locks_and_elections_over_json() {
    let server = Server::start().await;
    post(&server, "/v3/lease/grant", r#"{"TTL":60,"ID":255}"#).await;
    let (status, locked) = post(&server, "/v3/lock/lock", r#"{"name":"bQ==","lease":"255"}"#).await;
    assert_eq!(status, 200);
    assert!(locked.ends_with(r#""key":"bS9mZg=="}"#), "{locked}");
    let campaign = r#"{"name":"ZQ==","lease":"255","value":"YQ=="}"#;
    let (_, won) = post(&server, "/v3/election/campaign", campaign).await;
    assert!(
        won.ends_with(r#""leader":{"name":"ZQ==","key":"ZS9mZg==","rev":"3","lease":"255"}}"#),
        "{won}"
    );
    let mut observed = open(
        &server,
        ("POST", "/v3/election/observe"),
        &[],
        r#"{"name":"ZQ=="}"#,
    )
    .await;
    let line = lines(&mut observed, 1).await;
    assert!(
        line.ends_with("\"kv\":{\"key\":\"ZS9mZg==\",\"create_revision\":\"3\",\"mod_revision\":\"3\",\"version\":\"1\",\"value\":\"YQ==\",\"lease\":\"255\"}}}\n"),
        "{line}"
    );
    let (status, text) = post(&server, "/v3/election/proclaim", "{}").await;
    assert_eq!(status, 500);
    assert!(text.contains(r#""code":2"#), "{text}");
}
