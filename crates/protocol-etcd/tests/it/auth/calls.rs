//! What is not asked by key alone: leases, watchers, locks, and what only root may do.

use portolan_protocol_etcd::wire::{authpb::permission::Type, etcdserverpb as pb};
use tonic::Code;

use super::*;

#[tokio::test]
async fn leases_are_as_good_as_their_keys() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, reader, writer, both] = people(&mut client).await;
    let grant = |id| pb::LeaseGrantRequest { id, ttl: 60 };
    assert_eq!(
        failure(client.lease.lease_grant(grant(7)).await),
        nameless()
    );
    client
        .lease
        .lease_grant(by(&reader, grant(7)))
        .reply()
        .await;
    let under = |key: &str| pb::PutRequest {
        lease: 7,
        ..put(key, "v")
    };
    client.kv.put(by(&writer, under("a/1"))).reply().await;
    // Whoever may not write what the lease has already, puts nothing under it.
    assert_eq!(
        failure(client.kv.put(by(&both, under("b"))).await),
        denied()
    );
    let ask = |keys| pb::LeaseTimeToLiveRequest { id: 7, keys };
    client
        .lease
        .lease_time_to_live(by(&both, ask(false)))
        .reply()
        .await;
    assert_eq!(
        failure(client.lease.lease_time_to_live(by(&both, ask(true))).await),
        denied()
    );
    let seen = client
        .lease
        .lease_time_to_live(by(&reader, ask(true)))
        .reply()
        .await;
    assert_eq!(seen.keys.len(), 1);
    let all = || pb::LeaseLeasesRequest {};
    assert_eq!(failure(client.lease.lease_leases(all()).await), nameless());
    assert_eq!(
        failure(client.lease.lease_leases(by(&both, all())).await),
        denied()
    );
    for token in [&root, &reader] {
        let leases = client
            .lease
            .lease_leases(by(token, all()))
            .reply()
            .await
            .leases;
        assert_eq!(leases.len(), 1);
    }
    for (token, allowed) in [
        (&both, false),
        (&reader, false),
        (&writer, true),
        (&root, true),
    ] {
        let once = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 7 }]);
        let mut answers = client.lease.lease_keep_alive(by(token, once)).reply().await;
        let answer = answers.message().await;
        assert_eq!(answer.is_ok(), allowed);
        match answer {
            Ok(answer) => assert_eq!(answer.unwrap().ttl, 60),
            Err(status) => assert_eq!(status.code(), Code::PermissionDenied),
        }
    }
    let revoke = || pb::LeaseRevokeRequest { id: 7 };
    assert_eq!(
        failure(client.lease.lease_revoke(by(&both, revoke())).await),
        denied()
    );
    client
        .lease
        .lease_revoke(by(&writer, revoke()))
        .reply()
        .await;
    let none = client.lease.lease_revoke(by(&writer, revoke())).await;
    assert_eq!(
        failure(none),
        said(Code::NotFound, "requested lease not found")
    );
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn what_root_alone_may_do_and_what_anybody_may() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, reader, ..] = people(&mut client).await;
    macro_rules! by_whom {
        ($($service:ident.$method:ident($message:expr) => $nobody:expr, $reader:expr;)+) => {$(
            let nobody = client.$service.$method($message).await.map(|_| ());
            let reader_s = client.$service.$method(by(&reader, $message)).await.map(|_| ());
            let root_s = client.$service.$method(by(&root, $message)).await.map(|_| ());
            assert_eq!(nobody.map_err(|status| status.code()), $nobody, stringify!($method));
            assert_eq!(reader_s.map_err(|status| status.code()), $reader, stringify!($method));
            assert!(root_s.is_ok(), "{} {root_s:?}", stringify!($method));
            assert_eq!(failure(client.$service.$method(by("x", $message)).await), bad_token());
        )+};
    }
    let (nobody, denied) = (Err(Code::InvalidArgument), Err(Code::PermissionDenied));
    by_whom! {
        maintenance.status(pb::StatusRequest {}) => nobody, Ok(());
        maintenance.alarm(pb::AlarmRequest::default()) => nobody, Ok(());
        maintenance.alarm(pb::AlarmRequest { action: 2, ..Default::default() }) => nobody, denied;
        maintenance.defragment(pb::DefragmentRequest {}) => nobody, denied;
        maintenance.hash(pb::HashRequest {}) => nobody, denied;
        maintenance.hash_kv(pb::HashKvRequest::default()) => nobody, denied;
        maintenance.snapshot(pb::SnapshotRequest {}) => nobody, denied;
        cluster.member_list(pb::MemberListRequest::default()) => nobody, Ok(());
        auth.user_list(pb::AuthUserListRequest {}) => nobody, denied;
        auth.role_list(pb::AuthRoleListRequest {}) => nobody, denied;
        auth.user_get(pb::AuthUserGetRequest { name: "root".into() }) => nobody, denied;
        auth.user_get(pb::AuthUserGetRequest { name: "reader".into() }) => nobody, Ok(());
        auth.role_get(pb::AuthRoleGetRequest { role: "writer".into() }) => nobody, denied;
        auth.role_get(pb::AuthRoleGetRequest { role: "reader".into() }) => nobody, Ok(());
        auth.auth_status(pb::AuthStatusRequest {}) => Ok(()), Ok(());
        auth.auth_enable(pb::AuthEnableRequest {}) => nobody, denied;
    }
    let compact = |revision| pb::CompactionRequest {
        revision,
        physical: false,
    };
    assert_eq!(
        failure(client.kv.compact(by(&reader, compact(2))).await),
        self::denied()
    );
    client.kv.compact(by(&root, compact(2))).reply().await;
    let invalid = said(Code::InvalidArgument, "invalid auth management");
    let auth = &mut client.auth;
    let delete = pb::AuthUserDeleteRequest {
        name: "root".into(),
    };
    assert_eq!(failure(auth.user_delete(by(&root, delete)).await), invalid);
    let delete = pb::AuthRoleDeleteRequest {
        role: "root".into(),
    };
    assert_eq!(failure(auth.role_delete(by(&root, delete)).await), invalid);
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "root".into(),
        role: "root".into(),
    };
    assert_eq!(
        failure(auth.user_revoke_role(by(&root, revoke)).await),
        invalid
    );
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn a_watcher_without_permission_is_cancelled_and_the_stream_goes_on() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, reader, ..] = people(&mut client).await;
    for (token, key, reason) in [
        (Some(&reader), "a/", ""),
        (
            Some(&reader),
            "b",
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        ),
        (
            None,
            "a/",
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
        ),
    ] {
        let mut watching = match token {
            Some(token) => Watching::open_by(&mut client, by(token, ())).await,
            None => Watching::open(&mut client).await,
        };
        let answer = watching.create(watch_of(key)).await;
        assert_eq!(answer.cancel_reason, reason);
        assert_eq!(
            (answer.canceled, answer.watch_id),
            match reason {
                "" => (false, 0),
                _ => (true, -1),
            }
        );
        if reason.is_empty() {
            client.kv.put(by(&root, put("a/1", "v"))).reply().await;
            assert_eq!(watching.next().await.events.len(), 1);
        } else {
            watching.create(watch_of(key)).await;
        }
    }
    assert_eq!(undecided(&server), 0);
}

