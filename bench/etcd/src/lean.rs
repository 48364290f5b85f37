//! As little of a gRPC client as there can be: what the load generator does not spend, the server can.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{
    HeaderValue, Method, Request, Uri,
    header::{CONTENT_TYPE, TE},
};
use prost::Message;
use tokio::net::TcpStream;

use crate::Result;

/// Flag and length in front of every message.
const PREFIX: usize = 5;
/// Bytes that may be on their way back, of one call and of all.
const WINDOWS: (u32, u32) = (1 << 20, 16 << 20);

/// A connection, for many calls at a time.
#[derive(Clone)]
pub struct Lean {
    requests: SendRequest<Bytes>,
}

impl Lean {
    pub async fn connect(port: u16) -> Result<Lean> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        let (requests, connection) = Builder::new()
            .initial_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .handshake(socket)
            .await?;
        tokio::spawn(connection);
        Ok(Lean { requests })
    }

    /// Begins a call of the method of which the whole address is `uri`.
    async fn begin(&self, uri: &Uri) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request, false)?)
    }

    /// Calls a method with one message, which is answered with one.
    pub async fn call<M: Message + Default>(&self, uri: &Uri, message: &impl Message) -> Result<M> {
        let mut framed = BytesMut::new();
        frame(&mut framed, message)?;
        let (response, mut body) = self.begin(uri).await?;
        body.send_data(framed.freeze(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        match trailers.get("grpc-status") {
            Some(status) if status == "0" && answer.len() >= PREFIX => {
                Ok(M::decode(&answer[PREFIX..])?)
            }
            status => Err(format!("status {status:?}: {:?}", trailers.get("grpc-message")).into()),
        }
    }
}

/// Appends a message with its prefix.
fn frame(out: &mut BytesMut, message: &impl Message) -> Result<()> {
    let length = message.encoded_len();
    out.reserve(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length)?);
    Ok(message.encode(out)?)
}

/// A stream of answers to requests that were all sent at once.
pub struct Streaming {
    answers: RecvStream,
    received: BytesMut,
    /// Kept open: the server would take its end for the client's.
    _requests: SendStream<Bytes>,
}

impl Streaming {
    pub async fn open<M: Message>(lean: &Lean, uri: &Uri, requests: &[M]) -> Result<Streaming> {
        let mut framed = BytesMut::new();
        for request in requests {
            frame(&mut framed, request)?;
        }
        let (response, mut body) = lean.begin(uri).await?;
        body.send_data(framed.freeze(), false)?;
        Ok(Streaming {
            answers: response.await?.into_body(),
            received: BytesMut::new(),
            _requests: body,
        })
    }

    /// Waits for more, and hands every message that is whole to `each`; false when there is nothing more to come.
    pub async fn next<M: Message + Default>(&mut self, mut each: impl FnMut(M)) -> Result<bool> {
        let Some(data) = self.answers.data().await else {
            return Ok(false);
        };
        let data = data?;
        self.answers.flow_control().release_capacity(data.len())?;
        self.received.extend_from_slice(&data);
        while let Some(prefix) = self.received.get(1..PREFIX) {
            let length = prefix
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if self.received.len() < PREFIX + length {
                break;
            }
            self.received.advance(PREFIX);
            each(M::decode(self.received.split_to(length).freeze())?);
        }
        Ok(true)
    }
}
