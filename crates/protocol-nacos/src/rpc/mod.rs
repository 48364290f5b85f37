//! The gRPC port: two methods, and behind them Nacos' requests by the name of their type.

pub(crate) mod config;
pub(crate) mod fuzzy;
pub(crate) mod naming;
pub(crate) mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use portolan_catalog::Protocol;
use portolan_grpc::{self as grpc, Code, Head, MessageLimits, Messages, Status};
use portolan_listener::{Action, Caller, Denied, Meter, Metrics, Request, Resource, Response};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::auth;
use crate::error::{Problem, error_response};
use crate::watch::connections::{Connection, connection_id};
use crate::wire::payload::Payload;

/// Bytes of a message beyond those of a configuration's content: JSON escapes may double it, and there are fields beside it.
const OVERHEAD_BYTES: usize = 2 << 20;
/// The client has to set its connection up first, or again.
const UNREGISTERED: i32 = 301;
/// There is no handler for the request.
const NO_HANDLER: i32 = 302;

/// The path of calls.
const REQUEST: &str = "/Request/request";
/// The path of streams.
const STREAM: &str = "/BiRequestStream/requestBiStream";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ServerCheck,
    HealthCheck,
    Instance,
    PersistentInstance,
    BatchInstance,
    ServiceQuery,
    SubscribeService,
    ServiceList,
    NamingFuzzyWatch,
    ConfigQuery,
    ConfigPublish,
    ConfigRemove,
    ConfigBatchListen,
    ConfigFuzzyWatch,
}

/// Every request that is served, by the name of its type.
const KINDS: [(&str, Kind); 14] = [
    ("ServerCheckRequest", Kind::ServerCheck),
    ("HealthCheckRequest", Kind::HealthCheck),
    ("InstanceRequest", Kind::Instance),
    ("PersistentInstanceRequest", Kind::PersistentInstance),
    ("BatchInstanceRequest", Kind::BatchInstance),
    ("ServiceQueryRequest", Kind::ServiceQuery),
    ("SubscribeServiceRequest", Kind::SubscribeService),
    ("ServiceListRequest", Kind::ServiceList),
    ("NamingFuzzyWatchRequest", Kind::NamingFuzzyWatch),
    ("ConfigQueryRequest", Kind::ConfigQuery),
    ("ConfigPublishRequest", Kind::ConfigPublish),
    ("ConfigRemoveRequest", Kind::ConfigRemove),
    ("ConfigBatchListenRequest", Kind::ConfigBatchListen),
    ("ConfigFuzzyWatchRequest", Kind::ConfigFuzzyWatch),
];

/// The requests that are served, by name.
pub(crate) fn requests() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

/// The meters of the port, by request.
#[derive(Debug)]
pub(crate) struct Meters {
    requests: Vec<Meter>,
    stream: Meter,
    unknown: Meter,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics) -> Meters {
        let meter = |name| metrics.meter(Protocol::Nacos, name);
        Meters {
            requests: requests().map(meter).collect(),
            stream: meter("requestBiStream"),
            unknown: meter("UnknownRequest"),
        }
    }

    fn of(&self, kind: &str) -> &Meter {
        let at = KINDS.iter().position(|(name, _)| *name == kind);
        at.and_then(|at| self.requests.get(at))
            .unwrap_or(&self.unknown)
    }
}

/// Answers a request of the port.
pub(crate) async fn answer(app: Arc<App>, meters: Arc<Meters>, request: Request) -> Response {
    let caller = Caller::of(&request);
    let is_call = request.version() == Version::HTTP_2
        && request.method() == Method::POST
        && grpc::is_grpc(request.headers());
    if !is_call {
        return turned_away(
            &caller,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Status::new(
                Code::InvalidArgument,
                "this is Nacos' gRPC port; its HTTP port is 1000 below",
            ),
        );
    }
    let stream = match request.uri().path() {
        REQUEST => false,
        STREAM => true,
        path => {
            let status = Status::saying(Code::Unimplemented, format!("unknown method {path}"));
            return turned_away(&caller, StatusCode::OK, status);
        }
    };
    let head = match Head::of(request.headers(), |_, _| Ok(())) {
        Ok(head) => head,
        Err(refused) => return turned_away(&caller, refused.status, refused.failure),
    };
    let limits = MessageLimits {
        bytes: app.settings.content_bytes.saturating_mul(2) + OVERHEAD_BYTES,
        patience: caller.context().limits().body_timeout,
    };
    let mut messages = Messages::new(request.into_body(), &head, limits);
    if stream {
        caller.measure(&meters.stream);
        let response = stream::open(app, caller, messages).await;
        return head.wrap(response, None);
    }
    let reply = match messages.only::<Payload>().await {
        Ok(payload) => {
            caller.measure(meters.of(payload.kind()));
            let token = payload.header(auth::PARAMETER);
            let user = app.auth.identified(caller.clone(), token);
            let reply = call(&app, &user, &payload);
            let reply = match head.patience {
                Some(patience) => tokio::time::timeout(patience, reply).await.map_err(|_| {
                    Status::new(
                        Code::DeadlineExceeded,
                        "the deadline of the call has passed",
                    )
                }),
                None => Ok(reply.await),
            };
            reply.map(|payload| grpc::frame(&payload))
        }
        Err(status) => Err(status),
    };
    if !caller.decided() && caller.allow(Action::Read, Resource::Public).is_err() {
        return turned_away(
            &caller,
            StatusCode::OK,
            Status::new(Code::PermissionDenied, "permission denied"),
        );
    }
    head.wrap(grpc::unary(reply), None)
}

