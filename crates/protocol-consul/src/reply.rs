//! Answers: status, headers, body.

use crate::ask::Ask;
use crate::error::Failure;
use crate::wire::Consistency;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use portolan_listener::{Body, Methods, Response, accepts_gzip, gzip};
use serde::Serialize;

/// Bodies shorter than this are not worth packing.
pub(crate) const SHORTEST_PACKED: usize = 1024;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
const DEFAULT_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const AGE: HeaderName = HeaderName::from_static("age");

/// What Consul tells about the freshness of a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    /// Never 0: clients would spin.
    pub(crate) index: u64,
    pub(crate) known_leader: bool,
    pub(crate) consistency: Consistency,
    /// The client asked for `?cached`. Whether this is a hit (a repeated question) or the first one.
    pub(crate) cached: Option<bool>,
}

/// How the client wants its answer written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Indented JSON (`?pretty`).
    pub(crate) pretty: bool,
    /// gzip is taken.
    pub(crate) packed: bool,
}

impl Style {
    pub(crate) fn of(ask: &Ask) -> Self {
        Self {
            pretty: ask.params().has("pretty"),
            packed: accepts_gzip(ask.headers()),
        }
    }
}

/// An answer before it becomes HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// 200 with nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::with_capacity(12),
            body: Bytes::new(),
        }
    }

    /// 200 with JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Failure> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Failure::server(format!("encoding the answer: {error}")))?;
        Ok(Self::encoded(body.into()))
    }

    /// 200 with JSON that is there already.
    pub(crate) fn encoded(body: Bytes) -> Self {
        let mut reply = Self::empty();
        reply.headers.insert(CONTENT_TYPE, JSON);
        reply.body = body;
        reply
    }

    /// 200 with JSON that is gzipped already.
    pub(crate) fn packed(body: Bytes) -> Self {
        Self::encoded(body).header(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    }

    /// Plain text.
    pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let mut reply = Self {
            status,
            headers: HeaderMap::new(),
            body: text.into(),
        };
        reply.headers.insert(CONTENT_TYPE, TEXT);
        reply
    }

    pub(crate) fn truth(value: bool) -> Self {
        Self::encoded(Bytes::from_static(if value { b"true" } else { b"false" }))
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn method_not_allowed(method: &http::Method, allowed: Methods) -> Self {
        let mut reply = Self::text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method {method} not allowed"),
        );
        reply.headers.insert(ALLOW, allow_value(allowed));
        reply
    }

    pub(crate) fn options(allowed: Methods) -> Self {
        Self::empty().header(ALLOW, allow_value(allowed))
    }

    /// Adds the headers of a read.
    pub(crate) fn fresh(mut self, freshness: Freshness) -> Self {
        let headers = &mut self.headers;
        headers.insert(INDEX, HeaderValue::from(freshness.index.max(1)));
        headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
        headers.insert(
            KNOWN_LEADER,
            HeaderValue::from_static(if freshness.known_leader {
                "true"
            } else {
                "false"
            }),
        );
        headers.insert(
            CONSISTENCY,
            HeaderValue::from_static(freshness.consistency.word()),
        );
        headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
        if let Some(hit) = freshness.cached {
            headers.insert(
                CACHE,
                HeaderValue::from_static(if hit { "HIT" } else { "MISS" }),
            );
            if hit {
                headers.insert(AGE, HeaderValue::from_static("0"));
            }
        }
        self
    }

    /// The HTTP answer.
    pub(crate) fn finish(mut self, style: Style) -> Response {
        if style.pretty && self.headers.get(CONTENT_TYPE) == Some(&JSON) {
            self.body = indent(&self.body);
        }
        let headers = &mut self.headers;
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(DEFAULT_POLICY, HeaderValue::from_static("allow"));
        headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
        if style.packed
            && self.body.len() >= SHORTEST_PACKED
            && !headers.contains_key(CONTENT_ENCODING)
        {
            self.body = gzip(&self.body);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::text(failure.status, failure.text.into_owned())
    }
}

fn allow_value(methods: Methods) -> HeaderValue {
    HeaderValue::from_str(&format!("OPTIONS,{methods}"))
        .unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// JSON with four spaces and a final newline, as `?pretty` asks for.
fn indent(body: &Bytes) -> Bytes {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return body.clone();
    };
    let mut out = Vec::with_capacity(body.len() * 2);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if value.serialize(&mut serializer).is_err() {
        return body.clone();
    }
    out.push(b'\n');
    out.into()
}
