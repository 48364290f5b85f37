//! Paths to functions: the index of the protocol.

use std::sync::Arc;

use http::HeaderValue;
use http::header::ALLOW;
use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Request, Resource, Response, Route, Router,
};

use crate::App;
use crate::error::Failure;
use crate::health;
use crate::reply::Answer;

macro_rules! route {
    ($methods:expr, $pattern:literal, $name:literal, $handler:path) => {
        Route::new($methods, $pattern, $name, |app, request, params| {
            rendered($handler(app, request, params))
        })
    };
}

const GET: Methods = Methods::GET.or(Methods::HEAD);

/// Every route.
pub(crate) static ROUTES: &[Route<App>] = &[
    route!(GET, "/healthz", "healthz", health::healthz),
    route!(GET, "/readyz", "readyz", health::readyz),
    route!(GET, "/readyz/{protocol}", "readyz-one", health::readyz_one),
    route!(GET, "/metrics", "metrics", health::metrics),
    route!(GET, "/v1/version", "version", health::version),
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
