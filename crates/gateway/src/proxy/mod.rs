//! One request, from its head to the last byte of its answer.

mod aim;
mod attempt;
mod record;
mod tunnel;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use portolan_balance::{Outcome, Tried};
use tokio::time::{Instant, timeout};

use crate::body::{Answer, Outbound, Progress};
use crate::client::Client;
use crate::error::Failure;
use crate::front::worker::Worker;
use crate::headers;
use crate::policy::HashBy;
use crate::upstream::{Chosen, Cluster};

use aim::Aim;
use attempt::{Lost, Sent};
use record::{Open, Record};

/// Tries after the first one.
const RETRIES: u32 = 2;
/// A body of this size is held, so that a request that may be repeated can be.
const HELD_BODY: u64 = 64 << 10;
/// And how long it may take to arrive, as on the other ports.
const HELD_TIME: Duration = Duration::from_secs(20);

/// Answers one request of a client.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let version = request.version();
    let grpc = is_grpc(request.headers());
    let mut open = Open::new(&worker, &client, &request);
    let answered = pass(&worker, &client, request, &mut open).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(failure) => {
            worker.gateway.figures.error(failure.word());
            // What was sent of a body that is none is told by the guard.
            let failure = match client.shared.broken() {
                Some(broken) => Failure::Bad(broken.reason),
                None => failure,
            };
            let response = failure.render(grpc && version == Version::HTTP_2);
            open.failed(response.status(), failure.word());
            response.map(|text| Answer::Own(text, Some(Box::new(open))))
        }
    };
    if worker.is_draining() && version != Version::HTTP_2 {
        let headers = response.headers_mut();
        if !headers.contains_key(http::header::UPGRADE) {
            let close = HeaderValue::from_static("close");
            headers.insert(http::header::CONNECTION, close);
        }
    }
    response
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether doing it twice is as good as once (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

/// Passes a request on.
async fn pass(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    mut request: Request<Incoming>,
    open: &mut Open,
) -> Result<Response<Answer>, Failure> {
    let (method, version) = (request.method().clone(), request.version());
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Failure::Method);
    }
    let aim = Aim::of(worker, &request)?;
    if let Some(response) = last_hop(&mut request) {
        open.answered(response.status());
        return Ok(response);
    }
    let now = worker.now();
    let cluster = worker.cluster(&aim.service, now).ok_or(Failure::NoRoute)?;
    let name = || cluster.name.to_string();
    open.enter(&cluster).map_err(|_| Failure::Full(name()))?;
    cluster.figures.requests.inc();
    cluster.budget.borrow_mut().earn(now);
    let policy = cluster.policy();
    let (key, cookie) = match policy.way.by_key() {
        true => key(&policy.hash_by, client, &request),
        false => (None, None),
    };
    let http2 = policy.grpc || (version == Version::HTTP_2 && is_grpc(request.headers()));
    let wanted = headers::upgrade(request.headers(), version).filter(|_| !http2);
    let upgrading = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
    let progress: Rc<Progress> = Rc::default();
    let (mut parts, body) = request.into_parts();
    headers::request(
        &mut parts.headers,
        &headers::Passing {
            client,
            version,
            host: &aim.host,
            http2,
            upgrade: wanted.as_ref(),
            prefix: aim.prefix(parts.uri.path()),
        },
    );
    open.traced(&parts.headers);
    parts.uri = aim.uri(&parts.uri, http2)?;
    parts.version = match http2 {
        true => Version::HTTP_2,
        false => Version::HTTP_11,
    };
    // Whoever upgrades has something of its own in the extensions; nothing of them is for an endpoint.
    parts.extensions.clear();
    let repeatable = is_idempotent(&method) && upgrading.is_none();
    let body = outbound(body, repeatable, &progress).await?;
    let replayed = repeatable && !matches!(body, Outbound::Streamed(..));
    let limit = policy.timeout.unwrap_or(worker.gateway.settings.timeout);
    let mut request = Request::from_parts(parts, body);
    let mut tried = Tried::default();
    let mut retries = 0;
    let mut last = None;
    let (sent, chosen) = loop {
        let now = worker.now();
        let chosen = cluster.choose(key, &tried, now);
        let mut chosen = chosen.ok_or_else(|| Failure::NoEndpoint(name()))?;
        // Only others are asked once more.
        if let Some(failure) = last.take_if(|_| tried.has(chosen.pick().id)) {
            return Err(failure);
        }
        open.at(&chosen.endpoint);
        tried.add(chosen.pick());
        let spare = replayed.then(|| again(&request));
        let began = Instant::now();
        let mut attempt = attempt::Attempt {
            worker,
            cluster: &cluster,
            endpoint: &chosen.endpoint,
            limit,
            http2,
            progress: &progress,
        };
        let lost = match attempt.send(request, spare).await {
            Ok(sent) => {
                let (took, status) = (began.elapsed(), sent.response.status());
                chosen.endpoint.figures.latency.observe(took);
                chosen.endpoint.figures.answered(status.as_u16());
                let outcome = match status.is_server_error() {
                    true => Outcome::Failed(took),
                    false => Outcome::Answered(took),
                };
                chosen.came(outcome, worker.now());
                break (sent, chosen);
            }
            Err(lost) => lost,
        };
        let Lost {
            failure,
            request: again,
            fault,
        } = lost;
        if fault {
            chosen.endpoint.figures.failures.inc();
            chosen.came(attempt::outcome(&failure, began.elapsed()), worker.now());
        }
        drop(chosen);
        let (Some(again), true) = (again, retries < RETRIES) else {
            return Err(failure);
        };
        if !cluster.has_other(&tried) {
            return Err(failure);
        }
        if !cluster.budget.borrow_mut().spend(worker.now()) {
            cluster.figures.unbudgeted.inc();
            return Err(failure);
        }
        cluster.figures.retries.inc();
        retries += 1;
        open.retried();
        last = Some(failure);
        request = again;
    };
    let passed = Passed {
        worker,
        client,
        cluster: &cluster,
        cookie,
        version,
        method,
    };
    passed.on(sent, chosen, upgrading, open)
}

