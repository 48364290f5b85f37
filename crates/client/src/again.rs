//! Bodies of requests that are tried again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::body::{Body, Frame, SizeHint};

/// A body of which there may be a second one, for another try.
pub trait Again: Body + Sized {
    /// A second one; none when it can be sent but once.
    fn again(&self) -> Option<Self>;
}

impl Again for Full<Bytes> {
    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Again for Empty<Bytes> {
    fn again(&self) -> Option<Self> {
        Some(Empty::new())
    }
}

/// A body that can be sent but once, such as a stream.
#[derive(Clone, Copy, Debug)]
pub struct Once<B>(pub B);

impl<B: Body + Unpin> Body for Once<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: Body + Unpin> Again for Once<B> {
    fn again(&self) -> Option<Self> {
        None
    }
}

/// A body on its way: it comes back when nobody has read of it.
#[derive(Debug)]
pub struct Lent<B> {
    body: Option<B>,
    read: bool,
    back: Back<B>,
}

/// Where a body that was lent comes back to.
#[derive(Debug)]
pub(crate) struct Back<B>(Arc<Mutex<Option<B>>>);

impl<B> Clone for Back<B> {
    fn clone(&self) -> Self {
        Back(self.0.clone())
    }
}

impl<B> Back<B> {
    /// The body, if it is back.
    pub(crate) fn take(&self) -> Option<B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Lent<B> {
    pub(crate) fn new(body: B) -> (Lent<B>, Back<B>) {
        let back = Back(Arc::new(Mutex::new(None)));
        let lent = Lent {
            body: Some(body),
            read: false,
            back: back.clone(),
        };
        (lent, back)
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if !self.read {
            let mut back = self.back.0.lock().unwrap_or_else(PoisonError::into_inner);
            *back = self.body.take();
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.read = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_back_unless_somebody_read_of_it() {
        let (lent, back) = Lent::new(Once(Full::new(Bytes::from("x"))));
        assert!(back.take().is_none());
        drop(lent);
        let (mut lent, again) = Lent::new(back.take().unwrap());
        assert!(lent.frame().await.unwrap().unwrap().is_data());
        drop(lent);
        assert!(again.take().is_none());
    }
}
