//! One function per route: asks whether the caller may, reads the request, and words the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use portolan_catalog::{LookupKind, ServiceKey, State, Why};
use portolan_listener::{
    Action, Body, Caller, Params, Request, Resource, Response, accepts_gzip, gzip,
    read_body_decoded,
};

use crate::App;
use crate::error::Problem;
use crate::pages;
use crate::read::{self, Shown};
use crate::translate;
use crate::view;
use crate::wire::{self, Detail, Format, Happened, Shape};
use crate::write::Writer;

type Answer = Result<Response, Problem>;

/// Shorter answers are not worth packing.
const PACK_FROM: usize = 1024;

pub(crate) async fn apps(app: Arc<App>, request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, Resource::AnyService)?;
    let shape = shape(&request)?;
    let packed = accepts_gzip(request.headers());
    let state = app.registry.snapshot();
    let_out(&app, &state)?;
    if !caller.may(Action::Discover, Resource::Services) {
        let list = read::permitted(&state, |service| may(&caller, service));
        let body = wire::encode_applications(shape, &list);
        return Ok(reply(&request, shape.format, body));
    }
    let rope = app.whole.get(state, shape, packed).await;
    Ok(document(shape.format, rope.body(), packed))
}

pub(crate) async fn delta(app: Arc<App>, request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, Resource::AnyService)?;
    let shape = shape(&request)?;
    let packed = accepts_gzip(request.headers());
    let state = app.registry.snapshot();
    let_out(&app, &state)?;
    if !caller.may(Action::Discover, Resource::Services) {
        let permitted = |service: &ServiceKey| may(&caller, service);
        let list = app.delta.list(&app.registry, state.clone(), app.now());
        let mut list = list.await;
        list.applications
            .retain(|application| permitted(&translate::service_of(&application.name)));
        // The hash code of what its reader has once the delta is applied.
        list.hashcode = read::permitted_counts(&state, permitted).hashcode();
        let body = wire::encode_applications(shape, &list);
        return Ok(reply(&request, shape.format, body));
    }
    let bytes = app
        .delta
        .get(&app.registry, state, app.now(), shape, packed)
        .await;
    Ok(document(shape.format, bytes, packed))
}

pub(crate) async fn application(app: Arc<App>, request: Request, params: Params) -> Answer {
    let name = app_name(&params)?;
    allow(&request, Action::Discover, &name)?;
    let shape = shape(&request)?;
    let packed = accepts_gzip(request.headers());
    let_out(&app, &app.registry.snapshot())?;
    let bytes = view::application(&app.registry, &name, shape, packed);
    if bytes.is_empty() {
        return Err(Problem::NotFound);
    }
    Ok(document(shape.format, bytes, packed))
}

pub(crate) async fn instance(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Discover, &name)?;
    let format = format(request.headers())?;
    let state = app.registry.snapshot();
    let shown = read::find(&state, &name, &id).ok_or(Problem::NotFound)?;
    let it = with_renewal(&app, &state, &name, &shown);
    Ok(reply(&request, format, wire::encode_instance(format, &it)))
}

pub(crate) async fn instance_anywhere(app: Arc<App>, request: Request, params: Params) -> Answer {
    let id = decoded(params.raw("id"))?;
    let state = app.registry.snapshot();
    let found = read::find_anywhere(&state, &id);
    match &found {
        Some((name, _)) => allow(&request, Action::Discover, name)?,
        None => Caller::of(&request).allow(Action::Discover, Resource::AnyService)?,
    }
    let format = format(request.headers())?;
    let (name, shown) = found.ok_or(Problem::NotFound)?;
    let it = with_renewal(&app, &state, &name, &shown);
    Ok(reply(&request, format, wire::encode_instance(format, &it)))
}

pub(crate) async fn vip(app: Arc<App>, request: Request, params: Params) -> Answer {
    by_vip(&app, &request, &params, LookupKind::Vip)
}

pub(crate) async fn secure_vip(app: Arc<App>, request: Request, params: Params) -> Answer {
    by_vip(&app, &request, &params, LookupKind::SecureVip)
}

fn by_vip(app: &App, request: &Request, params: &Params, kind: LookupKind) -> Answer {
    let vip = decoded(params.raw("vip"))?;
    allow(request, Action::Discover, &vip)?;
    let shape = shape(request)?;
    let list = read::by_vip(&app.registry.snapshot(), kind, &vip);
    let body = wire::encode_applications(shape, &list);
    Ok(reply(request, shape.format, body))
}

