//! One connection: its first message, its requests in their order, and its end.
//!
//! Invariants
//! - Requests are executed and answered in the order in which they came. Writes are handed in one after the other without waiting for each,
//!   whatever else is asked waits until those before it are answered.
//! - A connection has one session. Watches and identities are the connection's and end with it; the session does not.
//! - Any request keeps the session alive; nothing else does.

mod answer;
mod pending;
mod renewal;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_catalog::Identity;
use portolan_listener::{Action, Caller, Messages, Resource, StreamConnection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use crate::acl;
use crate::app::App;
use crate::connection::Connection;
use crate::frames::Frames;
use crate::routes::PROTOCOL;
use crate::session::{self, Session, Wish};
use crate::wire::Connect;
use crate::wire::replies::connected;
use crate::words;
use answer::{Answering, Next};
use pending::Pending;

/// Writes of one connection that wait for their decision at most.
const IN_FLIGHT: usize = 128;

/// Serves one connection to its end.
pub(crate) async fn serve(app: Arc<App>, connection: StreamConnection) {
    let certificate = connection.certificate.as_deref();
    let certificate = certificate.and_then(acl::of_certificate);
    let (stream, caller, messages) = connection.into_parts();
    let mut from = From {
        caller,
        certificate,
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(app.settings.frame_bytes);
    let draining = from.caller.clone();
    let first = tokio::select! {
        first = first(&app, &mut frames, &mut reader) => first,
        () = draining.draining() => return,
    };
    let connect = match first {
        None => return,
        Some(First::Word(word)) => {
            let _busy = messages.busy();
            let caller = &from.caller;
            caller.measure(&app.routes.word);
            let text = match caller.allow(Action::Read, Resource::Agent) {
                Ok(()) => words::answer(&app, word).await,
                Err(_) => String::new(),
            };
            caller.answered();
            let _gone = writer.write_all(text.as_bytes()).await;
            let _gone = writer.shutdown().await;
            return;
        }
        Some(First::Connect(connect)) => connect,
    };
    let Some(connection) = open(&app, &connect, &mut from, &messages, &mut writer).await else {
        return;
    };
    app.join(&connection);
    let answering = Answering::new(app.clone(), connection.clone(), from.caller);
    let requests = async {
        requests(answering, &messages, &mut frames, &mut reader).await;
        connection.out.finish();
        std::future::pending::<()>().await;
    };
    let replies = replies(&connection, &mut writer);
    tokio::select! {
        () = requests => {}
        () = replies => {}
    }
    app.leave(&connection).await;
    let _gone = writer.shutdown().await;
}

/// The other end, as the port knows it.
struct From {
    caller: Caller,
    /// Whom its certificate names.
    certificate: Option<Identity>,
}

enum First {
    Word([u8; 4]),
    Connect(Connect),
}

/// The first message, or the word that stands in its place.
async fn first(
    app: &App,
    frames: &mut Frames,
    reader: &mut (impl AsyncRead + Unpin),
) -> Option<First> {
    loop {
        if let Some(word) = frames.word().filter(|word| words::is_known(*word)) {
            return Some(First::Word(word));
        }
        if let Some(frame) = frames.take().ok()? {
            app.counts.received.fetch_add(1, Ordering::Relaxed);
            return Connect::read(&frame).ok().map(First::Connect);
        }
        if !frames.fill(reader).await {
            return None;
        }
    }
}

/// Gives the client a session, or tells it that the one it had is over. Whoever has seen more than this server has is left without an
/// answer, and so is everybody while nobody decides: clients try the next server then.
async fn open(
    app: &Arc<App>,
    connect: &Connect,
    from: &mut From,
    messages: &Messages,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Arc<Connection>> {
    let _busy = messages.busy();
    let caller = &mut from.caller;
    caller.measure(&app.routes.connect);
    let begun = Instant::now();
    let allowed = caller.allow(Action::Write, Resource::Session("")).is_ok();
    caller.answered();
    if !allowed {
        return None;
    }
    let seen = crate::read::zxid(app.registry.snapshot().revision());
    if connect.last_zxid > seen {
        return None;
    }
    let wish = session::take_up(&app.registry, caller.call_cause(), connect).await;
    let session = match wish {
        Ok(Wish::Granted(session)) => session,
        Ok(Wish::Over) => {
            let frame = connected(0, 0, [0; 16], connect.tells_read_only);
            app.counts.sent.fetch_add(1, Ordering::Relaxed);
            let _gone = writer.write_all(&frame).await;
            let _gone = writer.shutdown().await;
            return None;
        }
        Err(unavailable) => {
            tracing::debug!(peer = %caller.peer(), %unavailable, "no session could be given");
            return None;
        }
    };
    app.routes.connect.answered_plain(true, begun.elapsed());
    let now = app.registry.now();
    let principal = caller.principal().clone();
    let told = app.context.caller_as(PROTOCOL, caller.peer(), principal);
    let connection = Connection::new(app.next_id(), told, from.certificate.take(), &session, now);
    let connection = Arc::new(connection);
    let Session {
        id,
        timeout,
        password,
    } = session;
    connection
        .out
        .reply(connected(timeout, id, password, connect.tells_read_only));
    app.counts.sent.fetch_add(1, Ordering::Relaxed);
    Some(connection)
}

/// Writes what waits, until nothing more comes.
async fn replies(connection: &Connection, writer: &mut (impl AsyncWrite + Unpin)) {
    let mut bytes = Vec::new();
    while connection.out.next(&mut bytes).await {
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        bytes.clear();
        bytes.shrink_to(128 << 10);
    }
}

/// Takes requests until the connection ends.
async fn requests(
    mut answering: Answering,
    messages: &Messages,
    frames: &mut Frames,
    reader: &mut (impl AsyncRead + Unpin),
) {
    let connection = answering.connection.clone();
    let draining = answering.caller.clone();
    let patience = session::patience(connection.timeout);
    let mut pending = Pending::default();
    let mut heard = Instant::now();
    loop {
        if pending.len() < IN_FLIGHT {
            match frames.take() {
                Err(_) => return,
                Ok(None) => {}
                Ok(Some(frame)) => {
                    heard = Instant::now();
                    let busy = messages.busy();
                    match answering.take(frame, &mut pending, busy).await {
                        Next::Go => {}
                        Next::Close => return,
                    }
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            () = connection.closed() => return,
            (write, settled) = pending.settled() => {
                if answering.settle(write, settled).await == Next::Close {
                    return;
                }
            }
            more = frames.fill(reader), if pending.len() < IN_FLIGHT => {
                if !more {
                    return;
                }
            }
            () = draining.draining() => return,
            () = sleep_until(heard + patience) => {
                // Silent for a whole timeout: its session is gone, unless others keep it or nobody decides.
                let lease = session::lease(connection.session);
                if answering.app.registry.read(|state| state.lease(&lease).is_none()) {
                    return;
                }
                heard = Instant::now();
            }
        }
    }
}
