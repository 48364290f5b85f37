//! `GET /v1/snapshot`: the present state as a file that `portolan snapshot restore` takes.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue};
use portolan_listener::{Action, Body, BoxError, Caller, Params, Request, Resource};
use tokio::sync::mpsc;

use crate::App;
use crate::error::Answer;
use crate::query::Query;
use crate::reply::of;

/// Pieces that wait for a slow reader.
const WAITING: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// Hands what is written to a stream, piece by piece; fails when nobody reads any more.
struct Pipe {
    pieces: mpsc::Sender<Result<Bytes, BoxError>>,
    piece: Vec<u8>,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader has gone"))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

pub(crate) async fn snapshot(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Admin, Resource::Operator)?;
    Query::of(&request, &[])?;
    let state = app.registry.linearized().await?;
    let revision = state.revision();
    let (pieces, written) = mpsc::channel(WAITING);
    let backend = app.settings.backend.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "it goes on beside the answer and waits for its reader, so it needs a thread of its own"
    )]
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe {
            pieces,
            piece: Vec::with_capacity(PIECE),
        };
        let whole = backend
            .snapshot(&state, &mut pipe)
            .and_then(|_| pipe.flush());
        if let Err(error) = whole {
            tracing::warn!(%error, "a snapshot could not be sent whole");
            // The reader sees a body that ends early, not a short file that looks whole.
            let _gone = pipe.pieces.blocking_send(Err(error.into()));
        }
    });
    let stream = futures_util::stream::unfold(written, |mut written| async move {
        written.recv().await.map(|piece| (piece, written))
    });
    let mut response = of(
        StatusCode::OK,
        "application/octet-stream",
        Body::stream(stream),
    );
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"portolan.snapshot\""),
    );
    headers.insert(
        HeaderName::from_static("x-portolan-revision"),
        HeaderValue::from(revision.0),
    );
    Ok(response)
}
