//! The port's index: paths and methods to functions.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Params as Captured, Request, Resource, Response, Route,
    Router, read_body_decoded, text,
};

use crate::accept::Accepted;
use crate::app::App;
use crate::describe::openapi::APPLY;
use crate::describe::{discovery, openapi};
use crate::error::Failure;
use crate::kind::{Access, Kind, find};
use crate::media::{ALL as MEDIA, Media};
use crate::params::Params;
use crate::patch::Patch;
use crate::respond;
use crate::write::{Call, ENDPOINTS_WARNING};
use crate::{params, protobuf, read, review, watch, write, yaml};

const GET: Methods = Methods::GET.or(Methods::HEAD);
const ALL: Methods = GET
    .or(Methods::PUT)
    .or(Methods::POST)
    .or(Methods::DELETE)
    .or(Methods::PATCH);

macro_rules! public {
    ($path:literal, $name:literal, $handler:expr) => {
        Route::new(
            GET,
            $path,
            $name,
            |app, request, captured| -> BoxFuture<Response> {
                Box::pin(async move {
                    let caller = Caller::of(&request);
                    if let Err(denied) = caller.allow(Action::Read, Resource::Public) {
                        return Failure::from(denied).respond();
                    }
                    let handler: fn(&App, &Request, &Captured) -> Response = $handler;
                    handler(&app, &request, &captured)
                })
            },
        )
    };
}

macro_rules! objects {
    ($path:literal, $name:literal) => {
        Route::new(
            ALL,
            $path,
            $name,
            |app, request, captured| -> BoxFuture<Response> {
                Box::pin(objects(app, request, captured))
            },
        )
    };
}

pub(crate) static ROUTES: &[Route<App>] = &[
    public!("/", "root", |_, _, _| root()),
    public!("/api", "discovery", |app, request, _| {
        discovery::root(true, request.headers(), app.address)
    }),
    public!("/apis", "discovery", |app, request, _| {
        discovery::root(false, request.headers(), app.address)
    }),
    public!("/apis/{group}", "discovery", |_, _, captured| {
        found(discovery::group(captured.raw("group")))
    }),
    public!("/api/{version}", "discovery", |_, _, captured| {
        found(discovery::resources("", captured.raw("version")))
    }),
    public!("/apis/{group}/{version}", "discovery", |_, _, captured| {
        found(discovery::resources(
            captured.raw("group"),
            captured.raw("version"),
        ))
    }),
    public!("/version", "version", |_, _, _| {
        respond::json(StatusCode::OK, discovery::version().to_string())
    }),
    public!("/healthz", "health", |app, request, _| health(
        app, request, "healthz"
    )),
    public!("/livez", "health", |app, request, _| health(
        app, request, "livez"
    )),
    public!("/readyz", "health", |app, request, _| health(
        app, request, "readyz"
    )),
    public!("/healthz/{check}", "health", |_, _, captured| one_check(
        captured.raw("check")
    )),
    public!("/livez/{check}", "health", |_, _, captured| one_check(
        captured.raw("check")
    )),
    public!("/readyz/{check}", "health", |_, _, captured| one_check(
        captured.raw("check")
    )),
    public!("/openapi/v2", "openapi", |_, request, _| {
        openapi::version_2(request.headers())
    }),
    public!("/openapi/v3", "openapi", |_, _, _| {
        respond::json(StatusCode::OK, openapi::index().to_string())
    }),
    public!("/openapi/v3/{*path}", "openapi", |_, _, captured| {
        found(openapi::document(captured.raw("path")))
    }),
    objects!("/api/{version}/{resource}", "list"),
    objects!("/api/{version}/{resource}/{name}", "object"),
    objects!(
        "/api/{version}/{resource}/{name}/{subresource}",
        "subresource"
    ),
    objects!("/api/{version}/namespaces/{namespace}/{resource}", "list"),
    objects!(
        "/api/{version}/namespaces/{namespace}/{resource}/{name}",
        "object"
    ),
    objects!(
        "/api/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}",
        "subresource"
    ),
    objects!("/apis/{group}/{version}/{resource}", "list"),
    objects!("/apis/{group}/{version}/{resource}/{name}", "object"),
    objects!(
        "/apis/{group}/{version}/{resource}/{name}/{subresource}",
        "subresource"
    ),
    objects!(
        "/apis/{group}/{version}/namespaces/{namespace}/{resource}",
        "list"
    ),
    objects!(
        "/apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}",
        "object"
    ),
    objects!(
        "/apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}",
        "subresource"
    ),
];

