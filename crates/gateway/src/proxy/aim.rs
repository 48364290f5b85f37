//! What a request is for: its host, its service, its path there.

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Uri, Version};
use hyper::body::Incoming;
use portolan_catalog::ServiceKey;

use crate::error::Failure;
use crate::front::worker::Worker;
use crate::route::{Target, by_name};

/// What a request is for.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) service: ServiceKey,
    /// The host as it was asked for, with its port.
    pub(crate) host: HeaderValue,
    /// Bytes to be taken from the front of the path.
    strip: usize,
}

/// The host of a request: of its target, which counts more, or of its field.
fn host(request: &Request<Incoming>) -> Result<HeaderValue, Failure> {
    let field = request.headers().get(http::header::HOST);
    let Some(authority) = request.uri().authority() else {
        return Ok(field.cloned().unwrap_or(HeaderValue::from_static("")));
    };
    let text = authority.as_str();
    if text.contains('@') {
        return Err(Failure::Bad("the target names a user"));
    }
    // In HTTP/2 both are the client's own words, and must be the same (RFC 9113, 8.3.1).
    if request.version() == Version::HTTP_2
        && field.is_some_and(|field| !field.as_bytes().eq_ignore_ascii_case(text.as_bytes()))
    {
        return Err(Failure::Bad("the authority and the field host differ"));
    }
    HeaderValue::from_str(text).map_err(|_| Failure::Bad("the host is not one"))
}

/// The host alone, in small letters.
fn bare(host: &HeaderValue) -> Cow<'_, str> {
    let text = host.to_str().unwrap_or_default();
    let name = match text.rfind(':') {
        // An address of IPv6 stands in brackets.
        Some(at) if !text[at..].contains(']') => &text[..at],
        _ => text,
    };
    let name = name.trim_end_matches('.');
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

impl Aim {
    pub(crate) fn of(worker: &Worker, request: &Request<Incoming>) -> Result<Aim, Failure> {
        let host = host(request)?;
        let gateway = &worker.gateway;
        let path = request.uri().path();
        let target = {
            let name = bare(&host);
            let table = gateway.table.load();
            table
                .find(&name, path, request.method(), request.headers())
                .or_else(|| {
                    let settings = &gateway.settings;
                    let registry = &gateway.registry;
                    registry.read(|state| by_name(state, settings, &name, path))
                })
        };
        let Target { service, strip } = target.ok_or(Failure::NoRoute)?;
        Ok(Aim {
            service,
            host,
            strip,
        })
    }

    /// What is taken from the front of the path.
    pub(crate) fn prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.get(..self.strip).filter(|prefix| !prefix.is_empty())
    }

    /// The target that the endpoint is asked for.
    pub(crate) fn uri(&self, asked: &Uri, http2: bool) -> Result<Uri, Failure> {
        const WRONG: Failure = Failure::Bad("the target is not one");
        let whole = asked.path_and_query();
        let whole = match whole {
            Some(whole) if self.strip == 0 => whole.clone(),
            Some(whole) => {
                let rest = whole.as_str().get(self.strip..).ok_or(WRONG)?;
                match rest.starts_with('/') {
                    true => PathAndQuery::try_from(rest),
                    false => PathAndQuery::try_from(format!("/{rest}")),
                }
                .map_err(|_| WRONG)?
            }
            None => PathAndQuery::from_static("/"),
        };
        if !http2 {
            return Ok(Uri::from(whole));
        }
        let authority = Authority::try_from(self.host.as_bytes()).map_err(|_| WRONG)?;
        let built = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(whole)
            .build();
        built.map_err(|_| WRONG)
    }
}