pub(crate) async fn register(app: Arc<App>, mut request: Request, params: Params) -> Answer {
    let name = app_name(&params)?;
    allow(&request, Action::Register, &name)?;
    let content_type = header(request.headers(), CONTENT_TYPE.as_str());
    let format = Format::sent(content_type).ok_or(Problem::NotReadable)?;
    let limits = Caller::of(&request).context().limits().clone();
    let unpacked = limits.body_bytes.min(limits.decompressed_bytes);
    let body = read_body_decoded(&mut request, limits.body_bytes, unpacked).await?;
    let sent =
        wire::decode_instance(format, &body).map_err(|why| Problem::Malformed(format, why))?;
    sent.check_registration(&name)?;
    writer(&app, &request).register(&sent).await?;
    let id = sent.effective_id();
    told(&app, &request, Happened::Register, &name, id);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub(crate) async fn renew(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Register, &name)?;
    let dirty = dirty(&query(&request))?;
    writer(&app, &request).renew(&name, &id, dirty).await?;
    told(&app, &request, Happened::Heartbeat, &name, &id);
    Ok(Response::new(Body::empty()))
}

pub(crate) async fn cancel(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Register, &name)?;
    writer(&app, &request).cancel(&name, &id).await?;
    told(&app, &request, Happened::Cancel, &name, &id);
    Ok(Response::new(Body::empty()))
}

pub(crate) async fn put_status(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Register, &name)?;
    let query = query(&request);
    let (value, dirty) = (first(&query, "value"), dirty(&query)?);
    writer(&app, &request)
        .impose(&name, &id, value, dirty)
        .await?;
    told(&app, &request, Happened::StatusUpdate, &name, &id);
    Ok(Response::new(Body::empty()))
}

pub(crate) async fn delete_status(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Register, &name)?;
    let query = query(&request);
    writer(&app, &request)
        .release(&name, &id, first(&query, "value"))
        .await?;
    told(&app, &request, Happened::DeleteStatusOverride, &name, &id);
    Ok(Response::new(Body::empty()))
}

pub(crate) async fn put_metadata(app: Arc<App>, request: Request, params: Params) -> Answer {
    let (name, id) = (app_name(&params)?, decoded(params.raw("id"))?);
    allow(&request, Action::Register, &name)?;
    // Of a key given twice the first value counts; a value without a key does not.
    let mut pairs = BTreeMap::new();
    for (key, value) in query(&request) {
        if !key.is_empty() {
            pairs.entry(key).or_insert(value);
        }
    }
    let pairs: Vec<_> = pairs.into_iter().collect();
    writer(&app, &request)
        .merge_metadata(&name, &id, &pairs)
        .await?;
    told(&app, &request, Happened::Register, &name, &id);
    Ok(Response::new(Body::empty()))
}

/// Scaling groups exist on EC2 only; elsewhere the real server refuses like this.
pub(crate) async fn asg(_: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Admin, Resource::Operator)?;
    Err(Problem::Bad("this server does not run on EC2".to_owned()))
}

pub(crate) async fn status(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Agent)?;
    let format = format(request.headers())?;
    let up_ms = app.now().0.saturating_sub(app.started.0);
    let state = app.registry.snapshot();
    let body = pages::status(format, &state, &app.address, up_ms);
    Ok(reply(&request, format, body))
}

pub(crate) async fn dashboard(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Discover, Resource::Services)?;
    page(pages::dashboard(&app.registry.snapshot()))
}

pub(crate) async fn last(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Discover, Resource::Services)?;
    page(pages::last(&app.registry))
}

pub(crate) async fn actuator(_: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    let host = header(request.headers(), "host").unwrap_or("localhost");
    let mut out = b"{\"_links\":{".to_vec();
    for (at, (name, path)) in [("self", ""), ("health", "/health"), ("info", "/info")]
        .iter()
        .enumerate()
    {
        out.extend_from_slice(if at == 0 { b"" } else { b"," });
        wire::json::string(&mut out, name);
        out.extend_from_slice(b":{\"href\":");
        wire::json::string(&mut out, &format!("http://{host}/actuator{path}"));
        out.extend_from_slice(b",\"templated\":false}");
    }
    out.extend_from_slice(b"}}");
    actuated(&request, out)
}

