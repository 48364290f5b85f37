//! HTTP/1.1 and HTTP/2 on one port, told apart by the first bytes; so gRPC and plain HTTP share it.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::acceptor::{Acceptor, Peer, RefusalForm, accept_loop, all};
use crate::access::Principal;
use crate::authenticator::{Credentials, Unauthenticated};
use crate::authority::AnyAuthority;
use crate::bind::TcpPort;
use crate::body::{Body, BoxError};
use crate::browser::{self, Foreign};
use crate::caller::{Caller, ConnectionContext};
use crate::connection_timeouts::{Busy, ConnectionTimer, Expired, Order, TimerEntry};
use crate::lingering_close::LingeringClose;
use crate::monitored_stream::MonitoredStream;
use crate::request::RequestBody;
use crate::server_context::ServerContext;
use crate::transport::BoxFuture;

/// Streams of a connection that may come to an end because their client went on after the answer. A client that is refused early does so
/// without any malice, over weeks: etcd's own server has no such bound. What none has is a handler that goes on after its stream, so that
/// many of them cost no more than as many requests (CVE-2025-8671).
const LOCAL_RESETS: usize = 1_000_000;

/// A request as handlers get it: bounded body, [`Caller`] in the extensions. Boxed once, where it comes in: it goes
/// through many hands, and each would move half a kilobyte.
pub type Request = Box<http::Request<RequestBody>>;
/// An answer.
pub type Response = http::Response<Body>;
/// How an HTTP port differs from the others.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// No HTTP/2, and so no gRPC: for protocols whose real servers have none without TLS.
    pub http1_only: bool,
    /// Header names of answers begin their words with capitals (`X-Consul-Index`), as Go writes them: scripts look for them so.
    /// Of HTTP/1.1 only; the names of HTTP/2 are small.
    pub title_case: bool,
    /// Bytes of a request's body, if not [`Limits::body_bytes`](crate::Limits::body_bytes): the largest that any route of the port
    /// takes. Routes with less say so in [`read_body`](crate::read_body). gRPC messages are bounded by the gRPC library.
    pub body_bytes: Option<usize>,
    /// The path that takes a snapshot, and with PUT a body of [`Limits::snapshot_bytes`](crate::Limits::snapshot_bytes). None by default.
    pub snapshots: Option<&'static str>,
}

/// An answer of plain text: `text(StatusCode::NOT_FOUND, "no such thing\n")`.
pub fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Accepts connections from `port` until the server drains, and answers each request with `service`.
///
/// The service's future is dropped when the client goes away. A panic in it is answered 500. Must be called inside a Tokio runtime;
/// the handle returned ends with the accept loop, [`ServerContext::finish`] waits for the connections.
pub fn serve_http<F, Fut>(
    context: &ServerContext,
    port: TcpPort,
    options: HttpOptions,
    service: F,
) -> JoinHandle<()>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    // Boxed here, so that hyper's connection is compiled once and not once per protocol.
    serve_boxed(
        context,
        port,
        &options,
        Box::new(move |request| Box::pin(service(request))),
    )
}

type Service = Box<dyn Fn(Request) -> BoxFuture<Response> + Send + Sync>;

fn serve_boxed(
    context: &ServerContext,
    port: TcpPort,
    options: &HttpOptions,
    service: Service,
) -> JoinHandle<()> {
    let limits = port.options.limits.as_ref().unwrap_or(context.limits());
    let mut limits = limits.clone();
    limits.body_bytes = options.body_bytes.unwrap_or(limits.body_bytes);
    let service = Arc::new(service);
    let loops = port.alone().into_iter().map(|port| {
        let plugged = port.options.clone();
        let acceptor = Acceptor::new(context, &port, limits.clone(), plugged, RefusalForm::Http);
        let builder = builder(&acceptor, options);
        let server = Arc::new(Server {
            builder,
            service: service.clone(),
            snapshots: options.snapshots,
        });
        accept_loop(acceptor, port.listener, move |acceptor, peer, entry| {
            serve_one(server.clone(), acceptor, peer, entry)
        })
    });
    all(loops.collect())
}

struct Server {
    builder: Builder<Spawner>,
    service: Arc<Service>,
    snapshots: Option<&'static str>,
}

/// Runs HTTP/2 streams as tasks that the server counts. A stream ends with its connection, so none of them is cut by itself.
#[derive(Clone)]
struct Spawner(Arc<Acceptor>);

