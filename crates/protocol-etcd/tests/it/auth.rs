//! etcd's own users and roles, as its clients meet them.

use pb::{compare::TargetUnion, request_op::Request as Op};
use portolan_protocol_etcd::wire::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb as pb,
};
use tonic::{Code, Request};

use super::support::*;

/// A request of whoever has a token.
fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("token", token.parse().unwrap());
    request
}

fn said(code: Code, text: &str) -> (Code, String) {
    (code, format!("etcdserver: {text}"))
}

fn denied() -> (Code, String) {
    said(Code::PermissionDenied, "permission denied")
}

fn bad_token() -> (Code, String) {
    said(Code::Unauthenticated, "invalid auth token")
}

fn nameless() -> (Code, String) {
    said(Code::InvalidArgument, "user name is empty")
}

/// A server with cheap passwords.
async fn server() -> Server {
    let settings = portolan_protocol_etcd::Settings {
        password_cost: 4,
        ..Default::default()
    };
    Server::with(settings, Vec::new()).await
}

fn user(name: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest {
        name: name.into(),
        password: format!("{name}'s"),
        ..Default::default()
    }
}

fn grant(name: &str, role: &str) -> pb::AuthUserGrantRoleRequest {
    pb::AuthUserGrantRoleRequest {
        user: name.into(),
        role: role.into(),
    }
}

fn permission(role: &str, kind: Type, key: &str, end: &str) -> pb::AuthRoleGrantPermissionRequest {
    pb::AuthRoleGrantPermissionRequest {
        name: role.into(),
        perm: Some(Permission {
            perm_type: kind as i32,
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
        }),
    }
}

fn named(name: &str) -> pb::AuthenticateRequest {
    pb::AuthenticateRequest {
        name: name.into(),
        password: format!("{name}'s"),
    }
}

async fn token(client: &mut Client, name: &str) -> String {
    client.auth.authenticate(named(name)).reply().await.token
}

/// Root, a reader of `a/`, a writer of `a/`, somebody who may do both from `b` to `d` and more that touches; authentication is on. Gives
/// their tokens.
async fn people(client: &mut Client) -> [String; 4] {
    let auth = &mut client.auth;
    let names = ["root", "reader", "writer", "both"];
    for name in names {
        auth.user_add(user(name)).reply().await;
        if name != "root" {
            let role = pb::AuthRoleAddRequest { name: name.into() };
            auth.role_add(role).reply().await;
        }
        auth.user_grant_role(grant(name, name)).reply().await;
    }
    for (role, kind, key, end) in [
        ("reader", Type::Read, "a/", "a0"),
        ("writer", Type::Write, "a/", "a0"),
        ("both", Type::Readwrite, "b", "d"),
        ("both", Type::Readwrite, "d", "f"),
        ("both", Type::Read, "x", "\0"),
    ] {
        let given = permission(role, kind, key, end);
        auth.role_grant_permission(given).reply().await;
    }
    auth.auth_enable(pb::AuthEnableRequest {}).reply().await;
    let mut tokens = Vec::new();
    for name in names {
        tokens.push(token(client, name).await);
    }
    tokens.try_into().unwrap()
}