pub(crate) async fn health(_: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    actuated(&request, br#"{"status":"UP"}"#.to_vec())
}

pub(crate) async fn info(_: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    actuated(&request, b"{}".to_vec())
}

/// Whether somebody may see a service: asked for each application of a list.
fn may(caller: &Caller, service: &ServiceKey) -> bool {
    let resource = Resource::Service {
        namespace: service.namespace(),
        name: service.name(),
    };
    caller.may(Action::Discover, resource)
}

fn allow(request: &Request, action: Action, app: &str) -> Result<(), Problem> {
    let service = translate::service_of(app);
    let resource = Resource::Service {
        namespace: service.namespace(),
        name: service.name(),
    };
    Ok(Caller::of(request).allow(action, resource)?)
}

/// Has the peers told of what a client did. What a peer told is told to nobody.
fn told(app: &App, request: &Request, happened: Happened, name: &str, id: &str) {
    let of_a_peer = header(request.headers(), "x-netflix-discovery-replication") == Some("true");
    if let Some(peers) = app.peers.as_ref().filter(|_| !of_a_peer) {
        peers.tell(happened, name, id);
    }
}

/// Whether a list may be seen: an empty one would have clients drop what the peers still have.
fn let_out(app: &App, state: &State) -> Result<(), Problem> {
    let peers = app.peers.as_ref();
    match peers.is_some_and(|peers| peers.keeps_back(state)) {
        true => Err(Problem::NotYet),
        false => Ok(()),
    }
}

fn writer<'a>(app: &'a App, request: &Request) -> Writer<'a> {
    Writer {
        registry: &app.registry,
        cause: Caller::of(request).cause(Why::Call),
        now: app.now(),
    }
}

/// One instance with the time of its last renewal, which is not state: the server that keeps the lease is asked.
fn with_renewal(app: &App, state: &State, name: &str, shown: &Shown) -> wire::Instance {
    let mut it = shown.render(state, name);
    let lease = shown.row.lease.as_ref().filter(|_| shown.foreign.is_none());
    if let Some(renewed) = lease.and_then(|lease| app.registry.renewed_at(lease)) {
        it.lease.renewed_at = it.lease.renewed_at.max(renewed.0 as i64);
    }
    it
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    Format::accepted(accept(headers).as_deref()).ok_or(Problem::NotAcceptable)
}

/// What the client accepts, of however many headers; `None` when it does not say.
pub(crate) fn accept(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(ACCEPT).iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn shape(request: &Request) -> Result<Shape, Problem> {
    let detail = Detail::accepted(header(request.headers(), "x-eureka-accept"));
    Ok(Shape::new(format(request.headers())?, detail))
}

fn document(format: Format, body: impl Into<Body>, packed: bool) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn reply(request: &Request, format: Format, body: Vec<u8>) -> Response {
    if body.len() >= PACK_FROM && accepts_gzip(request.headers()) {
        document(format, gzip(&body), true)
    } else {
        document(format, body, false)
    }
}

fn page(html: String) -> Answer {
    let mut response = Response::new(html.into());
    let html = HeaderValue::from_static("text/html;charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    Ok(response)
}

/// Spring's actuator has a type of its own, and calls it JSON for those who ask for that.
fn actuated(request: &Request, body: Vec<u8>) -> Answer {
    let json = accept(request.headers()).is_some_and(|it| it.contains("application/json"));
    let content_type = match json {
        true => "application/json",
        false => "application/vnd.spring-boot.actuator.v3+json",
    };
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

fn app_name(params: &Params) -> Result<String, Problem> {
    Ok(decoded(params.raw("app"))?.to_ascii_uppercase())
}

fn decoded(raw: &str) -> Result<String, Problem> {
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        Ok(_) | Err(_) => Err(Problem::Bad(format!("{raw:?} is not a name"))),
    }
}

/// The pairs of the query, decoded as a form.
fn query(request: &Request) -> Vec<(String, String)> {
    let text = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(key), text(value))
        })
        .collect()
}

fn first<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.as_str())
}

fn dirty(query: &[(String, String)]) -> Result<Option<i64>, Problem> {
    match first(query, "lastDirtyTimestamp").filter(|v| !v.is_empty() && *v != "null") {
        None => Ok(None),
        Some(text) => match text.trim().parse() {
            Ok(dirty) => Ok(Some(dirty)),
            Err(_) => Err(Problem::Bad(format!(
                "lastDirtyTimestamp {text:?} is not a number"
            ))),
        },
    }
}
