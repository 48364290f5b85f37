//! Requests to a service, each at an endpoint of it.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either as Done, select};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use portolan_balance::{Tried, hash};
use thiserror::Error as Failure;
use tokio::time::{sleep, timeout};

use crate::again::{Again, Back, Lent};
use crate::discovery::Discovery;
use crate::endpoint::{Endpoint, Service};
use crate::http::Transport;
use crate::picker::{Entered, Flight, Picker};
use crate::settings::Settings;

/// How long the first list of endpoints may take.
const FIRST: std::time::Duration = std::time::Duration::from_secs(5);

/// A service as one that can be called. The URI of a request says what is asked for; its host, if it has one, is replaced by the endpoint's and
/// stays in `Host` where the caller sets that. Clones share endpoints, breaker and budget.
#[derive(Clone, Debug)]
pub struct Balanced<T> {
    picker: Arc<Picker>,
    discovery: Discovery,
    settings: Arc<Settings>,
    transport: T,
}

/// Why there is no answer.
#[derive(Debug, Failure)]
pub enum CallError<E> {
    /// The service has no endpoint that may be asked.
    #[error("no endpoint of {0} may be asked")]
    NoEndpoint(Service),
    /// Too many requests are under way.
    #[error("too many requests to {0} are under way")]
    Overloaded(Service),
    /// Time is over.
    #[error("no answer of {0} in time")]
    Late(Service),
    /// The last try ended so.
    #[error(transparent)]
    Transport(E),
}

/// The body of an answer; the request counts as under way until its end.
pub type Counted<B> = Either<Flying<B>, Full<Bytes>>;

type Answer<T, B> = Result<
    Response<Counted<<T as Transport<Lent<B>>>::Body>>,
    CallError<<T as Transport<Lent<B>>>::Error>,
>;

impl<T> Balanced<T> {
    pub(crate) fn new(
        discovery: Discovery,
        place: (&str, &str),
        settings: Settings,
        transport: T,
    ) -> Balanced<T> {
        Balanced {
            picker: Arc::new(Picker::new(discovery.receiver(), place, &settings)),
            discovery,
            settings: Arc::new(settings),
            transport,
        }
    }

    /// The service that is asked.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Requests under way at an endpoint, their answers' bodies included. Once it is 0 for one that is not listed any more, it stays so.
    pub fn in_flight(&self, endpoint: &Endpoint) -> u32 {
        self.picker.in_flight(endpoint.id())
    }

    /// Sends a request to an endpoint.
    ///
    /// # Errors
    /// See [`CallError`]; none where there is a [`Settings::fallback`].
    pub async fn send<B>(&self, request: Request<B>) -> Answer<T, B>
    where
        T: Transport<Lent<B>>,
        B: Again + Send + Unpin + 'static,
    {
        self.send_keyed(None, request).await
    }

    /// The same; with a policy that goes by a key, requests with the same key go to the same endpoint.
    ///
    /// # Errors
    /// As [`Balanced::send`].
    pub async fn send_keyed<B>(&self, key: Option<&[u8]>, request: Request<B>) -> Answer<T, B>
    where
        T: Transport<Lent<B>>,
        B: Again + Send + Unpin + 'static,
    {
        let key = key.map(hash);
        let late = || CallError::Late(self.discovery.service().clone());
        let answer = match Entered::new(&self.picker) {
            None => Err(CallError::Overloaded(self.discovery.service().clone())),
            Some(entered) => {
                let tries = timeout(self.settings.timeout, self.tries(key, request));
                let answer = tries.await.unwrap_or_else(|_| Err(late()));
                answer.map(|(flight, answer)| {
                    answer.map(|body| {
                        Either::Left(Flying {
                            body,
                            _flight: flight,
                            _entered: entered,
                        })
                    })
                })
            }
        };
        match (&answer, &self.settings.fallback) {
            (Err(_), Some(fallback)) => {
                Ok(fallback.answer().map(|body| Either::Right(Full::new(body))))
            }
            _ => answer,
        }
    }

