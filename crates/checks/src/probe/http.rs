//! An HTTP request: 2xx passes, 429 warns, anything else is critical.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, LOCATION, USER_AGENT as AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use portolan_catalog::Status;
use tokio::time;

use super::dial::dial;
use super::{Finding, NO_TLS};
use crate::output::{Tail, with_tail};

pub(super) const USER_AGENT: &str = "Consul Health Check";
/// Redirects followed, all within one host.
const REDIRECTS: usize = 10;
/// Bytes of an answer that are read; its end is shown, and a check is no download.
const BODY: usize = 1 << 20;

/// What to send.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    pub(super) method: &'a str,
    pub(super) headers: &'a [(Arc<str>, Arc<str>)],
    pub(super) body: &'a str,
    pub(super) follow: bool,
    /// Bytes of the answer's body that are kept.
    pub(super) output: usize,
}

impl Request<'_> {
    fn verb(&self) -> &str {
        if self.method.is_empty() {
            "GET"
        } else {
            self.method
        }
    }

    /// Go's spelling of a method in its errors: `Get "http://..."`.
    fn failed(&self, uri: &Uri, why: &str) -> Finding {
        let verb = self.verb();
        let (head, rest) = verb.split_at(verb.chars().next().map_or(0, char::len_utf8));
        let verb = format!("{}{}", head.to_uppercase(), rest.to_lowercase());
        let uri = uri.to_string();
        Finding::critical(format!("{verb} \"{}\": {why}", without_password(&uri)))
    }
}

pub(super) async fn probe(request: &Request<'_>, timeout: Duration) -> Finding {
    let uri: Uri = match request.url.parse() {
        Ok(uri) => uri,
        Err(error) => return Finding::critical(format!("{:?} is no URL: {error}", request.url)),
    };
    match time::timeout(timeout, follow(request, uri.clone())).await {
        Ok(finding) => finding,
        Err(_) => request.failed(
            &uri,
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
    }
}

async fn follow(request: &Request<'_>, first: Uri) -> Finding {
    let mut uri = first.clone();
    let mut method = match Method::from_bytes(request.verb().as_bytes()) {
        Ok(method) => method,
        Err(_) => return Finding::critical(format!("{:?} is no method", request.verb())),
    };
    let mut body = Bytes::copy_from_slice(request.body.as_bytes());
    for _ in 0..=REDIRECTS {
        let answer = match send(request, &uri, &method, body.clone()).await {
            Ok(answer) => answer,
            Err(why) => return request.failed(&uri, &why),
        };
        let Some(next) = redirect(request, &uri, &answer) else {
            return judge(request, answer).await;
        };
        if authority(&next) != authority(&first) {
            let why = format!("redirect to another host is not followed: {next}");
            return request.failed(&uri, &why);
        }
        // As browsers and Go do: only 307 and 308 repeat the request as it was.
        if !matches!(answer.status().as_u16(), 307 | 308) {
            method = if method == Method::HEAD {
                Method::HEAD
            } else {
                Method::GET
            };
            body = Bytes::new();
        }
        uri = next;
    }
    request.failed(&uri, &format!("stopped after {REDIRECTS} redirects"))
}

fn authority(uri: &Uri) -> (Option<String>, u16) {
    let host = uri.host().map(str::to_ascii_lowercase);
    (host, uri.port_u16().unwrap_or(80))
}

fn redirect(request: &Request<'_>, uri: &Uri, answer: &http::Response<Incoming>) -> Option<Uri> {
    let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !request.follow || !redirects {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    if let Some(absolute) = location
        .parse::<Uri>()
        .ok()
        .filter(|l| l.scheme().is_some())
    {
        return Some(absolute);
    }
    let authority = uri.authority()?;
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let base = uri.path().rsplit_once('/').map_or("", |(base, _)| base);
        format!("{base}/{location}")
    };
    format!("http://{authority}{path}").parse().ok()
}

async fn send(
    request: &Request<'_>,
    uri: &Uri,
    method: &Method,
    body: Bytes,
) -> Result<http::Response<Incoming>, String> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(NO_TLS.to_owned()),
        Some(_) | None => return Err("unsupported protocol scheme".to_owned()),
    }
    let authority = uri.authority().ok_or("no Host in request URL")?;
    let host = authority.host();
    let target = format!("{host}:{}", authority.port_u16().unwrap_or(80));
    let stream = dial(&target).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    // Ends with the exchange: the answer's body is read to its end, or everything is dropped at the timeout.
    let connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut built = http::Request::new(Full::new(body));
    *built.method_mut() = method.clone();
    *built.uri_mut() = path
        .parse()
        .map_err(|_| "the path is malformed".to_owned())?;
    *built.headers_mut() = headers(request, authority.as_str())?;
    let mut answer = sender.send_request(built).await.map_err(|e| reason(&e))?;
    answer.extensions_mut().insert(Arc::new(connection));
    Ok(answer)
}

/// The connection's task lives as long as its answer.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn headers(request: &Request<'_>, authority: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("invalid header name {name:?}"))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| format!("invalid value of header {name:?}"))?;
        headers.append(name, value);
    }
    let mut absent = |name: HeaderName, value: &str| {
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    let (user, bare) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    absent(HOST, bare);
    if let Some(user) = user {
        absent(AUTHORIZATION, &basic(user));
    }
    absent(AGENT, USER_AGENT);
    absent(ACCEPT, "text/plain, text/*, */*");
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

/// The header for the `user:password` of an address, which is percent-encoded there.
fn basic(user: &str) -> String {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain: Vec<u8> = percent_decode_str(name).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    format!("Basic {}", STANDARD.encode(plain))
}

/// An address as everybody may see it.
fn without_password(url: &str) -> Cow<'_, str> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let secret = url[start..end]
        .rfind('@')
        .and_then(|at| Some((start + url[start..start + at].find(':')? + 1, start + at)));
    match secret {
        Some((from, to)) => Cow::Owned(format!("{}***{}", &url[..from], &url[to..])),
        None => Cow::Borrowed(url),
    }
}

fn reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "EOF".to_owned()
    } else {
        error.to_string()
    }
}

async fn judge(request: &Request<'_>, answer: http::Response<Incoming>) -> Finding {
    let code = answer.status();
    let status = match code {
        code if code.is_success() => Status::Passing,
        StatusCode::TOO_MANY_REQUESTS => Status::Warning,
        _ => Status::Critical,
    };
    let phrase = match answer.extensions().get::<ReasonPhrase>() {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
        None => code.canonical_reason().unwrap_or_default().to_owned(),
    };
    let mut tail = Tail::default();
    let mut answer = answer;
    while let Some(Ok(frame)) = answer.body_mut().frame().await {
        if let Some(data) = frame.data_ref() {
            tail.push(data);
        }
        if tail.total() > BODY {
            break;
        }
    }
    let prefix = format!(
        "HTTP {} {}: {} {phrase} Output: ",
        request.verb(),
        without_password(request.url),
        code.as_u16()
    );
    Finding {
        status,
        output: with_tail(&prefix, &tail, request.output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("http://a:b@c/d", "http://a:***@c/d"),
            ("http://a:b:c@d@e:80?x=y:z@", "http://a:***@e:80?x=y:z@"),
            ("http://a@c/d", "http://a@c/d"),
            ("http://c:80/d:e@f", "http://c:80/d:e@f"),
            ("a:b@c", "a:***@c"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
