//! The way to a peer: one connection that is kept, one request after the other.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::url::PeerUrl;

/// How long making a connection may take, and an answer; the original's times.
const CONNECTING: Duration = Duration::from_secs(1);
const ANSWERING: Duration = Duration::from_secs(5);
/// A whole registry may take longer.
const LISTING: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST: usize = 256 << 20;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nobody is there.
    Unreachable(String),
    /// Somebody is, and does not answer in time.
    Slow,
}

/// The task of a connection, which ends with it.
#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    url: PeerUrl,
    open: Option<(http1::SendRequest<Full<Bytes>>, AbortOnDrop)>,
}

impl Client {
    pub(crate) fn new(url: PeerUrl) -> Client {
        Client { url, open: None }
    }

    /// Tells of a list; the status and the body that are answered.
    pub(crate) async fn replicate(&mut self, list: Vec<u8>) -> Result<(StatusCode, Bytes), Failed> {
        let body = Some(Bytes::from(list));
        self.ask(Method::POST, "peerreplication/batch/", body, ANSWERING)
            .await
    }

    /// Asks for the whole registry.
    pub(crate) async fn applications(&mut self) -> Result<(StatusCode, Bytes), Failed> {
        self.ask(Method::GET, "apps/", None, LISTING).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Failed> {
        // A connection that was kept may be gone by now, which only the next request shows.
        let kept = self.open.is_some();
        let asked = self.once(&method, path, body.clone(), limit).await;
        match asked {
            Err(Failed::Unreachable(_)) if kept => self.once(&method, path, body, limit).await,
            asked => asked,
        }
    }

    async fn once(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Failed> {
        let unreachable = |error: &dyn std::fmt::Display| Failed::Unreachable(error.to_string());
        let (mut sender, connection) = match self.open.take().filter(|(open, _)| open.is_ready()) {
            Some(open) => open,
            None => timeout(CONNECTING, self.connect())
                .await
                .map_err(|_| unreachable(&"no connection in time"))?
                .map_err(|error| unreachable(&error))?,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.path))
            .header(HOST, &self.url.authority)
            .header(ACCEPT, "application/json")
            .header("x-netflix-discovery-replication", "true")
            .header("DiscoveryIdentity-Name", "DefaultServer")
            .header("DiscoveryIdentity-Version", "1.4");
        if let Some(credentials) = &self.url.credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| unreachable(&error))?;
        let answered = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            Ok::<_, hyper::Error>((status, body.map(|body| body.to_bytes())))
        };
        let (status, body) = timeout(limit, answered)
            .await
            .map_err(|_| Failed::Slow)?
            .map_err(|error| unreachable(&error))?;
        let body = body.map_err(|error| unreachable(&error))?;
        self.open = Some((sender, connection));
        Ok((status, body))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the way to a peer")]
    async fn connect(&self) -> io::Result<(http1::SendRequest<Full<Bytes>>, AbortOnDrop)> {
        let stream = TcpStream::connect(&*self.url.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            // The next request finds out.
            let _ended = connection.await;
        });
        Ok((sender, AbortOnDrop(task)))
    }
}