/// Answers one request.
pub(crate) async fn dispatch(
    app: Arc<App>,
    router: Arc<Router<App>>,
    request: Request,
) -> Response {
    match router.dispatch(app, request).await {
        Ok(response) => response,
        Err((request, methods)) => {
            let caller = Caller::of(&request);
            if let Err(denied) = caller.allow(Action::Read, Resource::Public) {
                return Failure::from(denied).respond();
            }
            match methods == Methods::default() {
                true => text(StatusCode::NOT_FOUND, "404 page not found\n"),
                false => Failure::method_not_allowed().respond(),
            }
        }
    }
}

fn found(body: Option<serde_json::Value>) -> Response {
    match body {
        Some(body) => respond::json(StatusCode::OK, body.to_string()),
        None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn root() -> Response {
    let paths: Vec<&str> = ROUTES
        .iter()
        .map(|route| route.pattern)
        .filter(|path| !path.contains('{') && *path != "/")
        .collect();
    respond::json(
        StatusCode::OK,
        serde_json::json!({"paths": paths}).to_string(),
    )
}

/// The checks that health is made of.
const CHECKS: [&str; 3] = ["ping", "log", "etcd"];

fn health(app: &App, request: &Request, what: &str) -> Response {
    let params = Params::read(request.uri().query().unwrap_or_default());
    // Ready is who knows whoever decides.
    let ready = what != "readyz" || app.registry.last_contact().is_some();
    if !ready {
        let body = format!("[+]ping ok\n[-]log failed: no leader\n{what} check failed\n");
        return text(StatusCode::INTERNAL_SERVER_ERROR, body);
    }
    match params.truth("verbose") {
        false => text(StatusCode::OK, "ok"),
        true => {
            let mut body: String = CHECKS
                .iter()
                .map(|check| format!("[+]{check} ok\n"))
                .collect();
            body.push_str(what);
            body.push_str(" check passed\n");
            text(StatusCode::OK, body)
        }
    }
}

fn one_check(name: &str) -> Response {
    match CHECKS.contains(&name) {
        true => text(StatusCode::OK, "ok"),
        false => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// What a path means.
struct Place {
    kind: &'static Kind,
    namespace: Option<String>,
    name: String,
    subresource: Option<&'static str>,
}

fn place(captured: &Captured) -> Result<Place, Failure> {
    let part = |name: &str| {
        let raw = captured.raw(name);
        percent_decode_str(raw).decode_utf8_lossy().into_owned()
    };
    let (mut resource, mut name, mut subresource) =
        (part("resource"), part("name"), part("subresource"));
    let mut namespace = captured.get("namespace").map(|_| part("namespace"));
    // `/namespaces/x/status` looks like a list of things called status.
    if let Some(own) = &namespace
        && name.is_empty()
        && matches!(resource.as_str(), "status" | "finalize")
    {
        (name, subresource) = (own.clone(), resource);
        resource = "namespaces".into();
        namespace = None;
    }
    let kind = find(captured.raw("group"), captured.raw("version"), &resource)
        .ok_or_else(Failure::no_resource)?;
    let subresource = match subresource.as_str() {
        "" => None,
        asked => Some(
            *kind
                .subresources
                .iter()
                .find(|own| **own == asked)
                .ok_or_else(Failure::no_resource)?,
        ),
    };
    let misplaced = !kind.namespaced && namespace.is_some()
        || kind.namespaced && namespace.is_none() && !name.is_empty();
    if misplaced || name.contains('/') || namespace.as_deref().is_some_and(|n| n.contains('/')) {
        return Err(Failure::no_resource());
    }
    Ok(Place {
        kind,
        namespace,
        name,
        subresource,
    })
}

async fn objects(app: Arc<App>, mut request: Request, captured: Captured) -> Response {
    let caller = Caller::of(&request);
    let media = Accepted::of(request.headers(), false).map_or(Media::Json, |of| of.media);
    match answer(app, &caller, &mut request, &captured).await {
        Ok(response) => response,
        Err(failure) => {
            // What cannot be read was refused before there was anything to ask about.
            if !caller.decided()
                && let Err(denied) = caller.allow(Action::Read, Resource::Public)
            {
                return Failure::from(denied).respond_as(media);
            }
            tracing::debug!(path = request.uri().path(), %failure, "answered with an error");
            failure.respond_as(media)
        }
    }
}

async fn answer(
    app: Arc<App>,
    caller: &Caller,
    request: &mut Request,
    captured: &Captured,
) -> Result<Response, Failure> {
    let place = place(captured)?;
    let params = Params::read(request.uri().query().unwrap_or_default());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_watch = is_read && place.name.is_empty() && params.is_watch();
    let accepted = Accepted::of(request.headers(), is_watch)?;
    let is_review = place.kind.access == Access::Review;
    if is_review && is_read {
        return Err(Failure::method_not_allowed());
    }
    if !is_review {
        app.wake().await?;
    }
    let Place {
        kind,
        namespace,
        name,
        subresource,
    } = place;
    let own = namespace.clone().unwrap_or_default();
    let mut response = match *request.method() {
        Method::GET | Method::HEAD if is_watch => {
            return watch::watch(&app, caller, kind, namespace.as_deref(), params, accepted).await;
        }
        Method::GET | Method::HEAD if name.is_empty() => {
            read::list(&app, caller, kind, namespace.as_deref(), &params, accepted).await?
        }
        Method::GET | Method::HEAD => {
            read::get(&app, caller, kind, &own, &name, &params, accepted).await?
        }
        _ => {
            let method = request.method().clone();
            let media = media_type(request);
            let agent = agent(request);
            let body = read_body_decoded(
                request,
                app.settings.object_bytes,
                app.settings.object_bytes,
            )
            .await?;
            let call = Call {
                app,
                caller: caller.clone(),
                kind,
                namespace: own,
                name,
                subresource,
                params,
                accepted,
                agent,
            };
            return change(call, &method, namespace.as_deref(), &media, &body).await;
        }
    };
    if kind.kind == "Endpoints" {
        respond::warn(&mut response, ENDPOINTS_WARNING);
    }
    Ok(response)
}

/// The name of a client's program: what stands before the slash of its `User-Agent`.
fn agent(request: &Request) -> String {
    let value = request.headers().get(USER_AGENT);
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = text.split('/').next().unwrap_or_default();
    name.chars()
        .filter(|c| !c.is_control())
        .take(params::MANAGER)
        .collect()
}

fn media_type(request: &Request) -> String {
    let value = request.headers().get(CONTENT_TYPE);
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let text = text.split(';').next().unwrap_or_default();
    text.trim().to_ascii_lowercase()
}

/// A body as JSON text.
fn as_json<'a>(
    call: &Call,
    method: &Method,
    media: Media,
    body: &'a [u8],
) -> Result<Cow<'a, [u8]>, Failure> {
    let text = match media {
        Media::Json => return Ok(Cow::Borrowed(body)),
        Media::Yaml => {
            yaml::read(body).map_err(|error| Failure::unrecognized(call.kind.kind, &error, body))?
        }
        Media::Protobuf => {
            let name = match *method {
                Method::DELETE => "DeleteOptions",
                _ => call.kind.schema,
            };
            protobuf::read(body, name)
                .map_err(|error| Failure::unrecognized(call.kind.kind, &error, body))?
        }
    };
    Ok(Cow::Owned(text.to_string().into_bytes()))
}

async fn change(
    call: Call,
    method: &Method,
    namespace: Option<&str>,
    media: &str,
    body: &[u8],
) -> Result<Response, Failure> {
    let only_asked = call.kind.access == Access::Review && *method != Method::POST;
    if call.kind.access == Access::Read || only_asked {
        return Err(Failure::method_not_allowed());
    }
    call.params.writes(method, media == APPLY)?;
    let known = match media {
        "" => Some(Media::Json),
        media => Media::of(media),
    };
    let unknown = || Failure::unsupported_media(&MEDIA);
    let read;
    let body = match known {
        Some(known) if !body.is_empty() && *method != Method::PATCH => {
            read = as_json(&call, method, known, body)?;
            &*read
        }
        _ => body,
    };
    match *method {
        Method::PATCH if call.name.is_empty() => Err(Failure::method_not_allowed()),
        Method::PATCH if media == APPLY => write::apply(call, body).await,
        Method::PATCH => match Patch::read(media, body)? {
            Some(patch) => write::patch(call, &patch).await,
            None => Err(Failure::unknown_patch()),
        },
        // A removal may come without a body and with any type.
        Method::DELETE if known.is_none() && !body.is_empty() => Err(unknown()),
        Method::DELETE if call.subresource.is_some() => Err(Failure::method_not_allowed()),
        Method::DELETE if call.name.is_empty() => {
            let whole = call.kind.namespaced && namespace.is_none();
            match whole {
                true => Err(Failure::method_not_allowed()),
                false => write::delete_all(call, namespace, body).await,
            }
        }
        Method::DELETE => write::delete(call, body).await,
        _ if known.is_none() => Err(unknown()),
        Method::POST if call.kind.namespaced && namespace.is_none() => {
            Err(Failure::method_not_allowed())
        }
        Method::POST if call.kind.access == Access::Review && call.name.is_empty() => {
            review::review(&call, body)
        }
        Method::POST => write::create(call, body).await,
        Method::PUT if call.name.is_empty() => Err(Failure::method_not_allowed()),
        Method::PUT => write::update(call, body).await,
        _ => Err(Failure::method_not_allowed()),
    }
}