/// etcd's GHSA-xg4h-6gfc-h4m8.
#[tokio::test]
async fn a_permission_on_one_key_is_none_on_the_keys_after_it() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, ..] = people(&mut client).await;
    let auth = &mut client.auth;
    auth.user_add(by(&root, user("one"))).reply().await;
    let role = pb::AuthRoleAddRequest { name: "one".into() };
    auth.role_add(by(&root, role)).reply().await;
    let key = permission("one", Type::Read, "key", "");
    auth.role_grant_permission(by(&root, key)).reply().await;
    auth.user_grant_role(by(&root, grant("one", "one")))
        .reply()
        .await;
    let token = token(&mut client, "one").await;
    let mut watching = Watching::open_by(&mut client, by(&token, ())).await;
    for (end, allowed) in [("", true), ("key\0", true), ("\0", false), ("kez", false)] {
        let range = pb::RangeRequest {
            range_end: end.to_owned().into(),
            ..one("key")
        };
        let read = client.kv.range(by(&token, range)).await;
        assert_eq!(read.is_ok(), allowed, "{end:?}");
        let watch = pb::WatchCreateRequest {
            key: "key".into(),
            range_end: end.to_owned().into(),
            ..Default::default()
        };
        assert_eq!(watching.create(watch).await.canceled, !allowed, "{end:?}");
    }
}

#[tokio::test]
async fn locks_and_elections_are_their_keys() {
    use portolan_protocol_etcd::wire::{
        v3electionpb::{LeaderRequest, election_client::ElectionClient},
        v3lockpb::{LockRequest, lock_client::LockClient},
    };
    let server = server().await;
    let mut client = server.client().await;
    let [_, reader, writer, both] = people(&mut client).await;
    let mut lock = LockClient::new(server.channel().await);
    let ask = |name: &str| LockRequest {
        name: name.to_owned().into(),
        lease: 0,
    };
    for (token, allowed) in [(&reader, false), (&writer, false)] {
        let answer = lock.lock(by(token, ask("a/l"))).await;
        assert_eq!(answer.is_ok(), allowed);
        assert_eq!(answer.unwrap_err().message(), denied().1);
    }
    lock.lock(by(&both, ask("b"))).reply().await;
    let mut election = ElectionClient::new(server.channel().await);
    let leader = |name: &str| LeaderRequest {
        name: name.to_owned().into(),
    };
    let answer = election.leader(by(&writer, leader("a/e"))).await;
    assert_eq!(answer.unwrap_err().message(), denied().1);
    let answer = election.leader(by(&reader, leader("a/e"))).await;
    assert_eq!(answer.unwrap_err().message(), "election: no leader");
    assert_eq!(undecided(&server), 0);
}

/// Two servers of one registry, one of which changes users while the other writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_done_after_the_permission_is_gone() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, _, writer, _] = people(&mut client).await;
    let mut other = server.client().await;
    let token = writer.clone();
    let writing = tokio::spawn(async move {
        let mut last = 0;
        loop {
            match other.kv.put(by(&token, put("a/1", "v"))).await {
                Ok(answer) => last = revision(&answer.into_inner().header),
                Err(status) => return (last, status.message().to_owned()),
            }
        }
    });
    for _ in 0..20 {
        client.kv.range(by(&root, one("a/1"))).reply().await;
    }
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "writer".into(),
        role: "writer".into(),
    };
    let revoked = client
        .auth
        .user_revoke_role(by(&root, revoke))
        .reply()
        .await;
    let (last, text) = writing.await.unwrap();
    assert_eq!(text, denied().1);
    assert!(last < revision(&revoked.header), "{last}");
}
