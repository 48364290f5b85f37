//! The protocol's index: paths and methods to functions.
//!
//! `/eureka/v2/...` and paths with a final slash are brought to these forms before they are looked up.

use std::future::Future;
use std::sync::Arc;

use http::header::ALLOW;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};
use portolan_listener::{
    Action, Body, BoxFuture, Caller, Methods, Params, Request, Resource, Response, Route, Router,
};

use crate::App;
use crate::error::Problem;
use crate::handlers as h;

const READ: Methods = Methods::GET.or(Methods::HEAD);

macro_rules! route {
    ($methods:expr, $pattern:literal, $name:literal, $handler:expr) => {
        Route::new(
            $methods,
            $pattern,
            $name,
            |app, request, params| -> BoxFuture<Response> {
                Box::pin(answered(app, request, params, $handler))
            },
        )
    };
}

/// Every route.
pub(crate) static ROUTES: &[Route<App>] = &[
    route!(READ, "/eureka/apps", "apps", h::apps),
    route!(READ, "/eureka/apps/delta", "delta", h::delta),
    route!(READ, "/eureka/apps/{app}", "application", h::application),
    route!(Methods::POST, "/eureka/apps/{app}", "register", h::register),
    route!(READ, "/eureka/apps/{app}/{id}", "instance", h::instance),
    route!(Methods::PUT, "/eureka/apps/{app}/{id}", "renew", h::renew),
    route!(
        Methods::DELETE,
        "/eureka/apps/{app}/{id}",
        "cancel",
        h::cancel
    ),
    route!(
        Methods::PUT,
        "/eureka/apps/{app}/{id}/status",
        "status_put",
        h::put_status
    ),
    route!(
        Methods::DELETE,
        "/eureka/apps/{app}/{id}/status",
        "status_delete",
        h::delete_status
    ),
    route!(
        Methods::PUT,
        "/eureka/apps/{app}/{id}/metadata",
        "metadata",
        h::put_metadata
    ),
    route!(
        READ,
        "/eureka/instances/{id}",
        "instance_anywhere",
        h::instance_anywhere
    ),
    route!(READ, "/eureka/vips/{vip}", "vip", h::vip),
    route!(READ, "/eureka/svips/{vip}", "secure_vip", h::secure_vip),
    route!(Methods::PUT, "/eureka/asg/{asg}/status", "asg", h::asg),
    route!(
        Methods::POST,
        "/eureka/peerreplication/batch",
        "peers",
        crate::peers::batch
    ),
    route!(READ, "/eureka/status", "status", h::status),
    route!(READ, "/", "dashboard", h::dashboard),
    route!(READ, "/lastn", "last", h::last),
    route!(READ, "/actuator", "actuator", h::actuator),
    route!(READ, "/actuator/health", "health", h::health),
    route!(READ, "/actuator/info", "info", h::info),
];

/// The path as the client wrote it, where it was brought to another form.
#[derive(Clone, Debug)]
struct Written(Uri);

async fn answered<F, Fut>(app: Arc<App>, request: Request, params: Params, handler: F) -> Response
where
    F: FnOnce(Arc<App>, Request, Params) -> Fut,
    Fut: Future<Output = Result<Response, Problem>>,
{
    let uri = written(&request);
    let accept = h::accept(request.headers());
    let caller = Caller::of(&request);
    match handler(app.clone(), request, params).await {
        Ok(response) => response,
        Err(mut problem) => {
            // A path or query that names nothing was refused before there was anything to ask about.
            if !caller.decided()
                && let Err(denied) = caller.allow(Action::Read, Resource::Public)
            {
                problem = denied.into();
            }
            tracing::debug!(path = uri.path(), %problem, "answered with an error");
            problem.answer(uri.path(), accept.as_deref(), app.now())
        }
    }
}

fn written(request: &Request) -> Uri {
    let written = request.extensions().get::<Written>();
    written.map_or_else(|| request.uri().clone(), |w| w.0.clone())
}

/// Answers any request of the port.
pub(crate) async fn dispatch(
    app: Arc<App>,
    router: Arc<Router<App>>,
    mut request: Request,
) -> Response {
    if let Some(uri) = plain_form(request.uri()) {
        let old = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(Written(old));
    }
    match router.dispatch(app.clone(), request).await {
        Ok(response) => response,
        Err((request, methods)) => {
            let methods = match methods {
                none if none == Methods::default() => none,
                some => some.or(Methods::OPTIONS),
            };
            let problem = match Caller::of(&request).allow(Action::Read, Resource::Public) {
                Err(denied) => denied.into(),
                Ok(()) if methods == Methods::default() => Problem::NotFound,
                Ok(()) if request.method() == Method::OPTIONS => return allowed(methods),
                Ok(()) => Problem::Method(methods),
            };
            let accept = h::accept(request.headers());
            problem.answer(written(&request).path(), accept.as_deref(), app.now())
        }
    }
}

/// The answer to OPTIONS: the methods there are. A real server adds a description in WADL that nobody reads.
fn allowed(methods: Methods) -> Response {
    let mut response = Response::new(Body::empty());
    if let Ok(methods) = HeaderValue::from_str(&methods.to_string()) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// The path without version and final slash; `None` when it has neither.
fn plain_form(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let rest = path
        .strip_prefix("/eureka/v2")
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (prefix, rest) = match rest {
        Some(rest) => ("/eureka", rest),
        None => ("", path),
    };
    let trimmed = rest.strip_suffix('/').unwrap_or(rest);
    if prefix.is_empty() && (trimmed.len() == path.len() || trimmed.is_empty()) {
        return None;
    }
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    let plain = PathAndQuery::try_from(format!("{prefix}{trimmed}{query}")).ok()?;
    parts.path_and_query = Some(plain);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::plain_form;

    #[test]
    fn versions_and_final_slashes_are_other_spellings() {
        let rows = [
            ("/eureka/apps", None),
            ("/", None),
            ("/eureka/apps/", Some("/eureka/apps")),
            ("/eureka/v2/apps", Some("/eureka/apps")),
            ("/eureka/v2/apps/?regions=a", Some("/eureka/apps?regions=a")),
            (
                "/eureka/v2/apps/A/h%2F1:a:1/?x=/",
                Some("/eureka/apps/A/h%2F1:a:1?x=/"),
            ),
            ("/eureka/v2apps", None),
            ("/lastn/", Some("/lastn")),
        ];
        for (path, plain) in rows {
            let uri = plain_form(&path.parse().unwrap());
            assert_eq!(uri.map(|u| u.to_string()).as_deref(), plain, "{path}");
        }
    }
}
