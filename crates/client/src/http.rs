//! What carries a request to an endpoint.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portolan_https::{Connector, Trust, connector};

use crate::again::Lent;
use crate::error::Error;

/// Time for a connection to an endpoint.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection is kept that nobody uses: less than the 60 s and more that servers wait.
const IDLE: Duration = Duration::from_secs(50);

/// Carries requests with a body `B` to endpoints; the request names the endpoint in its URI.
pub trait Transport<B>: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes> + Send + Unpin + 'static;
    /// Why there is no answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Sends one.
    fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send + 'static;

    /// Whether nothing of a request was sent.
    fn unsent(error: &Self::Error) -> bool;
}

/// HTTP/1.1 by hyper, with connections that are kept. Bodies are bytes.
#[derive(Clone)]
pub struct Http(Pool<Connector, Lent<Full<Bytes>>>);

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Default for Http {
    fn default() -> Http {
        Http::new()
    }
}

impl Http {
    /// In the clear only.
    pub fn new() -> Http {
        match connector(&Trust::default(), false, CONNECT) {
            Ok(connector) => Http::with(connector),
            // It reads nothing, so there is nothing that it could not read.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// Over TLS as well.
    ///
    /// # Errors
    /// [`Error::Setup`] for a file that cannot be used.
    pub fn trusting(trust: &Trust) -> Result<Http, Error> {
        let connector =
            connector(trust, true, CONNECT).map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Http::with(connector))
    }

    fn with(connector: Connector) -> Http {
        let mut pool = Pool::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new());
        pool.pool_idle_timeout(IDLE);
        Http(pool.build(connector))
    }
}

impl Transport<Lent<Full<Bytes>>> for Http {
    type Body = Incoming;
    type Error = PoolError;

    fn send(
        &self,
        request: Request<Lent<Full<Bytes>>>,
    ) -> impl Future<Output = Result<Response<Incoming>, PoolError>> + Send + 'static {
        self.0.request(request)
    }

    fn unsent(error: &PoolError) -> bool {
        error.is_connect()
    }
}
