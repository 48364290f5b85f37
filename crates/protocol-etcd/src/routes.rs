//! The methods of the port: a table, and the protocol's index.
//!
//! A method that is not in it is answered `UNIMPLEMENTED`, as by a server without it; so are those listed with `later`, which the protocol
//! has and this server does not have yet.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use portolan_listener::{Action, BoxFuture, Caller, Methods, Request, Resource, Response, Route};
use prost::Message;
use tokio::time::timeout;

use crate::{
    RECEIVE_BYTES, alarm,
    app::{App, allow},
    auth, cluster,
    error::{Failure, INVALID_CLIENT_VERSION, NO_LEADER, TOO_SLOW, unimplemented},
    grpc::{self, Messages},
    health, http as plain, kv, lease, watch,
};

macro_rules! unary {
    ($path:literal, $handler:path) => {
        Route::new(
            Methods::POST,
            concat!("/etcdserverpb.", $path),
            $path,
            |app, request, _| call(app, request, $handler),
        )
    };
}

macro_rules! stream {
    ($path:literal, $handler:path) => {
        Route::new(
            Methods::POST,
            concat!("/etcdserverpb.", $path),
            $path,
            |app, request, _| Box::pin(open(app, request, $handler)),
        )
    };
}

macro_rules! later {
    ($path:literal) => {
        Route::new(
            Methods::POST,
            concat!("/etcdserverpb.", $path),
            $path,
            |_, request, _| Box::pin(not_served(request)),
        )
    };
}

pub(crate) static GRPC: &[Route<App>] = &[
    unary!("KV/Range", kv::range),
    stream!("KV/RangeStream", kv::range_stream),
    unary!("KV/Put", kv::put),
    unary!("KV/DeleteRange", kv::delete_range),
    unary!("KV/Txn", kv::txn),
    unary!("KV/Compact", kv::compact),
    stream!("Watch/Watch", watch::watch),
    unary!("Lease/LeaseGrant", lease::grant),
    unary!("Lease/LeaseRevoke", lease::revoke),
    stream!("Lease/LeaseKeepAlive", lease::keep_alive),
    unary!("Lease/LeaseTimeToLive", lease::time_to_live),
    unary!("Lease/LeaseLeases", lease::leases),
    unary!("Cluster/MemberList", cluster::member_list),
    later!("Cluster/MemberAdd"),
    later!("Cluster/MemberRemove"),
    later!("Cluster/MemberUpdate"),
    later!("Cluster/MemberPromote"),
    unary!("Maintenance/Status", cluster::status),
    unary!("Maintenance/Alarm", alarm::alarm),
    later!("Maintenance/Defragment"),
    later!("Maintenance/Hash"),
    later!("Maintenance/HashKV"),
    later!("Maintenance/Snapshot"),
    later!("Maintenance/MoveLeader"),
    later!("Maintenance/Downgrade"),
    unary!("Auth/AuthStatus", auth::status),
    unary!("Auth/Authenticate", auth::authenticate),
    unary!("Auth/AuthEnable", auth::enable),
    unary!("Auth/AuthDisable", auth::disable),
    later!("Auth/UserAdd"),
    unary!("Auth/UserGet", auth::user_get),
    unary!("Auth/UserList", auth::user_list),
    unary!("Auth/UserDelete", auth::user_delete),
    unary!("Auth/UserChangePassword", auth::user_change_password),
    unary!("Auth/UserGrantRole", auth::user_grant_role),
    unary!("Auth/UserRevokeRole", auth::user_revoke_role),
    later!("Auth/RoleAdd"),
    unary!("Auth/RoleGet", auth::role_get),
    unary!("Auth/RoleList", auth::role_list),
    unary!("Auth/RoleDelete", auth::role_delete),
    unary!("Auth/RoleGrantPermission", auth::role_grant_permission),
    unary!("Auth/RoleRevokePermission", auth::role_revoke_permission),
    Route::new(
        Methods::POST,
        "/grpc.health.v1.Health/Check",
        "Health/Check",
        |app, request, _| call(app, request, health::check),
    ),
    Route::new(
        Methods::POST,
        "/grpc.health.v1.Health/Watch",
        "Health/Watch",
        |app, request, _| Box::pin(health::watch(app, request)),
    ),
];

