//! `GET /v1/snapshot`: the present state as a file that `portolan snapshot restore` takes. `PUT /v1/snapshot`: such a file takes the place
//! of the present state, on every server.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue};
use portolan_api as api;
use portolan_catalog::{Instance, Keyspace, Protocol, Refusal, ServiceKey, State, Why};
use portolan_listener::{Action, Body, BoxError, Caller, Params, Request, Resource, read_body};
use tokio::sync::mpsc;

use crate::App;
use crate::error::{Answer, Failure};
use crate::query::Query;
use crate::reply::{json, of};

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
    Caller::of(&request).allow(Action::Admin, Resource::Access)?;
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
        let whole = backend.write(&state, &mut pipe).and_then(|_| pipe.flush());
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

/// `PUT /v1/snapshot`. Over a catalog that was used it needs `?replace=true`.
pub(crate) async fn restore(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Admin, Resource::Access)?;
    let query = Query::of(&request, &["replace"])?;
    let replace = query.has("replace");
    let most = app.context.limits().snapshot_bytes;
    let file = read_body(&mut request, most).await?;
    let bytes = file.len();
    let backend = app.settings.backend.clone();
    let read = portolan_environment::blocking(move || backend.read(&file)).await;
    let read = read.map_err(|error| Failure::unavailable(error.to_string()))?;
    let parts = read.map_err(|what| {
        Failure::bad(format!(
            "the snapshot is damaged: {what}; nothing was changed, use another one"
        ))
    })?;
    let from = parts.revision;
    tracing::info!(
        by = %caller.principal(),
        peer = %caller.peer(),
        bytes,
        from = from.0,
        "a snapshot is to take the place of the catalog"
    );
    if !replace && !is_unused(&*app.registry.linearized().await?) {
        return Err(Failure::conflict(
            "not_empty",
            "the catalog of this cluster is not empty; all of it would be replaced: confirm with ?replace=true (--replace)",
        ));
    }
    let settled = app.registry.restore(caller.cause(Why::Call), parts).await?;
    if settled.outcome == Err(Refusal::Stale) {
        return Err(Failure::conflict("busy", "another restore is under way"));
    }
    settled.outcome?;
    tracing::warn!(
        by = %caller.principal(),
        peer = %caller.peer(),
        bytes,
        from = from.0,
        revision = settled.revision.0,
        "a snapshot has taken the place of the catalog"
    );
    Ok(json(&api::Restored {
        revision: settled.revision.0,
        snapshot_revision: from.0,
    }))
}

/// Whether nothing is in it but the servers themselves.
fn is_unused(state: &State) -> bool {
    let own = |row: &Instance| row.key.origin == Protocol::Portolan;
    let servers: Vec<_> = state
        .instances(&ServiceKey::plain("consul"))
        .filter(|row| own(row))
        .map(|row| row.node.clone())
        .collect();
    let records = |space: &Keyspace| match space {
        Keyspace::Settings => 0,
        space => state.record_count(*space),
    };
    state.instance_count() == servers.len()
        && state.nodes().all(|node| servers.contains(&node.name))
        && state.leases().next().is_none()
        && Keyspace::ALL.iter().map(records).sum::<usize>() == 0
}
