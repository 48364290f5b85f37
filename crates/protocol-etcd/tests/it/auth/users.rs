//! Users, roles, passwords and tokens.

use portolan_protocol_etcd::wire::{
    authpb::{UserAddOptions, permission::Type},
    etcdserverpb as pb,
};
use tonic::Code;

use super::*;

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
