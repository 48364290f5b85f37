//! The way to an agent: Consul's variables and flags that say where it is, and its HTTP API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use portolan_https::{Connector, Trust, connector};
use serde_json::Value;

use super::Failure;
use crate::go_flags::{Flag, Typed, truth, value};

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Flags of every command that talks to an agent.
pub(super) const FLAGS: &[Flag] = &[
    value("http-addr"),
    value("token"),
    value("token-file"),
    value("datacenter"),
    truth("stale"),
    value("ca-file"),
    value("ca-path"),
    value("client-cert"),
    value("client-key"),
    value("tls-server-name"),
    value("namespace"),
    value("partition"),
];

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::new(format!("the answer cannot be read: {error}")))
    }

    /// `X-Consul-Index`, 0 where there is none.
    pub(super) fn index(&self) -> u64 {
        let header = self.headers.get("x-consul-index");
        let text = header.and_then(|value| value.to_str().ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Talks to one agent.
#[derive(Debug)]
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    base: String,
    token: Option<String>,
    datacenter: Option<String>,
    stale: bool,
}

/// As Go reads a truth.
fn truth_of(name: &str, text: &str) -> Result<bool, Failure> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::new(format!(
            "could not parse {name}: {text:?} is neither true nor false"
        ))),
    }
}

/// Whom a command trusts: flags, and else Consul's variables.
fn trust(typed: &Typed, variables: &BTreeMap<String, String>) -> Result<Trust, Failure> {
    let of = |flag: &str, name: &str| {
        let variable = || variables.get(name).map(String::as_str);
        let given = typed.get(flag).or_else(variable);
        given.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let path = |flag: &str, name: &str| of(flag, name).map(PathBuf::from);
    let verifies = variables
        .get("CONSUL_HTTP_SSL_VERIFY")
        .filter(|text| !text.is_empty())
        .map(|text| truth_of("CONSUL_HTTP_SSL_VERIFY", text))
        .transpose()?;
    Ok(Trust {
        authorities: path("ca-file", "CONSUL_CACERT").into_iter().collect(),
        authority_folders: path("ca-path", "CONSUL_CAPATH").into_iter().collect(),
        certificate: path("client-cert", "CONSUL_CLIENT_CERT"),
        key: path("client-key", "CONSUL_CLIENT_KEY"),
        server_name: of("tls-server-name", "CONSUL_TLS_SERVER_NAME"),
        unverified: verifies == Some(false),
    })
}

impl Client {
    pub(super) fn new(
        typed: &Typed,
        variables: &BTreeMap<String, String>,
    ) -> Result<Client, Failure> {
        let variable = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let address = typed
            .get("http-addr")
            .or(variable("CONSUL_HTTP_ADDR").map(String::as_str))
            .unwrap_or("127.0.0.1:8500");
        if let Some(path) = address.strip_prefix("unix://") {
            return Err(Failure::new(format!(
                "unix sockets such as {path:?} are not spoken by this command yet; use an http:// address"
            )));
        }
        // An address says it itself, or the variable does.
        let ssl = variable("CONSUL_HTTP_SSL").map(|text| truth_of("CONSUL_HTTP_SSL", text));
        let (secure, base) = match address.split_once("://") {
            Some(("https", base)) => (true, base),
            Some(("http", base)) => (false, base),
            _ => (ssl.transpose()?.unwrap_or(false), address),
        };
        let from_file = |path: &str| {
            let text = std::fs::read_to_string(path);
            text.map(|text| text.trim().to_owned())
                .map_err(|error| Failure::new(format!("Error loading token file {path}: {error}")))
        };
        let token = match (typed.get("token"), typed.get("token-file")) {
            (Some(token), _) => Some(token.to_owned()),
            (None, Some(path)) => Some(from_file(path)?),
            (None, None) => match (
                variable("CONSUL_HTTP_TOKEN"),
                variable("CONSUL_HTTP_TOKEN_FILE"),
            ) {
                (Some(token), _) => Some(token.clone()),
                (None, Some(path)) => Some(from_file(path)?),
                (None, None) => None,
            },
        };
        let trust = trust(typed, variables)?;
        let connector = connector(&trust, secure, CONNECT)
            .map_err(|why| Failure::new(format!("Error connecting to Consul agent: {why}")))?;
        let scheme = if secure { "https" } else { "http" };
        Ok(Client {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            base: format!("{scheme}://{}", base.trim_end_matches('/')),
            token: token.filter(|token| !token.is_empty()),
            datacenter: typed.get("datacenter").map(str::to_owned),
            stale: typed.is("stale"),
        })
    }

    /// Asks, and gives back the head of the answer with a body that may go on. `path` is escaped and may have a query.
    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut uri = format!("{}{path}", self.base);
        let mut add = |parameter: &str| {
            uri.push(if uri.contains('?') { '&' } else { '?' });
            uri.push_str(parameter);
        };
        if let Some(datacenter) = &self.datacenter {
            add(&format!("dc={}", escape(datacenter)));
        }
        if self.stale {
            add("stale=");
        }
        let mut request = Request::builder().method(method.clone()).uri(&uri);
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request
            .body(Full::new(body.into()))
            .map_err(|error| Failure::new(format!("{uri} cannot be asked for: {error}")))?;
        let failed = |why: String| {
            let method = method.as_str();
            let verb = format!("{}{}", &method[..1], method[1..].to_ascii_lowercase());
            Failure::new(format!("{verb} {uri:?}: {why}"))
        };
        let response = self.pool.request(request).await;
        response.map_err(|error| {
            let why = innermost(&error);
            // As Go says it, for those who look for the words.
            failed(match why.contains("Connection refused") {
                true => format!(
                    "dial tcp {}: connect: connection refused",
                    self.base.split("://").last().unwrap_or_default()
                ),
                false => why,
            })
        })
    }

    /// Asks, whatever the status of the answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let (head, body) = self.open(method, path, body).await?.into_parts();
        let body = body.collect().await.map_err(|error| {
            Failure::new(format!("the answer ended early: {}", innermost(&error)))
        })?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// Asks; any other status than 200 is an error in the words of Consul's client.
    pub(super) async fn good(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(method, path, body).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            status => Err(unexpected(status, &answer.body)),
        }
    }

    /// The JSON of a `GET`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.good(Method::GET, path, Bytes::new()).await?.json()
    }

    /// A `PUT`.
    pub(super) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer, Failure> {
        self.good(Method::PUT, path, body).await
    }
}

/// What Consul's client says of a status that it did not expect.
pub(super) fn unexpected(status: StatusCode, body: &[u8]) -> Failure {
    Failure::new(format!(
        "Unexpected response code: {} ({})",
        status.as_u16(),
        String::from_utf8_lossy(body).trim_end()
    ))
}

/// One part of a path or query, escaped; slashes stay.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The words of the error that began it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
