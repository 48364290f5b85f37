//! The methods of the port: a table, and the protocol's index.
//!
//! A method that is not in it is answered `UNIMPLEMENTED`, as by a server without it; so are those listed with `later`, which the protocol
//! has and this server does not have yet. HTTP/2 with gRPC's content type leads to the methods, and so does the JSON gateway; everything
//! else is plain HTTP.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::{StatusCode, Version, header::CONTENT_TYPE};
use portolan_catalog::Protocol;
use portolan_grpc::{Ending, Head, MessageLimits, Messages, Refused, Status};
use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Metrics, Request, Resource, Response, Route, Router,
};
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    RECEIVE_BYTES, alarm,
    app::{App, allow},
    asker::{Asker, Shown},
    authentication::{self as auth, roles, users},
    cluster, election,
    error::{Code, DEADLINE_EXCEEDED, Failure, INVALID_CLIENT_VERSION, NO_LEADER, unimplemented},
    gateway, grpc, health, http as plain, kv, lease, lock, maintenance, members, watch,
};

macro_rules! unary {
    ($package:literal, $path:literal, $handler:path) => {
        Route::new(
            Methods::POST,
            concat!("/", $package, ".", $path),
            $path,
            |app, request, _| call(app, request, $handler),
        )
    };
    ($path:literal, $handler:path) => {
        unary!("etcdserverpb", $path, $handler)
    };
}

