//! The heads of requests and answers, as an intermediary passes them on: RFC 9110, section 7, and RFC 7239.

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::client::Client;
use crate::trace;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const TRACEPARENT: HeaderName = HeaderName::from_static(trace::FIELD);

/// The protocol that a request asks to change to, if it does: `Connection` and `Upgrade` must both say so. HTTP/2 is never one: the gateway
/// speaks for itself how it speaks to endpoints.
pub(crate) fn upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    let named = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    let http2 = wanted.as_bytes().to_ascii_lowercase().starts_with(b"h2");
    (version == Version::HTTP_11 && named && !http2).then(|| wanted.clone())
}

/// The words of a list that may stand in several fields.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

/// Takes away what is said to the next hop only.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = words(headers, &CONNECTION)
            .filter_map(|word| HeaderName::from_bytes(word.as_bytes()).ok())
            // These say what the message is; whoever names them means no good.
            .filter(|name| ![HOST, http::header::CONTENT_LENGTH].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
}

/// How a request is passed on.
pub(crate) struct Passing<'a> {
    pub(crate) client: &'a Client,
    pub(crate) version: Version,
    /// The host that was asked for.
    pub(crate) host: &'a HeaderValue,
    /// The endpoint is spoken to in HTTP/2.
    pub(crate) http2: bool,
    /// What the connection is to change to.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// What was taken from the front of the path.
    pub(crate) prefix: Option<&'a str>,
}

/// Makes a request's head what an endpoint is to see.
pub(crate) fn request(headers: &mut HeaderMap, passing: &Passing<'_>) {
    let trailers = words(headers, &TE).any(|word| word.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    headers.remove(TE);
    // The answer to it was, or will be, given here.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if !passing.http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if let Some(wanted) = passing.upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, wanted.clone());
    }
    match passing.http2 {
        true => {
            headers.remove(HOST);
        }
        false => {
            headers.insert(HOST, passing.host.clone());
            join_cookies(headers);
        }
    }
    let Client {
        address, scheme, ..
    } = passing.client;
    match joined(headers, &X_FORWARDED_FOR, address) {
        Some(value) => headers.insert(X_FORWARDED_FOR, value),
        None => headers.insert(X_FORWARDED_FOR, address.clone()),
    };
    headers.insert(X_FORWARDED_HOST, passing.host.clone());
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    if let Some(forwarded) = passing.client.forwarded(passing.host) {
        let value = joined(headers, &FORWARDED, &forwarded).unwrap_or(forwarded);
        headers.insert(FORWARDED, value);
    }
    headers.remove(X_FORWARDED_PREFIX);
    if let Some(prefix) = passing
        .prefix
        .and_then(|text| HeaderValue::from_str(text).ok())
    {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
    headers.append(VIA, via(passing.version));
    let traced = headers
        .get(TRACEPARENT)
        .is_some_and(|value| trace::trace_id(value.as_bytes()).is_some());
    if !traced && let Some(fresh) = passing.client.fresh_trace() {
        headers.insert(TRACEPARENT, fresh);
        // It belongs to the one that was no good.
        headers.remove("tracestate");
    }
}

/// What several fields say and one more, as one field; none when there was none before.
fn joined(headers: &HeaderMap, name: &HeaderName, more: &HeaderValue) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let mut whole = values.next()?.as_bytes().to_vec();
    for value in values.chain([more]) {
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&whole).ok()
}

/// HTTP/2 may send cookies apart; HTTP/1.1 has them in one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies = headers.get_all(http::header::COOKIE);
    if cookies.iter().count() < 2 {
        return;
    }
    let all: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(http::header::COOKIE, whole);
    }
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 portolan",
        Version::HTTP_10 => "1.0 portolan",
        _ => "1.1 portolan",
    })
}

/// Makes an answer's head what a client is to see.
pub(crate) fn answer(headers: &mut HeaderMap, version: Version, upgraded: Option<HeaderValue>) {
    strip_hop_by_hop(headers);
    headers.append(VIA, via(version));
    if let Some(protocol) = upgraded {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(http::header::COOKIE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';').map(str::trim));
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
