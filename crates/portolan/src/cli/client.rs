//! A small HTTP client for one server.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use portolan_https::{Connector, Trust, connector};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Fault;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for the head of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Time for the answer to what moves a whole catalog.
const LONG: Duration = Duration::from_secs(900);

/// Talks to one server.
#[derive(Debug)]
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    base: String,
}

/// A path with a query, each part escaped.
#[derive(Clone, Debug)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn new(path: &str) -> Path {
        Path(path.to_owned())
    }

    /// Another part of the path.
    pub(super) fn part(mut self, part: &str) -> Path {
        self.0.push('/');
        escape(&mut self.0, part.as_bytes());
        self
    }

    /// A parameter, if there is a value.
    pub(super) fn query(mut self, name: &str, value: Option<&str>) -> Path {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            escape(&mut self.0, value.as_bytes());
        }
        self
    }
}

fn escape(to: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            to.push(char::from(*byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
    }
}

impl Client {
    pub(super) fn new(server: &str, trust: &Trust) -> Result<Client, Fault> {
        // What comes with certificates is meant for TLS.
        let given = trust.certificate.is_some() || !trust.authorities.is_empty();
        let base = match (server.contains("://"), given) {
            (true, _) => server.to_owned(),
            (false, true) => format!("https://{server}"),
            (false, false) => format!("http://{server}"),
        };
        let uri: Uri = base.parse().map_err(|_| {
            Fault::Usage(format!(
                "--server {server:?} is not a URL such as http://127.0.0.1:7500"
            ))
        })?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(Fault::Usage(format!(
                    "--server {server:?} is not a URL that begins with http:// or https://"
                )));
            }
        };
        let connector =
            connector(trust, secure, CONNECT).map_err(|error| Fault::Usage(error.to_string()))?;
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        let base = base.trim_end_matches('/').to_owned();
        Ok(Client { pool, base })
    }

    /// Asks and gives back the answer when its status is good.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &Path,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Fault> {
        self.send_within(ANSWER, method, path, body).await
    }

    /// Asks for something that takes its time.
    pub(super) async fn long(
        &self,
        method: Method,
        path: &Path,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, Fault> {
        collected(self.send_within(LONG, method, path, body).await?).await
    }

    async fn send_within(
        &self,
        limit: std::time::Duration,
        method: Method,
        path: &Path,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Fault> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.base, path.0))
            .header("content-type", "application/json");
        // A secret has no place on a command line, which every process can read.
        let request = match std::env::var("PORTOLAN_TOKEN") {
            Ok(token) if !token.is_empty() => request.header("x-consul-token", token),
            _ => request,
        };
        let request = request
            .body(Full::new(body.into()))
            .map_err(|error| Fault::Usage(format!("{} cannot be asked for: {error}", path.0)))?;
        let unreachable = |why: String| {
            Fault::Unreachable(format!(
                "cannot reach {}: {why}; is `portolan serve` running there?",
                self.base
            ))
        };
        let response = tokio::time::timeout(limit, self.pool.request(request))
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", limit.as_secs())))?
            .map_err(|error| unreachable(innermost(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = collected(response).await?;
        let Ok(error) = serde_json::from_slice::<portolan_api::Error>(&text) else {
            return Err(Fault::Failed(format!(
                "{} answered {status}: {}; is that the native port of a server?",
                self.base,
                String::from_utf8_lossy(&text).trim()
            )));
        };
        Err(match status {
            StatusCode::NOT_FOUND => Fault::NotFound(error.error),
            StatusCode::SERVICE_UNAVAILABLE => Fault::Unavailable(error.error),
            _ => Fault::Failed(error.error),
        })
    }

    /// The bytes of an answer.
    pub(super) async fn bytes(
        &self,
        method: Method,
        path: &Path,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, Fault> {
        collected(self.send(method, path, body).await?).await
    }

    pub(super) async fn get(&self, path: &Path) -> Result<Bytes, Fault> {
        self.bytes(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn with_body(
        &self,
        method: Method,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Bytes, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Failed(error.to_string()))?;
        self.bytes(method, path, body).await
    }
}

async fn collected(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = response.into_body().collect().await;
    Ok(body
        .map_err(|error| Fault::Failed(format!("the answer ended early: {error}")))?
        .to_bytes())
}

/// The words of the error that began it.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::Failed(format!(
            "the server's answer cannot be read: {error}; is it another version?"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_part_by_part() {
        let path = Path::new("/v1/instances")
            .part("consul:n1/web 1")
            .query("at", Some("03:12"))
            .query("group", None)
            .query("x", Some("&"));
        assert_eq!(
            path.0,
            "/v1/instances/consul%3An1%2Fweb%201?at=03%3A12&x=%26"
        );
    }

    #[test]
    fn servers_are_urls() {
        let trust = Trust::default();
        for good in ["http://127.0.0.1:7500", "127.0.0.1:7500/", "http://[::1]:1"] {
            assert!(Client::new(good, &trust).is_ok(), "{good}");
        }
        for wrong in ["ftp://x", "http://"] {
            assert!(
                matches!(Client::new(wrong, &trust), Err(Fault::Usage(_))),
                "{wrong}"
            );
        }
    }
}
