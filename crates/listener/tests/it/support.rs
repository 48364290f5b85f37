//! A small server per test, and clients that speak raw bytes or HTTP/2.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portolan_catalog::Protocol;
use portolan_listener::{
    Action, Caller, HttpOptions, Limits, PortOptions, Request, Resource, Response, ServerContext,
    Settings, bind_tcp, serve_http, text,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const LOOPBACK: &str = "127.0.0.1:0";

/// Longer than any wait of a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn context(limits: Limits) -> ServerContext {
    ServerContext::new(Settings {
        limits,
        node_name: "node-1".to_owned(),
        ..Settings::default()
    })
}

pub(crate) struct Server {
    pub(crate) context: ServerContext,
    pub(crate) address: SocketAddr,
    pub(crate) accepting: JoinHandle<()>,
}

/// Serves `service` as Consul's port under `limits`.
pub(crate) fn serve<F, Fut>(limits: Limits, service: F) -> Server
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    serve_with(limits, HttpOptions::default(), service)
}

pub(crate) fn serve_with<F, Fut>(limits: Limits, options: HttpOptions, service: F) -> Server
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    serve_on(limits, PortOptions::default(), options, service)
}

/// As [`serve_with`], on a port with something plugged into it.
pub(crate) fn serve_on<F, Fut>(
    limits: Limits,
    plugged: PortOptions,
    options: HttpOptions,
    service: F,
) -> Server
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let context = context(limits);
    let mut port = bind_tcp(&context, Protocol::Consul, LOOPBACK.parse().unwrap()).unwrap();
    port.options = plugged;
    let address = port.address;
    let accepting = serve_http(&context, port, options, service);
    Server {
        context,
        address,
        accepting,
    }
}

/// Asks for a decision as every handler does.
pub(crate) fn decide<B>(request: &http::Request<B>) {
    Caller::of(request)
        .allow(Action::Read, Resource::Public)
        .unwrap();
}

/// The simplest honest handler.
pub(crate) async fn hello(request: Request) -> Response {
    decide(&request);
    text(http::StatusCode::OK, "hello\n")
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection, and returns everything until the server closes it.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        rest(&mut stream).await
    }

    /// A GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.raw(format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn http2(
        &self,
    ) -> (
        http2::SendRequest<Full<Bytes>>,
        JoinHandle<Result<(), hyper::Error>>,
    ) {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    /// The value of the first sample that starts with `sample` and contains all `labels`.
    pub(crate) fn metric(&self, sample: &str, labels: &[&str]) -> f64 {
        let text = self.context.metrics().encode();
        let line = text.lines().find(|line| {
            line.starts_with(sample) && labels.iter().all(|label| line.contains(label))
        });
        line.and_then(|line| line.rsplit(' ').next())
            .map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn undecided(&self) -> u64 {
        self.context
            .metrics()
            .answers_without_decision(Protocol::Consul)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.context.metrics().panics(Protocol::Consul)
    }
}

/// Reads until the server closes; a reset is an end as well.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one HTTP/1.1 answer with a content length.
pub(crate) async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let count = timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("an answer in time")
            .unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        answer.extend_from_slice(&buffer[..count]);
    }
}

/// An HTTP/2 request to this path.
pub(crate) fn request(address: SocketAddr, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::builder()
        .uri(format!("http://{address}{path}"))
        .body(Full::default())
        .unwrap()
}

/// An HTTP/2 answer's status and text.
pub(crate) async fn read(
    response: http::Response<hyper::body::Incoming>,
) -> (http::StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits until `fact` holds.
pub(crate) async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !fact() {
            tokio::time::sleep(ms(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}