#[tokio::test]
async fn users_and_roles_are_kept_as_etcd_keeps_them() {
    let server = server().await;
    let mut client = server.client().await;
    let auth = &mut client.auth;
    let failed = |text: &str| said(Code::FailedPrecondition, text);
    let wrong = |text: &str| said(Code::InvalidArgument, text);
    let enable = pb::AuthEnableRequest {};
    assert_eq!(
        failure(auth.auth_enable(enable).await),
        failed("root user does not exist")
    );
    let nobody = auth.user_add(pb::AuthUserAddRequest::default()).await;
    assert_eq!(failure(nobody), wrong("user name is empty"));
    auth.user_add(user("root")).reply().await;
    assert_eq!(
        failure(auth.user_add(user("root")).await),
        failed("user name already exists")
    );
    assert_eq!(
        failure(auth.auth_enable(enable).await),
        failed("root user does not have root role")
    );
    let long = pb::AuthUserAddRequest {
        name: "long".into(),
        password: "x".repeat(73),
        ..Default::default()
    };
    assert_eq!(
        failure(auth.user_add(long).await),
        (
            Code::Unknown,
            "bcrypt: password length exceeds 72 bytes".into()
        )
    );
    let role = |name: &str| pb::AuthRoleAddRequest { name: name.into() };
    assert_eq!(
        failure(auth.role_add(role("")).await),
        wrong("role name is empty")
    );
    auth.role_add(role("r")).reply().await;
    assert_eq!(
        failure(auth.role_add(role("r")).await),
        failed("role name already exists")
    );
    for (given, text) in [
        (grant("nobody", "r"), "user name not found"),
        (grant("root", "none"), "role name not found"),
    ] {
        assert_eq!(failure(auth.user_grant_role(given).await), failed(text));
    }
    // Roles come in order; twice is once, and is no change.
    auth.user_grant_role(grant("root", "root")).reply().await;
    auth.user_grant_role(grant("root", "r")).reply().await;
    let before = auth.auth_status(pb::AuthStatusRequest {}).reply().await;
    auth.user_grant_role(grant("root", "r")).reply().await;
    let status = auth.auth_status(pb::AuthStatusRequest {}).reply().await;
    assert_eq!((before.auth_revision, before.enabled), (5, false));
    assert_eq!(status.auth_revision, 5);
    let of = |name: &str| pb::AuthUserGetRequest { name: name.into() };
    let roles = auth.user_get(of("root")).reply().await.roles;
    assert_eq!(roles, ["r", "root"]);
    assert_eq!(
        failure(auth.user_get(of("none")).await),
        failed("user name not found")
    );
    // Permissions come in the order of their keys; the same keys again become another permission.
    for (kind, key, end) in [
        (Type::Write, "k", ""),
        (Type::Read, "a", "c"),
        (Type::Readwrite, "k", ""),
        (Type::Read, "z", "\0"),
    ] {
        auth.role_grant_permission(permission("r", kind, key, end))
            .reply()
            .await;
    }
    for (key, end) in [("", ""), ("b", "a"), ("b", "b"), ("", "\0")] {
        let given = permission("r", Type::Read, key, end);
        assert_eq!(
            failure(auth.role_grant_permission(given).await),
            wrong("invalid auth management"),
            "{key:?} {end:?}"
        );
    }
    let get = |role: &str| pb::AuthRoleGetRequest { role: role.into() };
    let shown = auth.role_get(get("r")).reply().await.perm;
    let shown: Vec<_> = shown
        .iter()
        .map(|one| (one.perm_type, &one.key[..], &one.range_end[..]))
        .collect();
    assert_eq!(
        shown,
        [(0, &b"a"[..], &b"c"[..]), (2, b"k", b""), (0, b"z", b"\0")]
    );
    assert_eq!(
        failure(auth.role_get(get("root")).await),
        failed("role name not found")
    );
    let taken = |key: &str, end: &str| pb::AuthRoleRevokePermissionRequest {
        role: "r".into(),
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    };
    auth.role_revoke_permission(taken("a", "c")).reply().await;
    assert_eq!(
        failure(auth.role_revoke_permission(taken("a", "c")).await),
        failed("permission is not granted to the role")
    );
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "root".into(),
        role: "none".into(),
    };
    assert_eq!(
        failure(auth.user_revoke_role(revoke).await),
        failed("role is not granted to the user")
    );
    // A role that goes is taken from its users.
    let drop = || pb::AuthRoleDeleteRequest { role: "r".into() };
    auth.role_delete(drop()).reply().await;
    assert_eq!(
        failure(auth.role_delete(drop()).await),
        failed("role name not found")
    );
    assert_eq!(auth.user_get(of("root")).reply().await.roles, ["root"]);
    let all = auth
        .user_list(pb::AuthUserListRequest {})
        .reply()
        .await
        .users;
    assert_eq!(all, ["root"]);
    let all = auth
        .role_list(pb::AuthRoleListRequest {})
        .reply()
        .await
        .roles;
    assert!(all.is_empty());
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn a_password_gives_a_token_and_what_ends_it() {
    let server = server().await;
    let mut client = server.client().await;
    let [root, reader, ..] = people(&mut client).await;
    let auth = &mut client.auth;
    let wrong = said(
        Code::InvalidArgument,
        "authentication failed, invalid user ID or password",
    );
    for (name, password) in [("root", "x"), ("nobody", "nobody's"), ("", "")] {
        let tried = pb::AuthenticateRequest {
            name: name.into(),
            password: password.into(),
        };
        assert_eq!(failure(auth.authenticate(tried).await), wrong, "{name}");
    }
    let by_certificate = pb::AuthUserAddRequest {
        name: "cert".into(),
        options: Some(UserAddOptions { no_password: true }),
        ..Default::default()
    };
    auth.user_add(by(&root, by_certificate)).reply().await;
    assert_eq!(
        failure(auth.authenticate(named("cert")).await),
        (
            Code::Unknown,
            "auth: authentication failed, password was given for no password user".into()
        )
    );
    // Tokens that are none.
    for false_one in ["", "x", "a.b", "a.b.c.d", &root[1..], &format!("{root}A")] {
        let asked = client.kv.range(by(false_one, one("a/"))).await;
        assert_eq!(failure(asked), bad_token(), "{false_one}");
    }
    assert_eq!(failure(client.kv.range(one("a/")).await), nameless());
    client.kv.range(by(&reader, one("a/"))).reply().await;
    // Another server of the cluster takes it.
    let other = Server::over(server.registry.clone(), Default::default());
    let mut beside = other.client().await;
    beside.kv.range(by(&reader, one("a/"))).reply().await;
    // A change elsewhere leaves it, another password ends it.
    let auth = &mut client.auth;
    auth.user_add(by(&root, user("more"))).reply().await;
    client.kv.range(by(&reader, one("a/"))).reply().await;
    let password = pb::AuthUserChangePasswordRequest {
        name: "reader".into(),
        password: "new".into(),
        ..Default::default()
    };
    client
        .auth
        .user_change_password(by(&root, password))
        .reply()
        .await;
    for client in [&mut client, &mut beside] {
        assert_eq!(
            failure(client.kv.range(by(&reader, one("a/"))).await),
            bad_token()
        );
    }
    assert_eq!(
        failure(client.auth.authenticate(named("reader")).await),
        wrong
    );
    // Whoever is deleted, too; and all when it is switched off.
    let more = token(&mut client, "more").await;
    let gone = pb::AuthUserDeleteRequest {
        name: "more".into(),
    };
    client.auth.user_delete(by(&root, gone)).reply().await;
    assert_eq!(
        failure(client.kv.range(by(&more, one("a/"))).await),
        bad_token()
    );
    client
        .auth
        .auth_disable(by(&root, pb::AuthDisableRequest {}))
        .reply()
        .await;
    client.kv.range(by(&more, one("a/"))).reply().await;
    client
        .auth
        .auth_enable(pb::AuthEnableRequest {})
        .reply()
        .await;
    assert_eq!(
        failure(client.kv.range(by(&root, one("a/"))).await),
        bad_token()
    );
    assert_eq!(undecided(&server), 0);
}

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
