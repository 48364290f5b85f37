//! Answers: status, headers, body.

use crate::error::Failure;
use crate::request::Request;
use crate::sight::Sight;
use crate::wire::Consistency;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use portolan_access::AccessControl;
use portolan_listener::{Body, Methods, Response, accepts_gzip, gzip};
use serde::Serialize;
use std::sync::LazyLock;

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
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const AGE: HeaderName = HeaderName::from_static("age");

/// What Consul tells about the freshness of a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    /// Never 0: clients would spin.
    pub(crate) index: u64,
    pub(crate) known_leader: bool,
    /// How old a stale read may be; 0 for one that the leader confirmed.
    pub(crate) last_contact_ms: u64,
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
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            pretty: request.params().has("pretty"),
            packed: accepts_gzip(request.headers()),
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

    /// 404 for a path under `/v1/` that leads nowhere.
    pub(crate) fn no_such_path() -> Self {
        Self::text(
            StatusCode::NOT_FOUND,
            "Invalid URL path: not a recognized HTTP API endpoint\n",
        )
    }

    /// 301 to another path.
    pub(crate) fn moved(location: &str) -> Self {
        let to = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
        Self::empty()
            .status(StatusCode::MOVED_PERMANENTLY)
            .header(LOCATION, to)
    }

    pub(crate) fn options(allowed: Methods) -> Self {
        Self::empty().header(ALLOW, allow_value(allowed))
    }

    /// 200 with JSON that is there already, and the headers of a read.
    pub(crate) fn encoded_fresh(body: Bytes, freshness: Freshness) -> Self {
        let ordinary = freshness.known_leader
            && freshness.consistency == Consistency::Leader
            && freshness.last_contact_ms == 0
            && freshness.cached.is_none();
        if !ordinary {
            return Self::encoded(body).fresh(freshness);
        }
        let mut headers = ORDINARY.clone();
        headers.insert(INDEX, HeaderValue::from(freshness.index.max(1)));
        Self {
            status: StatusCode::OK,
            headers,
            body,
        }
    }

    /// Adds the headers of a read.
    pub(crate) fn fresh(mut self, freshness: Freshness) -> Self {
        let headers = &mut self.headers;
        headers.insert(INDEX, HeaderValue::from(freshness.index.max(1)));
        contact(headers, freshness.known_leader, freshness.last_contact_ms);
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

    /// Adds what Consul tells of a read that has no index of its own.
    pub(crate) fn read(mut self, known_leader: bool) -> Self {
        contact(&mut self.headers, known_leader, 0);
        self
    }

    /// Says that something was left out, if so.
    pub(crate) fn seen_through(mut self, sight: Option<&Sight>) -> Self {
        if sight.is_some_and(Sight::hid) {
            let yes = HeaderValue::from_static("true");
            self.headers.insert(FILTERED, yes);
        }
        self
    }

    /// The HTTP answer.
    pub(crate) fn finish(mut self, style: Style) -> Response {
        if style.pretty && self.headers.get(CONTENT_TYPE) == Some(&JSON) {
            self.body = indent(&self.body);
        }
        let headers = &mut self.headers;
        if !headers.contains_key(VARY) {
            set_common_headers(headers);
        }
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

/// Says what is allowed that no rule speaks of.
pub(crate) trait ByDefault {
    /// As `access` has it.
    fn by_default(self, access: Option<&AccessControl>) -> Self;
}

impl ByDefault for Response {
    fn by_default(mut self, access: Option<&AccessControl>) -> Self {
        if access.is_some_and(|access| !access.settings().default_allow) {
            let deny = HeaderValue::from_static("deny");
            self.headers_mut().insert(DEFAULT_POLICY, deny);
        }
        self
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::text(failure.status, failure.text.into_owned())
    }
}

/// The headers of nearly every read of the catalog, copied whole; only the index is put in.
static ORDINARY: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut reply = Reply::encoded(Bytes::new()).fresh(Freshness {
        index: 1,
        known_leader: true,
        last_contact_ms: 0,
        consistency: Consistency::Leader,
        cached: None,
    });
    set_common_headers(&mut reply.headers);
    reply.headers
});

/// What every answer carries.
fn set_common_headers(headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(DEFAULT_POLICY, HeaderValue::from_static("allow"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
}

/// How far the leader is, which every read tells.
fn contact(headers: &mut HeaderMap, known_leader: bool, last_contact_ms: u64) {
    headers.insert(LAST_CONTACT, HeaderValue::from(last_contact_ms));
    headers.insert(
        KNOWN_LEADER,
        HeaderValue::from_static(if known_leader { "true" } else { "false" }),
    );
}

fn allow_value(methods: Methods) -> HeaderValue {
    HeaderValue::from_str(&format!("OPTIONS,{methods}"))
        .unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// JSON with four spaces and a final newline, as `?pretty` asks for: the same keys in the same order.
///
/// `body` is JSON of this crate's own making: compact, and well formed.
fn indent(body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() * 2);
    let mut depth = 0;
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 4 * depth));
    };
    let (mut inside, mut escaped) = (false, false);
    for (at, &byte) in body.iter().enumerate() {
        if inside {
            out.push(byte);
            (inside, escaped) = match byte {
                _ if escaped => (true, false),
                b'"' => (false, false),
                b'\\' => (true, true),
                _ => (true, false),
            };
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                // Empty ones stay on their line.
                if !matches!(body.get(at + 1), Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(at.checked_sub(1).map(|at| body[at]), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend(b": "),
            _ => {
                inside = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_keeps_its_order_and_its_texts() {
        let compact = br#"{"b":[],"a":{"x":1.5,"y":"{\"z\\\":[1,2]}"},"c":[true,null],"d":{}}"#;
        let pretty = indent(compact);
        let text = String::from_utf8_lossy(&pretty);
        assert!(
            text.starts_with("{\n    \"b\": [],\n    \"a\": {\n        \"x\": 1.5,\n"),
            "{text}"
        );
        assert!(
            text.ends_with("    \"c\": [\n        true,\n        null\n    ],\n    \"d\": {}\n}\n"),
            "{text}"
        );
        let (was, is): (serde_json::Value, serde_json::Value) = (
            serde_json::from_slice(compact).unwrap(),
            serde_json::from_slice(&pretty).unwrap(),
        );
        assert_eq!(was, is);
        assert_eq!(indent(b"true"), "true\n");
    }
}
