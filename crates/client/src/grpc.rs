//! Requests of tonic's clients, balanced.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::body::Body;

use crate::again::{Lent, Once};
use crate::balanced::{Balanced, CallError, Counted};
use crate::client::Client;
use crate::endpoint::Service;
use crate::http::Transport;
use crate::settings::Settings;

/// How often a connection is asked whether it still lives while calls are under way.
const ALIVE: Duration = Duration::from_secs(20);
/// How long the answer to that may take.
const PONG: Duration = Duration::from_secs(5);

/// Over one connection of HTTP/2 to each endpoint, in the clear.
#[derive(Clone)]
pub struct H2c(Pool<HttpConnector, Lent<Once<Body>>>);

impl fmt::Debug for H2c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("H2c")
    }
}

impl Transport<Lent<Once<Body>>> for H2c {
    type Body = Incoming;
    type Error = PoolError;

    fn send(
        &self,
        request: Request<Lent<Once<Body>>>,
    ) -> impl Future<Output = Result<Response<Incoming>, PoolError>> + Send + 'static {
        self.0.request(request)
    }

    fn unsent(error: &PoolError) -> bool {
        error.is_connect()
    }
}

/// The body of an answer to tonic.
pub type GrpcBody = Counted<Incoming>;

/// A service for the clients that tonic generates: `HealthClient::new(client.grpc(&service, settings))`. A call of which nothing was sent is tried at
/// another endpoint; what was sent is not, since only the caller knows whether it may be done twice.
#[derive(Clone, Debug)]
pub struct Grpc(Balanced<H2c>);

impl Client {
    /// Calls of gRPC, balanced one by one among the endpoints of a service, in the clear.
    pub fn grpc(&self, service: &Service, settings: Settings) -> Grpc {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        connector.set_nodelay(true);
        let mut pool = Pool::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new());
        pool.timer(TokioTimer::new());
        pool.http2_only(true);
        pool.http2_keep_alive_interval(ALIVE);
        pool.http2_keep_alive_timeout(PONG);
        Grpc(self.balanced(service, settings, H2c(pool.build(connector))))
    }
}

impl tower::Service<Request<Body>> for Grpc {
    type Response = Response<GrpcBody>;
    type Error = CallError<PoolError>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.send(request.map(Once)).await })
    }
}
