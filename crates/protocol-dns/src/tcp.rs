//! TCP, bare or under TLS: messages behind a length of two bytes, any number on one connection (RFC 7766).

use std::sync::Arc;

use portolan_catalog::Protocol;
use portolan_listener::{StreamConnection, StreamOptions, TcpPort, serve_stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::answer::{Answered, Common, Transport, Worker};
use crate::cache::LocalCache;
use crate::metrics::WorkerCounts;

/// Replies are collected up to this many bytes before they are written, while whole queries are waiting.
const COLLECTED: usize = 128 << 10;

/// Questions of one connection that may wait for others at once; further ones are not read meanwhile.
const WAITING: usize = 64;

/// Accepts connections until the server drains.
pub(crate) fn serve(common: &Arc<Common>, port: TcpPort) -> JoinHandle<()> {
    let options = StreamOptions {
        idle_timeout: Some(common.settings.tcp_idle),
    };
    let context = common.context.clone();
    let common = Arc::clone(common);
    serve_stream(&context, port, options, move |connection| {
        answer_all(Arc::clone(&common), connection)
    })
}

/// Answers a connection's queries in their order, those that arrived together with one write. Replies that wait for somebody else come when
/// they are there (RFC 7766 section 7).
async fn answer_all(common: Arc<Common>, mut connection: StreamConnection) {
    let peer = connection.caller.peer();
    let draining = connection.caller.clone();
    let counts = WorkerCounts::default();
    let mut worker = Worker::new(Arc::clone(&common), LocalCache::brief(), Arc::new(counts));
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut reply = Vec::new();
    let (done, mut finished) = mpsc::channel::<Vec<u8>>(WAITING);
    let (mut waiting, mut ended) = (0, false);
    'connection: while !ended || waiting > 0 {
        input.reserve(4096);
        tokio::select! {
            received = connection.stream.read_buf(&mut input), if !ended && waiting < WAITING => {
                ended = !matches!(received, Ok(1..));
            }
            Some(reply) = finished.recv(), if waiting > 0 => {
                waiting -= 1;
                frame(&mut output, &reply);
            }
            () = draining.draining() => break,
        }
        let mut at = 0;
        let mut busy = None;
        while waiting < WAITING
            && let Some(message) = whole_message(&input, at)
        {
            at += 2 + message.len();
            busy.get_or_insert_with(|| connection.busy());
            // Each is answered as of its own moment: a client that has just seen a change elsewhere finds it here.
            let state = worker.look();
            match worker.answer(&state, message, peer, Transport::Tcp, &mut reply) {
                Answered::Nothing => {}
                Answered::Reply => frame(&mut output, &reply),
                Answered::Later(pending) => {
                    waiting += 1;
                    let (done, busy) = (done.clone(), connection.busy());
                    common.context.spawn(Protocol::Dns, async move {
                        // Nobody takes it when the connection has ended meanwhile.
                        let _ = done.send(pending.finish().await).await;
                        drop(busy);
                    });
                }
            }
            if output.len() >= COLLECTED && write(&mut connection, &mut output).await.is_none() {
                break 'connection;
            }
        }
        input.drain(..at);
        if write(&mut connection, &mut output).await.is_none() {
            break;
        }
    }
    common.counts.add(&worker.counts);
}

/// Appends a message behind its length.
fn frame(output: &mut Vec<u8>, message: &[u8]) {
    output.extend_from_slice(&(message.len() as u16).to_be_bytes());
    output.extend_from_slice(message);
}

async fn write(connection: &mut StreamConnection, output: &mut Vec<u8>) -> Option<()> {
    connection.stream.write_all(output).await.ok()?;
    output.clear();
    Some(())
}

/// The message that begins at `at`, if all of it is there.
fn whole_message(input: &[u8], at: usize) -> Option<&[u8]> {
    let rest = input.get(at..)?;
    let (length, body) = rest.split_first_chunk::<2>()?;
    body.get(..usize::from(u16::from_be_bytes(*length)))
}