impl<Fut> hyper::rt::Executor<Fut> for Spawner
where
    Fut: Future + Send + 'static,
    Fut::Output: Send,
{
    fn execute(&self, stream: Fut) {
        let acceptor = self.0.clone();
        // In a box of its own: the runtime moves what it is given several times, and a stream is large.
        self.0.context.tasks().spawn(Box::pin(async move {
            acceptor.not_panicking(stream).await;
        }));
    }
}

fn builder(acceptor: &Arc<Acceptor>, options: &HttpOptions) -> Builder<Spawner> {
    let limits = &acceptor.limits;
    let mut builder = Builder::new(Spawner(acceptor.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .title_case_headers(options.title_case)
        // The connection timer covers heads; hyper's own timer would also run on connections that are merely quiet.
        .header_read_timeout(None)
        .max_headers(limits.header_count)
        .max_buf_size(limits.header_bytes.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.pending_reset_streams)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    if options.http1_only {
        builder.http1_only()
    } else {
        builder
    }
}

async fn serve_one(server: Arc<Server>, acceptor: Arc<Acceptor>, peer: Peer, entry: TimerEntry) {
    let timer = &entry.timer;
    let Peer {
        stream,
        address: peer,
        principal,
        certificate: _,
    } = peer;
    let stream = LingeringClose::new(stream, timer.clone(), acceptor.clone());
    let stream = MonitoredStream::http(stream, timer.clone());
    let io = TokioIo::new(AnyAuthority::new(stream, acceptor.limits.header_bytes));
    let connection = Arc::new(ConnectionContext::new(
        acceptor.context.clone(),
        acceptor.protocol,
        principal,
    ));
    let shared = Arc::new(HttpConnection {
        server: server.clone(),
        acceptor: acceptor.clone(),
        timer: timer.clone(),
        connection,
        peer,
    });
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    // Only where it was asked for: it keeps more for each connection.
    match acceptor.options.upgrades {
        false => {
            let connection = server.builder.serve_connection(io, service);
            drive(&acceptor, timer, peer, connection).await;
        }
        true => {
            let connection = server.builder.serve_connection_with_upgrades(io, service);
            drive(&acceptor, timer, peer, connection).await;
        }
    }
}

/// Runs a connection to its end, or to the end that its timer orders.
async fn drive<C>(acceptor: &Acceptor, timer: &ConnectionTimer, peer: SocketAddr, connection: C)
where
    C: GracefulConnection,
    C::Error: fmt::Display,
{
    let mut connection = pin!(connection);
    let mut followed = 0;
    let mut grace = pin!(None);
    let ended = poll_fn(|cx| {
        while let Some(order) = timer.order(&mut followed) {
            if let Order::Close(expired) = order {
                acceptor.ended(peer, expired);
                if expired != Expired::Idle {
                    return Poll::Ready(Ok(()));
                }
                // A request may be under way already: finish it, and let the peer know that no further one is read.
                grace.set(Some(sleep(acceptor.limits.header_timeout)));
            }
            connection.as_mut().graceful_shutdown();
        }
        if let Some(over) = grace.as_mut().as_pin_mut()
            && over.poll(cx).is_ready()
        {
            if timer.in_flight() == 0 {
                return Poll::Ready(Ok(()));
            }
            grace.set(Some(sleep(acceptor.limits.header_timeout)));
            cx.waker().wake_by_ref();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        debug!(protocol = %acceptor.protocol, %peer, %error, "connection ended");
    }
}

/// What the requests of one connection share. Its own count of references: those of the port are every core's.
struct HttpConnection {
    server: Arc<Server>,
    acceptor: Arc<Acceptor>,
    timer: Arc<ConnectionTimer>,
    connection: Arc<ConnectionContext>,
    peer: SocketAddr,
}

/// Answers one request, and records it.
async fn answer(
    shared: &HttpConnection,
    request: http::Request<Incoming>,
) -> http::Response<Outgoing> {
    let HttpConnection {
        server,
        acceptor,
        timer,
        connection,
        peer,
    } = shared;
    let busy = timer.begin();
    let began = Instant::now();
    let response = match admit(shared, request) {
        Err(response) => {
            let response = *response;
            acceptor
                .unrouted
                .answered(response.status(), began.elapsed());
            response
        }
        Ok((mut request, principal)) => {
            let caller = Caller::new(connection.clone(), *peer, principal);
            request.extensions_mut().insert(caller.clone());
            let handled = acceptor
                .not_panicking(async { (server.service)(request).await })
                .await;
            let response = match handled {
                Some(response) => {
                    caller.answered();
                    response
                }
                None => text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"),
            };
            let meter = caller.meter().unwrap_or(&acceptor.unrouted);
            let took = began.elapsed();
            match grpc_failed(response.headers()) {
                true => meter.answered_grpc_error(took),
                false => meter.answered(response.status(), took),
            }
            debug!(
                protocol = %acceptor.protocol,
                %peer,
                route = meter.route(),
                status = response.status().as_u16(),
                us = took.as_micros() as u64,
                "answered"
            );
            response
        }
    };
    response.map(|body| Outgoing { body, _busy: busy })
}

/// What the listener itself decides about a request, before its protocol sees it.
fn admit(
    shared: &HttpConnection,
    request: http::Request<Incoming>,
) -> Result<(Request, Principal), Box<Response>> {
    let HttpConnection {
        acceptor, timer, ..
    } = shared;
    acceptor.note_head(&request);
    // gRPC exists over HTTP/2 only, which no browser speaks in the clear: its clients may call this machine what they like, and its
    // messages have bounds of their own. The header alone must not lift those of an ordinary request.
    if request.version() == Version::HTTP_2 && is_grpc(request.headers()) {
        let principal = authenticate(shared, &request).map_err(|refused| {
            let mut response = Response::default();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static("16"));
            if let Ok(text) = HeaderValue::try_from(percent_encoded(&refused.text)) {
                headers.insert("grpc-message", text);
            }
            Box::new(response)
        })?;
        return Ok((Box::new(request.map(RequestBody::incoming)), principal));
    }
    // The streams of HTTP/2 end one by one: a body that nobody reads is told off by the library, and the connection goes on.
    let multiplexed = request.version() == Version::HTTP_2;
    let request = request.map(|body| match (RequestBody::incoming(body), multiplexed) {
        (body, false) => body.tell(timer),
        (body, true) => body,
    });
    let names = acceptor.context.names();
    let checked = browser::check(
        request.method(),
        request.uri(),
        request.headers(),
        acceptor.loopback,
        names,
    );
    if let Err(foreign) = checked {
        acceptor.limited("browser");
        let status = match foreign {
            Foreign::ManyHosts => StatusCode::BAD_REQUEST,
            Foreign::Host(..) | Foreign::Origin(_) | Foreign::CrossSite => StatusCode::FORBIDDEN,
        };
        return Err(Box::new(text(status, format!("{foreign}\n"))));
    }
    let principal = authenticate(shared, &request).map_err(|refused| {
        let mut response = text(StatusCode::UNAUTHORIZED, format!("{refused}\n"));
        if let Some(challenge) = refused.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        Box::new(response)
    })?;
    let restores =
        request.method() == Method::PUT && shared.server.snapshots == Some(request.uri().path());
    let limit = match restores {
        true => acceptor.limits.snapshot_bytes,
        false => acceptor.limits.body_bytes,
    };
    if request.body().size_hint().lower() > limit as u64 {
        acceptor.limited("body_bytes");
        return Err(Box::new(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("request body is larger than {limit} bytes\n"),
        )));
    }
    let request = request
        .map(|body| body.bounded(limit, acceptor.limits.body_timeout, &acceptor.largest_body));
    Ok((Box::new(request), principal))
}

/// Who asks, as the port's authenticator has it; without one, whom the connection's handshake found.
fn authenticate<B>(
    shared: &HttpConnection,
    request: &http::Request<B>,
) -> Result<Principal, Unauthenticated> {
    let known = &shared.connection.principal;
    let Some(authenticator) = &shared.acceptor.options.authenticator else {
        return Ok(known.clone());
    };
    let found = authenticator.authenticate(&Credentials {
        peer: shared.peer,
        connection: known,
        headers: Some(request.headers()),
        uri: Some(request.uri()),
    });
    if found.is_err() {
        shared.acceptor.limited("authentication");
    }
    found
}

/// A text as `grpc-message` carries it.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn grpc_failed(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|status| status != "0")
}

/// An answer's body, which keeps its connection busy until the last of it is handed over.
struct Outgoing {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
