//! DNS over HTTPS (RFC 8484): the message in the query of a GET or in the body of a POST at `/dns-query`.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use portolan_listener::{
    Action, BodyError, Caller, HttpOptions, Request, Resource, Response, TcpPort, read_body,
    serve_http, text,
};
use tokio::task::JoinHandle;

use crate::answer::{Answered, Common, Transport, Worker};
use crate::cache::LocalCache;
use crate::metrics::WorkerCounts;
use crate::wire::freshness;

/// Where messages are taken.
const PATH: &str = "/dns-query";

/// The type of their bodies.
const MESSAGE: &str = "application/dns-message";

/// The longest message.
const LONGEST: usize = u16::MAX as usize;

/// The text of a URL's query part; padding is not to be there (RFC 8484 section 6), and does no harm.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Answers requests until the server drains.
pub(crate) fn serve(common: &Arc<Common>, port: TcpPort) -> JoinHandle<()> {
    let options = HttpOptions {
        body_bytes: Some(LONGEST),
        ..HttpOptions::default()
    };
    let context = common.context.clone();
    let common = Arc::clone(common);
    serve_http(&context, port, options, move |request| {
        answer(Arc::clone(&common), request)
    })
}

async fn answer(common: Arc<Common>, mut request: Request) -> Response {
    let caller = Caller::of(&request);
    // Who may know a name is decided name by name.
    if let Err(denied) = caller.allow(Action::Discover, Resource::Public) {
        return text(StatusCode::FORBIDDEN, format!("{denied}\n"));
    }
    let message = match message(&mut request).await {
        Ok(message) => message,
        Err(refusal) => return *refusal,
    };
    let mut worker = Worker::new(
        Arc::clone(&common),
        LocalCache::brief(),
        Arc::new(WorkerCounts::default()),
    );
    let mut reply = Vec::new();
    // The snapshot is let go before anything is waited for.
    let answered = {
        let state = worker.look();
        worker.answer(&state, &message, caller.peer(), Transport::Tcp, &mut reply)
    };
    common.counts.add(&worker.counts);
    drop(worker);
    match answered {
        Answered::Nothing => {
            return text(StatusCode::BAD_REQUEST, "the message is no query of DNS\n");
        }
        Answered::Reply => {}
        Answered::Later(pending) => reply = pending.finish().await,
    }
    let fresh = freshness(&reply);
    let mut response = Response::new(reply.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    let age = HeaderValue::from_str(&format!("max-age={fresh}"));
    headers.extend(age.ok().map(|age| (CACHE_CONTROL, age)));
    response
}

/// The message of a request, or why there is none.
async fn message(request: &mut Request) -> Result<Vec<u8>, Box<Response>> {
    let refuse = |status, words: &str| Box::new(text(status, format!("{words}\n")));
    if request.uri().path() != PATH {
        return Err(refuse(StatusCode::NOT_FOUND, "DNS is at /dns-query"));
    }
    if request.method() == Method::GET {
        return in_query(request.uri().query().unwrap_or_default())
            .map_err(|words| refuse(StatusCode::BAD_REQUEST, words));
    }
    if request.method() != Method::POST {
        let mut refusal = refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "DNS is asked with GET or POST",
        );
        let allowed = HeaderValue::from_static("GET, POST");
        refusal.headers_mut().insert(ALLOW, allowed);
        return Err(refusal);
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.trim_ascii().eq_ignore_ascii_case(MESSAGE.as_bytes()) {
        return Err(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body has to be application/dns-message",
        ));
    }
    match read_body(request, LONGEST).await {
        Ok(body) => Ok(body.into()),
        Err(error) => {
            let status = match error {
                BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                BodyError::NotGzip | BodyError::Encoding { .. } | BodyError::Broken(_) => {
                    StatusCode::BAD_REQUEST
                }
            };
            Err(refuse(status, &error.to_string()))
        }
    }
}

/// The message in the query part of a URL: `dns=` and its bytes in base64url.
pub(crate) fn in_query(query: &str) -> Result<Vec<u8>, &'static str> {
    let mut parts = query.split('&');
    let text = parts
        .find_map(|part| part.strip_prefix("dns="))
        .ok_or("the query part has no dns=MESSAGE")?;
    if text.len() > LONGEST / 3 * 4 {
        return Err("the message is too long");
    }
    BASE64
        .decode(text)
        .map_err(|_| "the message is not base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_urls() {
        for (query, expected) in [
            ("dns=AAABAAAB", Ok(&[0_u8, 0, 1, 0, 0, 1][..])),
            ("ct&dns=_-8", Ok(&[0xff, 0xef])),
            ("dns=_-8=&x=y", Ok(&[0xff, 0xef])),
            ("dns=", Ok(&[])),
            ("", Err("the query part has no dns=MESSAGE")),
            ("DNS=AAAA", Err("the query part has no dns=MESSAGE")),
            ("dns=+/8", Err("the message is not base64url")),
            ("dns=A", Err("the message is not base64url")),
        ] {
            let found = in_query(query);
            assert_eq!(found.as_deref(), expected.as_deref(), "{query}");
        }
    }
}