fn turned_away(caller: &Caller, status: StatusCode, failure: Status) -> Response {
    match caller.allow(Action::Read, Resource::Public) {
        Ok(()) => grpc::refused(status, &failure),
        Err(denied) => grpc::refused(
            StatusCode::OK,
            &Status::saying(Code::PermissionDenied, denied.to_string()),
        ),
    }
}

/// Answers one request.
async fn call(app: &App, caller: &Caller, payload: &Payload) -> Payload {
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == payload.kind()) else {
        return unknown(caller, payload.kind());
    };
    let kind = *kind;
    if kind == Kind::ServerCheck {
        return match caller.allow(Action::Read, Resource::Public) {
            Ok(()) => server_check(app, caller),
            Err(denied) => Problem::from(denied).as_response(),
        };
    }
    let Some(connection) = app.connections.of(caller.peer()) else {
        return match caller.allow(Action::Read, Resource::Public) {
            Ok(()) => error_response(500, UNREGISTERED, "Connection is unregistered."),
            Err(denied) => Problem::from(denied).as_response(),
        };
    };
    connection.touch();
    let request = Call {
        app,
        caller,
        connection: &connection,
        payload,
    };
    let answered = match kind {
        Kind::ServerCheck => Ok(server_check(app, caller)),
        Kind::HealthCheck => request
            .allow_public()
            .map(|()| fine("HealthCheckResponse", "")),
        Kind::Instance => naming::instance(&request).await,
        Kind::PersistentInstance => naming::persistent(&request).await,
        Kind::BatchInstance => naming::batch(&request).await,
        Kind::ServiceQuery => naming::query(&request),
        Kind::SubscribeService => naming::subscribe(&request),
        Kind::ServiceList => naming::list(&request),
        Kind::NamingFuzzyWatch => naming::fuzzy_watch(&request),
        Kind::ConfigQuery => config::query(&request),
        Kind::ConfigPublish => config::publish(&request).await,
        Kind::ConfigRemove => config::remove(&request).await,
        Kind::ConfigBatchListen => config::listen(&request),
        Kind::ConfigFuzzyWatch => config::fuzzy_watch(&request),
    };
    answered.unwrap_or_else(|problem| {
        tracing::debug!(request = payload.kind(), %problem, "answered with an error");
        problem.as_response()
    })
}

/// One call with what it came with.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) caller: &'a Caller,
    pub(crate) connection: &'a Arc<Connection>,
    payload: &'a Payload,
}

impl Call<'_> {
    /// The request's fields.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(self.payload.json()).map_err(|error| {
            Problem::invalid(format!("{} cannot be read: {error}", self.payload.kind()))
        })
    }

    /// A header of the request: beside the JSON, where Java has it, or in it.
    pub(crate) fn header(&self, name: &str) -> String {
        self.payload.header(name).unwrap_or_default().to_owned()
    }

    pub(crate) fn allow_public(&self) -> Result<(), Problem> {
        Ok(self.caller.allow(Action::Read, Resource::Public)?)
    }
}

/// A good answer: the type, and fields of its own, each followed by a comma.
pub(crate) fn fine(kind: &str, fields: &str) -> Payload {
    let body = format!("{{\"resultCode\":200,\"errorCode\":0,{fields}\"success\":true}}");
    Payload::new(kind, body)
}

/// As [`fine`], for fields that are long.
pub(crate) fn fine_bytes(kind: &str, fields: &[u8]) -> Payload {
    let mut body = Vec::with_capacity(fields.len() + 64);
    body.extend_from_slice(b"{\"resultCode\":200,\"errorCode\":0,");
    body.extend_from_slice(fields);
    body.extend_from_slice(b"\"success\":true}");
    Payload::new(kind, Bytes::from(body))
}

fn server_check(app: &App, caller: &Caller) -> Payload {
    let known = app.connections.of(caller.peer());
    let id = known.map_or_else(
        || connection_id(app.registry.now(), caller.peer()),
        |connection| connection.id.clone(),
    );
    fine(
        "ServerCheckResponse",
        &format!("\"connectionId\":\"{id}\",\"supportAbilityNegotiation\":true,"),
    )
}

/// What servers ask one another is nobody else's to ask.
fn unknown(caller: &Caller, kind: &str) -> Payload {
    let decided: Result<(), Denied> = caller.allow(Action::Read, Resource::Public);
    if let Err(denied) = decided {
        return Problem::from(denied).as_response();
    }
    match kind {
        "MemberReportRequest"
        | "DistroDataRequest"
        | "ConfigChangeClusterSyncRequest"
        | "ServerReloadRequest"
        | "ServerLoaderInfoRequest" => {
            error_response(500, 502, &format!(" invoke {kind} from sdk is forbidden"))
        }
        _ => error_response(500, NO_HANDLER, "RequestHandler Not Found"),
    }
}
