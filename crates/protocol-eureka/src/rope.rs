//! A long answer in pieces: what did not change since the last one is the same memory.
//!
//! A list of 100,000 instances is a hundred megabytes. While services change all the time, copying it for each change would cost far more than
//! the change; once it stays the same for a few readers, one copy in one piece is cheaper to send.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use portolan_listener::{Body, BoxError};

/// Readers who are sent the pieces; for those after them there is one copy.
const IN_PIECES: u32 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: Vec<Bytes>,
    length: u64,
    readers: AtomicU32,
    joined: OnceLock<Bytes>,
}

impl Rope {
    pub(crate) fn new(mut pieces: Vec<Bytes>) -> Rope {
        pieces.retain(|piece| !piece.is_empty());
        Rope {
            length: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces,
            ..Rope::default()
        }
    }

    fn join(&self) -> Bytes {
        let length = usize::try_from(self.length).unwrap_or_default();
        let mut whole = Vec::with_capacity(length);
        for piece in &self.pieces {
            whole.extend_from_slice(piece);
        }
        whole.into()
    }

    /// The answer for one reader. Must be called inside a Tokio runtime.
    pub(crate) fn body(self: &Arc<Rope>) -> Body {
        if let Some(whole) = self.joined.get() {
            return whole.clone().into();
        }
        if self.readers.fetch_add(1, Ordering::Relaxed) == IN_PIECES {
            let this = self.clone();
            let work = move || this.joined.get_or_init(|| this.join()).len();
            tokio::spawn(portolan_environment::blocking(work));
        }
        Body::new(Pieces {
            rope: self.clone(),
            next: 0,
            left: self.length,
        })
    }

    #[cfg(test)]
    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

/// A rope on its way to one reader.
struct Pieces {
    rope: Arc<Rope>,
    next: usize,
    left: u64,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(piece) = self.rope.pieces.get(self.next).cloned() else {
            return Poll::Ready(None);
        };
        self.next += 1;
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_reader_gets_all_of_it_and_its_length() {
        let parts = [&b"ab"[..], b"", b"cde", b"f"].map(Bytes::from_static);
        let rope = Arc::new(Rope::new(parts.to_vec()));
        assert_eq!(rope.pieces().len(), 3);
        for reader in 0..20 {
            let body = rope.body();
            assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(6));
            assert_eq!(body.bytes().await.unwrap(), "abcdef", "{reader}");
            tokio::task::yield_now().await;
        }
        while rope.joined.get().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(rope.body().bytes().await.unwrap(), "abcdef");
        assert!(
            Arc::new(Rope::default())
                .body()
                .bytes()
                .await
                .unwrap()
                .is_empty()
        );
    }
}
