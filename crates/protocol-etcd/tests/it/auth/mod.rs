//! etcd's own users and roles, as its clients meet them.

use portolan_protocol_etcd::wire::{
    authpb::{Permission, permission::Type},
    etcdserverpb as pb,
};
use tonic::{Code, Request};

mod calls;
mod keys;
mod users;

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