    /// One try after the other.
    async fn tries<B>(&self, key: Option<u64>, request: Request<B>) -> Attempt<T, B>
    where
        T: Transport<Lent<B>>,
        B: Again + Send + Unpin + 'static,
    {
        let mut discovery = self.discovery.clone();
        discovery.known(FIRST).await;
        let tried = Mutex::new(Tried::default());
        let (head, body) = request.into_parts();
        let idempotent = is_idempotent(&head.method);
        let mut next = Some(body);
        let mut left = self.settings.retries;
        loop {
            let Some(body) = next.take() else {
                // The caller gets what the last try gave; without a body there is no other.
                return Err(CallError::NoEndpoint(self.discovery.service().clone()));
            };
            let spare = if idempotent { body.again() } else { None };
            let hedge = self
                .settings
                .hedge
                .zip(spare.as_ref().and_then(Again::again));
            let first = self.one(key, &tried, &head, body);
            let (outcome, back) = match hedge {
                None => first.await,
                Some((after, second)) => {
                    let second = async {
                        sleep(after).await;
                        match self.picker.spend() {
                            true => self.one(key, &tried, &head, second).await,
                            false => std::future::pending().await,
                        }
                    };
                    match select(pin!(first), pin!(second)).await {
                        Done::Left((done, _)) => done,
                        // What the second one met says nothing about the first.
                        Done::Right(((Err(_), _), first)) => first.await,
                        Done::Right((done, _)) => done,
                    }
                }
            };
            let (again, kept) = match &outcome {
                Ok((_, answer)) => (is_passing_trouble(answer.status()), None),
                Err(CallError::Transport(error)) => match T::unsent(error) {
                    true => (true, back.and_then(|back| back.take())),
                    false => (true, None),
                },
                Err(_) => (false, None),
            };
            next = spare.or(kept);
            if !again || left == 0 || next.is_none() || !self.picker.spend() {
                return outcome;
            }
            left -= 1;
        }
    }

    /// One try at one endpoint.
    async fn one<B>(
        &self,
        key: Option<u64>,
        tried: &Mutex<Tried>,
        head: &Parts,
        body: B,
    ) -> (Attempt<T, B>, Option<Back<B>>)
    where
        T: Transport<Lent<B>>,
        B: Again + Send + Unpin + 'static,
    {
        let Some((mut flight, authority)) = self.picker.pick(key, tried) else {
            let service = self.discovery.service().clone();
            return (Err(CallError::NoEndpoint(service)), None);
        };
        let path = head.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder()
            .scheme(self.settings.scheme.as_str())
            .authority(authority)
            .path_and_query(path);
        let (lent, back) = Lent::new(body);
        let mut request = Request::new(lent);
        // Three valid parts make a valid whole.
        *request.uri_mut() = uri.build().unwrap_or_default();
        *request.method_mut() = head.method.clone();
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers.clone();
        *request.extensions_mut() = head.extensions.clone();
        match self.transport.send(request).await {
            Ok(answer) => {
                flight.answered(!answer.status().is_server_error());
                (Ok((flight, answer)), Some(back))
            }
            Err(error) => {
                flight.unreachable();
                (Err(CallError::Transport(error)), Some(back))
            }
        }
    }
}

type Attempt<T, B> = Result<
    (Flight, Response<<T as Transport<Lent<B>>>::Body>),
    CallError<<T as Transport<Lent<B>>>::Error>,
>;

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

/// Whether another endpoint may do better.
fn is_passing_trouble(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

impl<T, B> tower::Service<Request<B>> for Balanced<T>
where
    T: Transport<Lent<B>>,
    B: Again + Send + Unpin + 'static,
    B::Data: Send,
{
    type Response = Response<Counted<T::Body>>;
    type Error = CallError<T::Error>;
    type Future = Pin<Box<dyn Future<Output = Answer<T, B>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.send(request).await })
    }
}

/// A body that is on its way from an endpoint.
#[derive(Debug)]
pub struct Flying<B> {
    body: B,
    _flight: Flight,
    _entered: Entered,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Flying<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