macro_rules! stream {
    ($package:literal, $path:literal, $handler:path) => {
        Route::new(
            Methods::POST,
            concat!("/", $package, ".", $path),
            $path,
            |app, request, _| open(app, request, $handler),
        )
    };
    ($path:literal, $handler:path) => {
        stream!("etcdserverpb", $path, $handler)
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
    unary!("Cluster/MemberList", members::list),
    unary!("Cluster/MemberAdd", members::add),
    unary!("Cluster/MemberRemove", members::remove),
    unary!("Cluster/MemberUpdate", members::update),
    unary!("Cluster/MemberPromote", members::promote),
    unary!("Maintenance/Status", cluster::status),
    unary!("Maintenance/Alarm", alarm::alarm),
    unary!("Maintenance/Defragment", maintenance::defragment),
    unary!("Maintenance/Hash", maintenance::hash),
    unary!("Maintenance/HashKV", maintenance::hash_kv),
    stream!("Maintenance/Snapshot", maintenance::snapshot),
    unary!("Maintenance/MoveLeader", members::move_leader),
    later!("Maintenance/Downgrade"),
    unary!("Auth/AuthStatus", auth::status),
    unary!("Auth/Authenticate", auth::authenticate),
    unary!("Auth/AuthEnable", auth::enable),
    unary!("Auth/AuthDisable", auth::disable),
    unary!("Auth/UserAdd", users::add),
    unary!("Auth/UserGet", users::get),
    unary!("Auth/UserList", users::list),
    unary!("Auth/UserDelete", users::delete),
    unary!("Auth/UserChangePassword", users::change_password),
    unary!("Auth/UserGrantRole", users::grant_role),
    unary!("Auth/UserRevokeRole", users::revoke_role),
    unary!("Auth/RoleAdd", roles::add),
    unary!("Auth/RoleGet", roles::get),
    unary!("Auth/RoleList", roles::list),
    unary!("Auth/RoleDelete", roles::delete),
    unary!("Auth/RoleGrantPermission", roles::grant_permission),
    unary!("Auth/RoleRevokePermission", roles::revoke_permission),
    unary!("v3lockpb", "Lock/Lock", lock::lock),
    unary!("v3lockpb", "Lock/Unlock", lock::unlock),
    unary!("v3electionpb", "Election/Campaign", election::campaign),
    unary!("v3electionpb", "Election/Proclaim", election::proclaim),
    unary!("v3electionpb", "Election/Leader", election::leader),
    stream!("v3electionpb", "Election/Observe", election::observe),
    unary!("v3electionpb", "Election/Resign", election::resign),
    unary!("grpc.health.v1", "Health/Check", health::check),
    stream!("grpc.health.v1", "Health/Watch", health::watch),
    unary!("grpc.health.v1", "Health/List", health::list),
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

/// Both tables, ready to match.
#[derive(Debug)]
pub(crate) struct Tables {
    grpc: Router<App>,
    http: Router<App>,
}

impl Tables {
    pub(crate) fn new(metrics: &Metrics, protocol: Protocol) -> Tables {
        Tables {
            grpc: Router::new(metrics, protocol, &[GRPC]),
            http: Router::new(metrics, protocol, &[HTTP]),
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, app: Arc<App>, request: Request) -> Response {
        let multiplexed = request.version() == Version::HTTP_2;
        if multiplexed && grpc::is_grpc(request.headers()) {
            return match self.grpc.dispatch(app, request).await {
                Ok(response) => response,
                Err((request, methods)) => turned_away(
                    &Caller::of(&request),
                    if methods == Methods::default() {
                        unimplemented(request.uri().path()).into()
                    } else {
                        not_posted(&request)
                    },
                ),
            };
        }
        match request.uri().path() {
            "/v3" => return gateway::to_the_root(&Caller::of(&request)),
            path if gateway::method_of(path).is_some() => {
                return gateway::answer(&self.grpc, app, request).await;
            }
            _ => {}
        }
        match self.http.dispatch(app, request).await {
            Ok(response) => response,
            Err((request, _)) if multiplexed => {
                turned_away(&Caller::of(&request), not_grpc(&request))
            }
            Err((request, _)) => plain::elsewhere(&Caller::of(&request)),
        }
    }
}

/// Reads the one message of a call and answers it with the one message that `handler` gives, framed.
///
/// What can be done at once is done before the future is made: futures are moved, and this one is made for every call.
fn call<M, H, F>(app: Arc<App>, request: Request, handler: H) -> BoxFuture<Response>
where
    M: Message + Default + 'static,
    H: FnOnce(Arc<App>, Asker, M) -> F + Send + 'static,
    F: Future<Output = Result<Bytes, Failure>> + Send,
{
    let caller = Caller::of(&request);
    let Said { head, shown, .. } = match head(&app, &request) {
        Ok(said) => said,
        Err(refused) => return Box::pin(std::future::ready(turned_away(&caller, refused))),
    };
    let mut messages = messages(&caller, request, &head);
    let caller = Asker::new(caller, shown);
    if head.is_plain() {
        return Box::pin(async move {
            grpc::unary(match messages.only().await {
                Ok(message) => handler(app, caller, message).await,
                Err(status) => unread(&caller, status.into()),
            })
        });
    }
    Box::pin(async move {
        let asking = caller.clone();
        let reply = async {
            match messages.only().await {
                Ok(message) => handler(app, caller, message).await,
                Err(status) => unread(&caller, status.into()),
            }
        };
        let reply = match head.patience {
            Some(patience) => timeout(patience, reply)
                .await
                .unwrap_or_else(|_| unread(&asking, DEADLINE_EXCEEDED)),
            None => reply.await,
        };
        head.wrap(grpc::unary(reply), None)
    })
}

/// What cannot be read, or not in time, asks for nothing; everybody may know that.
fn unread<T>(caller: &Caller, failure: Failure) -> Result<T, Failure> {
    allow(caller, Action::Read, Resource::Public).and(Err(failure))
}

/// Hands a request with a stream of messages to `handler`.
fn open<H, F>(app: Arc<App>, request: Request, handler: H) -> BoxFuture<Response>
where
    H: FnOnce(Arc<App>, Asker, Messages) -> F + Send + 'static,
    F: Future<Output = Response> + Send,
{
    let caller = Caller::of(&request);
    let Said {
        head,
        leader,
        shown,
    } = match head(&app, &request) {
        Ok(said) => said,
        Err(refused) => return Box::pin(std::future::ready(turned_away(&caller, refused))),
    };
    let messages = messages(&caller, request, &head);
    let caller = Asker::new(caller, shown);
    Box::pin(async move {
        let deadline = head.patience.map(|patience| Instant::now() + patience);
        let answer = handler(app.clone(), caller.clone(), messages);
        let response = match deadline {
            Some(deadline) => timeout_at(deadline, answer)
                .await
                .unwrap_or_else(|_| grpc::unary(unread(&caller, DEADLINE_EXCEEDED))),
            None => answer.await,
        };
        head.wrap(response, ending(&app, deadline, leader))
    })
}

/// What ends a stream before its time: the client's deadline, and the loss of the leader for whoever wants one.
fn ending(app: &Arc<App>, deadline: Option<Instant>, leader: bool) -> Option<Ending> {
    if deadline.is_none() && !leader {
        return None;
    }
    let app = app.clone();
    Some(Box::pin(async move {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = late => DEADLINE_EXCEEDED.into(),
            () = app.leaderless(), if leader => NO_LEADER.into(),
        }
    }))
}

/// A method that the protocol has and this server has not.
async fn not_served(request: Request) -> Response {
    turned_away(
        &Caller::of(&request),
        unimplemented(request.uri().path()).into(),
    )
}

fn not_posted(request: &Request) -> Refused {
    Refused {
        status: StatusCode::METHOD_NOT_ALLOWED,
        failure: Status::saying(
            Code::Internal,
            format!(
                "Received a HEADERS frame with :method {:?} which should be POST",
                request.method().as_str()
            ),
        ),
    }
}

/// HTTP/2 is taken for gRPC, unless the path is one of plain HTTP.
fn not_grpc(request: &Request) -> Refused {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.map_or_else(Default::default, |kind| {
        String::from_utf8_lossy(kind.as_bytes())
    });
    Refused {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        failure: Status::saying(
            Code::InvalidArgument,
            format!("invalid gRPC request content-type {kind:?}"),
        ),
    }
}

fn turned_away(caller: &Caller, refused: Refused) -> Response {
    match allow(caller, Action::Read, Resource::Public) {
        Ok(()) => grpc::refused(refused.status, &refused.failure),
        Err(failure) => grpc::unary(Err(failure)),
    }
}

/// What a call says before its message.
struct Said {
    head: Head,
    /// It wants a leader to be there all the time.
    leader: bool,
    /// Its token, which counts once authentication is on.
    shown: Shown,
}

/// What a call says before its message, if it can be answered at all.
fn head(app: &App, request: &Request) -> Result<Said, Refused> {
    let (mut leader, mut shown) = (false, Shown::default());
    let head = Head::of(request.headers(), |name, value| match name {
        "hasleader" => {
            leader = value == "true";
            Ok(())
        }
        "client-api-version" if std::str::from_utf8(value.as_bytes()).is_err() => {
            Err(INVALID_CLIENT_VERSION.into())
        }
        name => {
            shown.note(name, value);
            Ok(())
        }
    })?;
    if leader && !app.standing().has_leader {
        return Err(NO_LEADER.into());
    }
    Ok(Said {
        head,
        leader,
        shown,
    })
}

fn messages(caller: &Caller, request: Request, head: &Head) -> Messages {
    let limits = MessageLimits {
        bytes: RECEIVE_BYTES,
        patience: caller.context().limits().body_timeout,
    };
    Messages::new(request.into_body(), head, limits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::SERVICES;

    #[test]
    fn the_services_are_those_of_the_table() {
        let of_route = |route: &Route<App>| {
            let (service, _) = route.pattern.trim_start_matches('/').split_once('/')?;
            Some(service.to_owned())
        };
        let of_table: BTreeSet<String> = GRPC.iter().filter_map(of_route).collect();
        let listed: BTreeSet<String> = SERVICES.iter().map(ToString::to_string).collect();
        assert_eq!(of_table, listed);
    }
}
