//! One connection: HTTP/1.1 or HTTP/2, told apart by the first bytes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portolan_listener::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::acceptor::Accepted;
use super::control::Control;
use super::worker::Worker;
use crate::client::Client;
use crate::local::Local;
use crate::proxy;
use crate::wire::framing::{Framing, Violation};
use crate::wire::guard::{Guard, Shared};

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a window of HTTP/2.
const WINDOW: u32 = 1 << 20;

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, (stream, peer, before): Accepted) {
    let shared = Arc::new(Shared::default());
    let control = Control::new(shared.clone());
    let watched = worker.watch(&control);
    let gateway = worker.gateway.clone();
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
        return;
    };
    let patience = gateway.limits.header_timeout;
    let secure = before.is_some();
    let mut stream = match before {
        None => Transport::from(stream),
        Some(handshake) => match timeout(patience, handshake.handshake(stream, peer)).await {
            Ok(Ok(secured)) => Transport::from(secured.stream),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let mut held = BytesMut::new();
    let told = timeout(
        gateway.limits.idle_timeout,
        is_http2(&mut stream, &mut held),
    );
    // One that says nothing yet is closed when the server stops.
    let told = {
        let mut told = std::pin::pin!(told);
        poll_fn(|cx| {
            control.listen(cx.waker());
            if control.is_closing() || control.is_aborting() {
                return Poll::Ready(None);
            }
            told.as_mut().poll(cx).map(Some)
        })
        .await
    };
    let Some(Ok(Ok(http2))) = told else {
        return;
    };
    let generator = worker.generator.clone();
    let client = Rc::new(Client::new(peer, secure, shared.clone(), generator));
    match http2 {
        true => {
            let guard = Guard::new(stream, held, None, shared);
            serve_http2(&worker, &control, client, guard).await;
        }
        false => {
            let limits = &gateway.limits;
            let framing = Framing::new(limits.header_bytes, limits.header_count);
            let guard = Guard::new(stream, held, Some(framing), shared);
            serve_http1(&worker, &control, client, guard).await;
        }
    }
    drop(watched);
}

/// Whether the first bytes are those of HTTP/2.
async fn is_http2(stream: &mut Transport, held: &mut BytesMut) -> io::Result<bool> {
    loop {
        let known = held.len().min(PREFACE.len());
        if held[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
        if stream.read_buf(held).await? == 0 {
            return match held.is_empty() {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(false),
            };
        }
    }
}

async fn serve_http1(
    worker: &Rc<Worker>,
    control: &Control,
    client: Rc<Client>,
    guard: Guard<Transport>,
) {
    let limits = &worker.gateway.limits;
    let shared = client.shared.clone();
    let of = worker.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (worker, client) = (of.clone(), client.clone());
        async move { Ok::<_, Infallible>(proxy::answer(worker, client, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        // The guard and the thread's ticks have the limits.
        .header_read_timeout(None)
        .max_headers(limits.header_count + 1)
        .max_buf_size((limits.header_bytes * 2).max(64 << 10));
    let connection = builder.serve_connection(TokioIo::new(guard), service);
    let mut connection = Box::new(connection.with_upgrades());
    let mut told = false;
    let ended = poll_fn(|cx| {
        control.listen(cx.waker());
        if control.is_aborting() {
            return Poll::Ready(false);
        }
        if control.is_closing() && !told {
            told = true;
            Pin::new(&mut *connection).graceful_shutdown();
        }
        Pin::new(&mut *connection).poll(cx).map(|_| true)
    })
    .await;
    if !ended {
        return;
    }
    let Some(parts) = connection.into_parts() else {
        return;
    };
    let mut stream = parts.io.into_inner().into_inner();
    let farewell = async {
        if let Some(violation) = shared.violation() {
            worker.gateway.figures.error("bad_request");
            stream.write_all(&refusal(violation)).await?;
        }
        stream.shutdown().await?;
        // Closing while the peer still sends would make the system drop the answer before it is read.
        let mut ignored = vec![0; 16 << 10];
        let mut left: usize = 32 << 20;
        while left > 0 && !shared.has_ended() {
            match stream.read(&mut ignored).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok::<_, io::Error>(())
    };
    let _gone = timeout(Duration::from_secs(2), farewell).await;
}

/// The answer to what is no request.
fn refusal(violation: Violation) -> Vec<u8> {
    let status = match violation.status {
        431 => "431 Request Header Fields Too Large",
        501 => "501 Not Implemented",
        505 => "505 HTTP Version Not Supported",
        _ => "400 Bad Request",
    };
    let reason = violation.reason;
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nx-portolan-error: {reason}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{reason}\n",
        reason.len() + 1
    );
    text.into_bytes()
}

async fn serve_http2(
    worker: &Rc<Worker>,
    control: &Control,
    client: Rc<Client>,
    guard: Guard<Transport>,
) {
    let limits = &worker.gateway.limits;
    let of = worker.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (worker, client) = (of.clone(), client.clone());
        async move { Ok::<_, Infallible>(proxy::answer(worker, client, request).await) }
    });
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_concurrent_streams(limits.streams_per_connection.min(1000))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.pending_reset_streams)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(guard), service));
    let mut told = false;
    poll_fn(|cx| {
        control.listen(cx.waker());
        if control.is_aborting() {
            return Poll::Ready(());
        }
        // Telling the peer harms no request: it opens a connection elsewhere and those that are open are answered.
        if (control.is_closing() || worker.is_draining()) && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}
