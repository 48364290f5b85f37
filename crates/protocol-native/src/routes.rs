//! Paths to functions: the index of the protocol.

use std::sync::Arc;

use http::HeaderValue;
use http::header::ALLOW;
use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Request, Resource, Response, Route, Router,
};

use crate::App;
use crate::error::{Answer, Failure};
use crate::{as_of, guard, health, kv, members, read, route, snapshot, watch, why, write};

macro_rules! route {
    ($methods:expr, $pattern:literal, $name:literal, $handler:path) => {
        Route::new($methods, $pattern, $name, |app, request, params| {
            rendered($handler(app, request, params))
        })
    };
}

const GET: Methods = Methods::GET.or(Methods::HEAD);
const PUT: Methods = Methods::PUT;
const POST: Methods = Methods::POST;
const KEY: Methods = GET.or(PUT).or(Methods::DELETE);

/// Every route.
pub(crate) static ROUTES: &[Route<App>] = &[
    route!(GET, "/healthz", "healthz", health::healthz),
    route!(GET, "/readyz", "readyz", health::readyz),
    route!(GET, "/readyz/{protocol}", "readyz-one", health::readyz_one),
    route!(GET, "/metrics", "metrics", health::metrics),
    route!(GET, "/v1/version", "version", health::version),
    route!(GET, "/v1/ports", "ports", health::ports),
    route!(GET, "/v1/services", "services", read::services),
    route!(GET, "/v1/services/{service}", "service", read::service),
    route!(GET, "/v1/instances", "instances", read::instances),
    route!(GET, "/v1/instances/{*instance}", "instance", read::instance),
    route!(POST, "/v1/register", "register", write::register),
    route!(POST, "/v1/renew", "renew", write::renew),
    route!(POST, "/v1/deregister", "deregister", write::deregister),
    route!(POST, "/v1/maintenance", "maintenance", write::maintenance),
    route!(GET, "/v1/kv/{keyspace}", "kv-list", kv::list),
    route!(KEY, "/v1/kv/{keyspace}/{*key}", "kv", kv::one),
    route!(GET, "/v1/watch", "watch", watch::watch),
    route!(GET, "/v1/why/{service}", "why", why::why),
    route!(GET, "/v1/at", "at", as_of::at),
    route!(GET, "/v1/layouts", "layouts", kv::layouts),
    route!(GET, "/v1/routes", "routes", route::list),
    route!(
        PUT.or(Methods::DELETE),
        "/v1/routes/{route}",
        "route",
        route::one
    ),
    route!(GET, "/v1/guard", "guard", guard::status),
    route!(PUT, "/v1/guard", "guard-set", guard::set),
    route!(GET, "/v1/members", "members", members::list),
    route!(POST, "/v1/cluster", "cluster", members::change),
    route!(GET, "/v1/snapshot", "snapshot", snapshot::snapshot),
    route!(PUT, "/v1/snapshot", "restore", snapshot::restore),
];

fn rendered(answer: impl Future<Output = Answer> + Send + 'static) -> BoxFuture<Response> {
    Box::pin(async move { answer.await.unwrap_or_else(|failure| failure.render()) })
}

/// Answers a request, whatever its path.
pub(crate) async fn dispatch(
    app: Arc<App>,
    router: Arc<Router<App>>,
    request: Request,
) -> Response {
    let (request, methods) = match router.dispatch(app, request).await {
        Ok(response) => return response,
        Err(unknown) => unknown,
    };
    if let Err(denied) = Caller::of(&request).allow(Action::Read, Resource::Public) {
        return Failure::from(denied).render();
    }
    let path = request.uri().path();
    if methods == Methods::default() {
        return Failure::not_found(format!(
            "there is no path {path:?}; see /v1/version for what this is"
        ))
        .render();
    }
    let mut response = Failure::method(format!("{path} answers {methods}")).render();
    if let Ok(methods) = HeaderValue::from_str(&methods.to_string()) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}