pub(crate) static HTTP: &[Route<App>] = &[
    Route::new(Methods::ALL, "/version", "version", |app, request, _| {
        Box::pin(plain::version(app, request))
    }),
    Route::new(Methods::ALL, "/health", "health", |app, request, _| {
        Box::pin(plain::health(app, request))
    }),
    Route::new(Methods::ALL, "/livez", "livez", |app, request, params| {
        Box::pin(plain::live(app, request, params))
    }),
    Route::new(
        Methods::ALL,
        "/livez/{check}",
        "livez",
        |app, request, params| Box::pin(plain::live(app, request, params)),
    ),
    Route::new(Methods::ALL, "/readyz", "readyz", |app, request, params| {
        Box::pin(plain::ready(app, request, params))
    }),
    Route::new(
        Methods::ALL,
        "/readyz/{check}",
        "readyz",
        |app, request, params| Box::pin(plain::ready(app, request, params)),
    ),
    Route::new(Methods::ALL, "/metrics", "metrics", |app, request, _| {
        Box::pin(plain::metrics(app, request))
    }),
];

/// Reads the one message of a call and answers it with the one message that `handler` gives, framed.
///
/// What can be done at once is done before the future is made: futures are moved, and this one is made for every call.
fn call<M, H, F>(app: Arc<App>, request: Request, handler: H) -> BoxFuture<Response>
where
    M: Message + Default + 'static,
    H: FnOnce(Arc<App>, Caller, M) -> F + Send + 'static,
    F: Future<Output = Result<Bytes, Failure>> + Send,
{
    let caller = Caller::of(&request);
    if let Err(failure) = metadata(&app, request.headers()) {
        let answer = grpc::unary(allow(&caller, Action::Read, Resource::Public).and(Err(failure)));
        return Box::pin(std::future::ready(answer));
    }
    let mut messages = Messages::new(request.into_body(), RECEIVE_BYTES);
    Box::pin(async move {
        // Nearly always the message is here already.
        let message = match messages.only_here().await {
            Some(message) => message,
            None => Box::pin(only_in_time(&caller, &mut messages)).await,
        };
        grpc::unary(match message {
            Ok(message) => handler(app, caller, message).await,
            // What cannot be read asks for nothing; everybody may know that.
            Err(failure) => allow(&caller, Action::Read, Resource::Public).and(Err(failure)),
        })
    })
}

/// A stream that says nothing more must not stay open for ever.
async fn only_in_time<M: Message + Default>(
    caller: &Caller,
    messages: &mut Messages,
) -> Result<M, Failure> {
    timeout(caller.house().limits().body_timeout, messages.only::<M>())
        .await
        .unwrap_or(Err(TOO_SLOW))
}

/// Hands a request with a stream of messages to `handler`.
async fn open<H, F>(app: Arc<App>, request: Request, handler: H) -> Response
where
    H: FnOnce(Arc<App>, Request) -> F,
    F: Future<Output = Response>,
{
    match metadata(&app, request.headers()) {
        Ok(()) => handler(app, request).await,
        Err(failure) => grpc::unary(
            allow(&Caller::of(&request), Action::Read, Resource::Public).and(Err(failure)),
        ),
    }
}

/// A method that the protocol has and this server has not.
async fn not_served(request: Request) -> Response {
    let allowed = allow(&Caller::of(&request), Action::Read, Resource::Public);
    grpc::unary(allowed.and(Err(unimplemented(request.uri().path()))))
}

/// Everything that no row of the tables leads to.
pub(crate) async fn elsewhere(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return not_served(request).await;
    }
    match allow(&Caller::of(&request), Action::Read, Resource::Public) {
        Ok(()) => plain::not_found(),
        Err(failure) => {
            portolan_listener::text(http::StatusCode::FORBIDDEN, failure.text.into_owned())
        }
    }
}

/// What a client says beside the message: that it wants a leader, and which version it speaks.
fn metadata(app: &App, headers: &HeaderMap) -> Result<(), Failure> {
    if headers
        .get("client-api-version")
        .is_some_and(|version| std::str::from_utf8(version.as_bytes()).is_err())
    {
        return Err(INVALID_CLIENT_VERSION);
    }
    if headers
        .get("hasleader")
        .is_some_and(|wanted| wanted == "true")
        && !app.standing().has_leader
    {
        return Err(NO_LEADER);
    }
    Ok(())
}