/// An answer on its way back.
struct Passed<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    cluster: &'a Rc<Cluster>,
    cookie: Option<HeaderValue>,
    version: Version,
    method: Method,
}

impl Passed<'_> {
    fn on(
        self,
        sent: Sent,
        chosen: Chosen,
        upgrading: Option<hyper::upgrade::OnUpgrade>,
        open: &mut Open,
    ) -> Result<Response<Answer>, Failure> {
        let Sent { mut response, link } = sent;
        open.answered(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrading) = upgrading else {
                return Err(Failure::Broken(self.cluster.name.to_string()));
            };
            let protocol = response.headers().get(http::header::UPGRADE).cloned();
            let theirs = hyper::upgrade::on(&mut response);
            let arrived = response.version();
            headers::answer(response.headers_mut(), arrived, protocol);
            *response.version_mut() = Version::HTTP_11;
            self.client.shared.open_tunnel();
            open.over(true, 0);
            let held = (chosen, std::mem::replace(open, Open::none()));
            tokio::task::spawn_local(tunnel::join(upgrading, theirs, held));
            return Ok(response.map(|_| Answer::Own(Bytes::new(), None)));
        }
        let arrived = response.version();
        headers::answer(response.headers_mut(), arrived, None);
        if self.version == Version::HTTP_2 && self.method != Method::HEAD {
            // What a body says of its length is the frames' to say; a wrong one would break the stream.
            let exact = response.body().size_hint().exact();
            if exact.is_none() {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
        }
        if let Some(cookie) = self.cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        *response.version_mut() = match self.version {
            Version::HTTP_2 => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        let record = Record {
            worker: self.worker.clone(),
            chosen,
            link,
            open: RefCell::new(std::mem::replace(open, Open::none())),
        };
        Ok(response.map(|body| Answer::streamed(body, Box::new(record))))
    }
}

/// The request once more; what it is made of may be.
fn again(request: &Request<Outbound>) -> Request<Outbound> {
    let body = match request.body() {
        Outbound::Whole(bytes) => Outbound::Whole(bytes.clone()),
        Outbound::Empty | Outbound::Streamed(..) => Outbound::Empty,
    };
    let mut again = Request::new(body);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    again
}

/// The body as it is sent on; a small one of a request that may be repeated is held.
async fn outbound(
    body: Incoming,
    repeatable: bool,
    progress: &Rc<Progress>,
) -> Result<Outbound, Failure> {
    if body.is_end_stream() {
        return Ok(Outbound::Empty);
    }
    let length = body.size_hint().exact();
    if repeatable && length.is_some_and(|length| length <= HELD_BODY) {
        let whole = timeout(HELD_TIME, body.collect()).await;
        let whole = whole
            .ok()
            .and_then(Result::ok)
            .ok_or(Failure::Bad("the body of the request did not arrive"))?;
        progress.done.set(true);
        return Ok(Outbound::Whole(whole.to_bytes()));
    }
    Ok(Outbound::Streamed(body, progress.clone()))
}

/// `Max-Forwards` (RFC 9110, 7.6.2): who is asked with none left answers.
fn last_hop(request: &mut Request<Incoming>) -> Option<Response<Answer>> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    let left = request.headers().get("max-forwards")?;
    let left: u32 = left.to_str().ok()?.parse().ok()?;
    if left == 0 {
        let mut response = Response::new(Answer::Own(Bytes::new(), None));
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(http::header::ALLOW, allowed);
        return Some(response);
    }
    let value = HeaderValue::from(left - 1);
    request.headers_mut().insert("max-forwards", value);
    None
}

/// What a request's place is found by, and the cookie that is to be set for the next time.
fn key(
    by: &HashBy,
    client: &Client,
    request: &Request<Incoming>,
) -> (Option<u64>, Option<HeaderValue>) {
    let hash = |bytes: &[u8]| Some(portolan_balance::hash(bytes));
    let found = match by {
        HashBy::Source => hash(client.address.as_bytes()),
        HashBy::Header(name) => {
            let value = request.headers().get(name);
            value.and_then(|value| hash(value.as_bytes()))
        }
        HashBy::Path => hash(request.uri().path().as_bytes()),
        HashBy::Query(name) => {
            let pairs = request.uri().query().unwrap_or_default().split('&');
            let mut values = pairs.filter_map(|pair| pair.split_once('='));
            let found = values.find(|(known, _)| known == name);
            found.and_then(|(_, value)| hash(value.as_bytes()))
        }
        HashBy::Cookie(name) => match headers::cookie(request.headers(), name) {
            Some(value) => hash(value.as_bytes()),
            None => {
                let value = format!("{:016x}", client.draw());
                let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
                return (hash(value.as_bytes()), HeaderValue::try_from(text).ok());
            }
        },
    };
    (found, None)
}
