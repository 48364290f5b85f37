//! The body of a request, bounded in bytes and in time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::connection_timeouts::ConnectionTimer;
use crate::gzip::{UnpackError, gunzip};

/// A body that sends at least this much per second is not slow.
const BYTES_PER_SECOND: u64 = 16 << 10;

/// Why a request's body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Answer 413.
    #[error("request body is larger than {limit} bytes")]
    TooLarge {
        /// The bound it crossed.
        limit: usize,
    },
    /// Answer 413.
    #[error("request body unpacks to more than {limit} bytes")]
    UnpacksTooLarge {
        /// The bound it crossed.
        limit: usize,
    },
    /// Answer 408; the connection is closed after it.
    #[error("request body did not arrive in time")]
    TooSlow,
    /// Answer 400: the body's gzip is not gzip.
    #[error("request body is not the gzip it claims to be")]
    NotGzip,
    /// Answer 415: a `Content-Encoding` nobody here understands.
    #[error("content encoding {encoding:?} is not supported; send gzip or none")]
    Encoding {
        /// What the header said.
        encoding: String,
    },
    /// The connection broke; nobody is left to read an answer.
    #[error("request body ended early: {0}")]
    Broken(#[from] hyper::Error),
}

/// A request's body as a handler gets it: never more bytes than the port's bound, never slower than the port's patience.
#[derive(Debug)]
pub struct RequestBody {
    kind: Kind,
    /// Bytes that may still come; `None` for streams without end.
    left: Option<usize>,
    limit: usize,
    received: u64,
    patience: Option<Duration>,
    began: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
    largest: Option<Arc<AtomicUsize>>,
    /// To be told when this is dropped before its end.
    timer: Option<Arc<ConnectionTimer>>,
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer
            && !self.is_end_stream()
        {
            timer.leaves_unread();
        }
    }
}

#[derive(Debug)]
enum Kind {
    Incoming(Incoming),
    Full(Bytes),
    Made(BoxBody<Bytes, BodyError>),
}

impl RequestBody {
    /// A body that is already there.
    pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
        RequestBody::of(Kind::Full(bytes.into()))
    }

    /// A body made of another one, which keeps to its bounds: messages of one form read from another, for example.
    pub fn made<B>(body: B) -> RequestBody
    where
        B: hyper::body::Body<Data = Bytes, Error = BodyError> + Send + Sync + 'static,
    {
        RequestBody::of(Kind::Made(body.boxed()))
    }

    pub(crate) fn incoming(incoming: Incoming) -> RequestBody {
        RequestBody::of(Kind::Incoming(incoming))
    }

    fn of(kind: Kind) -> RequestBody {
        RequestBody {
            kind,
            left: None,
            limit: usize::MAX,
            received: 0,
            patience: None,
            began: None,
            deadline: None,
            largest: None,
            timer: None,
        }
    }

    /// Has `timer` told when the body is not read to its end: what is left has to be read when the connection closes.
    pub(crate) fn tell(mut self, timer: &Arc<ConnectionTimer>) -> RequestBody {
        if !self.is_end_stream() {
            self.timer = Some(timer.clone());
        }
        self
    }

    pub(crate) fn bounded(
        mut self,
        limit: usize,
        patience: Duration,
        largest: &Arc<AtomicUsize>,
    ) -> RequestBody {
        self.left = Some(limit);
        self.limit = limit;
        self.patience = Some(patience);
        self.largest = Some(largest.clone());
        self
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let Some(patience) = self.patience else {
            return Poll::Pending;
        };
        let began = *self.began.get_or_insert_with(Instant::now);
        let earned = Duration::from_secs(self.received / BYTES_PER_SECOND);
        let due = began + patience + earned;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if deadline.deadline() != due {
            deadline.as_mut().reset(due);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(BodyError::TooSlow)
    }

    fn take(&mut self, count: usize) -> Result<(), BodyError> {
        self.received += count as u64;
        if let Some(left) = &mut self.left {
            match left.checked_sub(count) {
                Some(rest) => *left = rest,
                None => return Err(BodyError::TooLarge { limit: self.limit }),
            }
        }
        if let Some(largest) = &self.largest {
            largest.fetch_max(self.received as usize, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> RequestBody {
        RequestBody::full(bytes)
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.kind {
            Kind::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Kind::Full(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Made(made) => return Pin::new(made).poll_frame(cx),
            Kind::Incoming(incoming) => Pin::new(incoming).poll_frame(cx),
        };
        match frame {
            Poll::Pending => self.poll_deadline(cx).map(|error| Some(Err(error))),
            Poll::Ready(None) => {
                self.timer = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(self.take(count).map(|()| frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Made(made) => made.is_end_stream(),
            Kind::Full(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Made(made) => made.size_hint(),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Reads the whole body, at most `limit` bytes. A larger one is refused by its `Content-Length` before any of it is read.
///
/// The bytes are an exact copy where they are short, so that keeping them does not keep a read buffer alive.
pub async fn read_body(
    request: &mut http::Request<RequestBody>,
    limit: usize,
) -> Result<Bytes, BodyError> {
    let body = request.body_mut();
    let too_large = || BodyError::TooLarge { limit };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(Bytes::copy_from_slice(&data));
        }
        if whole.is_empty() {
            whole.reserve(announced.max(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// As [`read_body`], and unpacks it when `Content-Encoding` says gzip, to at most `unpacked` bytes
/// ([`Limits::decompressed_bytes`](crate::Limits::decompressed_bytes)).
pub async fn read_body_decoded(
    request: &mut http::Request<RequestBody>,
    limit: usize,
    unpacked: usize,
) -> Result<Bytes, BodyError> {
    let encoding = request
        .headers()
        .get(CONTENT_ENCODING)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .unwrap_or_default();
    let packed = match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" => return read_body(request, limit).await,
        "gzip" | "x-gzip" => read_body(request, limit).await?,
        _ => return Err(BodyError::Encoding { encoding }),
    };
    gunzip(&packed, unpacked).map_err(|error| match error {
        UnpackError::TooLarge => BodyError::UnpacksTooLarge { limit: unpacked },
        UnpackError::Broken => BodyError::NotGzip,
    })
}
