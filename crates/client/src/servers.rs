//! The servers: one is asked, and the next one when it does not answer.

use std::sync::atomic::{AtomicUsize, Ordering};
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
use tokio::time::timeout;

use crate::error::Error;

/// An answer of at most so many bytes is read.
const ANSWER: usize = 256 << 20;

/// The servers of one cluster, or the agent of this machine.
#[derive(Debug)]
pub(crate) struct Servers {
    pool: Pool<Connector, Full<Bytes>>,
    bases: Vec<String>,
    token: Option<String>,
    patience: Duration,
    /// The one that answered last.
    current: AtomicUsize,
}

impl Servers {
    pub(crate) fn new(
        servers: Vec<String>,
        token: Option<String>,
        trust: &Trust,
        patience: Duration,
    ) -> Result<Servers, Error> {
        let mut bases = Vec::with_capacity(servers.len());
        for server in servers {
            let base = match server.contains("://") {
                true => server.clone(),
                false => format!("http://{server}"),
            };
            let uri: Result<Uri, _> = base.parse();
            let scheme = uri.as_ref().ok().and_then(Uri::scheme_str);
            if !matches!(scheme, Some("http" | "https")) {
                return Err(Error::Setup(format!(
                    "{server:?} is not a URL such as http://127.0.0.1:7500"
                )));
            }
            bases.push(base.trim_end_matches('/').to_owned());
        }
        let secure = bases.iter().any(|base| base.starts_with("https:"));
        let connector =
            connector(trust, secure, patience).map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Servers {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            bases,
            token,
            patience,
            current: AtomicUsize::new(0),
        })
    }

    /// Asks one server after the other until one answers with less than 500. A server that cannot now is like one that is not there.
    pub(crate) async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(String, Response<Incoming>), Error> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = Error::Unreachable("no server is named".to_owned());
        for step in 0..self.bases.len() {
            let at = (first + step) % self.bases.len();
            let base = &self.bases[at];
            let unreachable = |why: String| Error::Unreachable(format!("{base}: {why}"));
            let request = self.request(method, base, path, body)?;
            match timeout(self.patience, self.pool.request(request)).await {
                Err(_) => {
                    last = unreachable(format!("no answer within {:?}", self.patience));
                }
                Ok(Err(error)) => last = unreachable(innermost(&error)),
                Ok(Ok(response)) if response.status().is_server_error() => {
                    last = refused(base, response, self.patience).await;
                }
                Ok(Ok(response)) => {
                    self.current.store(at, Ordering::Relaxed);
                    if response.status().is_success() {
                        return Ok((base.clone(), response));
                    }
                    return Err(refused(base, response, self.patience).await);
                }
            }
        }
        Err(last)
    }

    fn request(
        &self,
        method: &Method,
        base: &str,
        path: &str,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(http::header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request.body(Full::new(body.clone()));
        request.map_err(|error| Error::Setup(error.to_string()))
    }

    /// Asks and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        let body = match body {
            None => Bytes::new(),
            Some(body) => serde_json::to_vec(body)
                .map_err(|error| Error::Setup(error.to_string()))?
                .into(),
        };
        let (base, response) = self.send(&method, path, &body).await?;
        let bytes = read(&base, response, self.patience).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Unreadable(base, error.to_string()))
    }
}

/// The bytes of an answer, which may take long as a whole, but not stand still.
async fn read(
    base: &str,
    response: Response<Incoming>,
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let broken = |why: String| Error::Unreachable(format!("{base}: {why}"));
    loop {
        let frame = timeout(patience, body.frame())
            .await
            .map_err(|_| broken(format!("the answer stood still for {patience:?}")))?;
        match frame {
            None => return Ok(bytes),
            Some(Err(error)) => {
                return Err(broken(format!(
                    "the answer ended early: {}",
                    innermost(&error)
                )));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
        }
        if bytes.len() > ANSWER {
            return Err(Error::Unreadable(
                base.to_owned(),
                format!("it has more than {ANSWER} bytes"),
            ));
        }
    }
}

async fn refused(base: &str, response: Response<Incoming>, patience: Duration) -> Error {
    let status = response.status();
    let bytes = match read(base, response, patience).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    let said = serde_json::from_slice::<portolan_api::Error>(&bytes);
    let (message, code) = match said {
        Ok(error) => (error.error, error.code),
        Err(_) => {
            let text = String::from_utf8_lossy(&bytes);
            (
                format!("{base} answered {status}: {}", text.trim()),
                String::new(),
            )
        }
    };
    match status {
        status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
            Error::Unreachable(format!("{base}: {message}"))
        }
        status => Error::Refused {
            status: status.as_u16(),
            code,
            message,
        },
    }
}

/// The words of the error that began it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
