//! One connection: hellos, then many requests at once in both directions of one socket, each end with its own part.
//!
//! The asking end numbers its requests and matches answers to them; whoever gave up waiting is forgotten. The answering end runs each request
//! as a task of its own, a bounded number per channel. A sign of life is asked for after a second of silence; five without one break the
//! connection, and everybody who waits is told.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_environment::{Channel, Peer};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::frame::{FRAME_HEAD, HELLO_HEAD, Head, Hello, Kind, PAYLOAD_BYTES};

/// Silence after which a sign of life is asked for.
pub(crate) const PING: Duration = Duration::from_secs(1);
/// Silence that breaks a connection.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// How long the first words may take.
pub(crate) const GREETING: Duration = Duration::from_secs(3);
/// How long the other end may take to take one frame.
const WRITING: Duration = Duration::from_secs(10);
/// Requests of one connection that wait for their answers.
const WAITING: usize = 4096;
/// Frames on their way out of the answering end.
const OUT: usize = 256;

/// Anything that bytes go through.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}
/// A socket, with TLS or without.
pub(crate) type Stream = Box<dyn Bytes>;
type Input = BufReader<ReadHalf<Stream>>;
type Output = BufWriter<WriteHalf<Stream>>;

/// A request on its way out.
pub(crate) struct Call {
    pub(crate) channel: Channel,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: oneshot::Sender<io::Result<Vec<u8>>>,
}

impl Call {
    /// Says that it did not reach the other end.
    pub(crate) fn refuse(self, why: &str) {
        // Who asked may have given up.
        let _gone = self.answer.send(Err(refused(why)));
    }
}

/// An error that says that nothing was delivered.
pub(crate) fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, why.to_owned())
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, why.to_owned())
}

fn malformed(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Sends a hello.
pub(crate) async fn send_hello(stream: &mut Stream, hello: &Hello) -> io::Result<()> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await
}

/// Waits for a hello.
pub(crate) async fn read_hello(stream: &mut Stream) -> io::Result<Hello> {
    let mut head = [0; HELLO_HEAD];
    stream.read_exact(&mut head).await?;
    let mut rest = vec![0; Hello::rest(&head).map_err(malformed)?];
    stream.read_exact(&mut rest).await?;
    Hello::decode(&rest).map_err(malformed)
}

/// Tells the other end why nothing follows.
pub(crate) async fn refuse(stream: &mut Stream, why: &str) -> io::Result<()> {
    let head = Head {
        kind: Kind::Refused,
        channel: Channel::Members,
        id: 0,
        payload: why.len(),
    };
    stream.write_all(&head.encode()).await?;
    stream.write_all(why.as_bytes()).await?;
    stream.flush().await
}

/// Figures of all connections of a server.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections made to others that are open.
    pub outgoing: AtomicU64,
    /// Connections taken from others that are open.
    pub incoming: AtomicU64,
    /// Connections of others that were refused.
    pub refused: AtomicU64,
    /// Bytes sent.
    pub sent_bytes: AtomicU64,
    /// Bytes received.
    pub received_bytes: AtomicU64,
    /// Requests received.
    pub requests: AtomicU64,
}

impl Traffic {
    fn sent(&self, head: &Head) {
        let bytes = (FRAME_HEAD + head.payload) as u64;
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn received(&self, head: &Head) {
        let bytes = (FRAME_HEAD + head.payload) as u64;
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

async fn read_frame(input: &mut Input, traffic: &Traffic) -> io::Result<(Head, Vec<u8>)> {
    let mut head = [0; FRAME_HEAD];
    input.read_exact(&mut head).await?;
    let head = Head::decode(&head, PAYLOAD_BYTES).map_err(malformed)?;
    // Memory is taken as bytes arrive, not as they are announced.
    let mut payload = Vec::with_capacity(head.payload.min(1 << 20));
    let read = input
        .take(head.payload as u64)
        .read_to_end(&mut payload)
        .await?;
    if read < head.payload {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    traffic.received(&head);
    Ok((head, payload))
}

async fn write_frame(
    output: &mut Output,
    head: Head,
    payload: &[u8],
    traffic: &Traffic,
) -> io::Result<()> {
    let write = async {
        output.write_all(&head.encode()).await?;
        output.write_all(payload).await
    };
    timeout(WRITING, write)
        .await
        .map_err(|_| broken("the other end takes nothing"))??;
    traffic.sent(&head);
    Ok(())
}

async fn flush(output: &mut Output) -> io::Result<()> {
    timeout(WRITING, output.flush())
        .await
        .map_err(|_| broken("the other end takes nothing"))?
}

fn split(stream: Stream) -> (Input, Output) {
    let (input, output) = tokio::io::split(stream);
    (
        BufReader::with_capacity(64 << 10, input),
        BufWriter::with_capacity(64 << 10, output),
    )
}

type Answers = BTreeMap<u64, oneshot::Sender<io::Result<Vec<u8>>>>;

/// The asking end: who waits, and when something was heard last.
struct Asking {
    waiting: Mutex<Answers>,
    heard: Mutex<Instant>,
}

impl Asking {
    fn waiting(&self) -> MutexGuard<'_, Answers> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.elapsed()
    }

    /// Takes a place among those who wait; refuses when there are too many.
    fn enter(&self, id: u64, call: Call) -> Option<(Channel, Vec<u8>)> {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING {
            waiting.retain(|_, answer| !answer.is_closed());
        }
        if waiting.len() >= WAITING {
            drop(waiting);
            call.refuse("too many requests to that server wait already");
            return None;
        }
        waiting.insert(id, call.answer);
        Some((call.channel, call.request))
    }
}

/// Asks over a connection until it breaks, is told to end (`Interrupted`), or nobody can ask any more. Whoever waits then is told; what was
/// not sent stays in `calls`.
pub(crate) async fn ask(
    stream: Stream,
    first: Call,
    calls: &mut mpsc::Receiver<Call>,
    traffic: &Traffic,
    end: impl Future<Output = ()>,
) -> io::Error {
    let (mut input, mut output) = split(stream);
    let asking = Asking {
        waiting: Mutex::default(),
        heard: Mutex::new(Instant::now()),
    };
    let reading = async {
        loop {
            match read_frame(&mut input, traffic).await {
                Ok((head, payload)) => {
                    asking.hear();
                    if let Err(error) = receive(&asking, head, payload) {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    };
    let writing = async {
        let mut id = 0;
        let mut next = Some(first);
        loop {
            let call = match next.take() {
                Some(call) => Some(call),
                None => match calls.try_recv() {
                    Ok(call) => Some(call),
                    Err(_) => {
                        if let Err(error) = flush(&mut output).await {
                            return error;
                        }
                        match timeout(PING, calls.recv()).await {
                            Ok(Some(call)) => Some(call),
                            Ok(None) => return broken("this server is stopping"),
                            Err(_) => None,
                        }
                    }
                },
            };
            if asking.silence() > SILENCE {
                if let Some(call) = call {
                    call.refuse("the server is silent");
                }
                return broken("the server is silent");
            }
            id += 1;
            let (kind, channel, request) = match call {
                None => (Kind::Ping, Channel::Members, Vec::new()),
                // Who asked gave up before it was sent.
                Some(call) if call.answer.is_closed() => continue,
                Some(call) => match asking.enter(id, call) {
                    Some((channel, request)) => (Kind::Request, channel, request),
                    None => continue,
                },
            };
            let head = Head {
                kind,
                channel,
                id,
                payload: request.len(),
            };
            if let Err(error) = write_frame(&mut output, head, &request, traffic).await {
                return error;
            }
        }
    };
    let error = tokio::select! {
        biased;
        () = end => io::Error::new(io::ErrorKind::Interrupted, "the connection was ended here"),
        error = reading => error,
        error = writing => error,
    };
    for (_, answer) in std::mem::take(&mut *asking.waiting()) {
        // Who asked may have given up.
        let _gone = answer.send(Err(broken(&format!("the connection broke: {error}"))));
    }
    error
}

fn receive(asking: &Asking, head: Head, payload: Vec<u8>) -> Result<(), io::Error> {
    let words = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    let answer = match head.kind {
        Kind::Pong => return Ok(()),
        Kind::Answer => Ok(payload),
        Kind::Failed => Err(io::Error::other(words(&payload))),
        Kind::Refused if head.id != 0 => Err(refused(&words(&payload))),
        Kind::Refused => return Err(refused(&words(&payload))),
        Kind::Request | Kind::Ping => return Err(malformed("it asks where it should answer")),
    };
    if let Some(waiting) = asking.waiting().remove(&head.id) {
        // Who asked may have given up.
        let _gone = waiting.send(answer);
    }
    Ok(())
}

/// Requests of one connection that are answered at the same time, by channel.
fn at_once(channel: Channel) -> usize {
    match channel {
        Channel::Raft => 64,
        Channel::Forward => 256,
        Channel::Members => 64,
        Channel::Feed => 16,
    }
}

/// Answers over a connection until it breaks. `peer` gives whoever serves a channel to the other end, and the id that it sees there.
pub(crate) async fn answer(
    stream: Stream,
    peer: impl Fn(Channel) -> Result<(u64, Arc<dyn Peer>), String>,
    traffic: &Traffic,
) -> io::Error {
    let (mut input, mut output) = split(stream);
    let (out, mut outgoing) = mpsc::channel::<(Head, Vec<u8>)>(OUT);
    let places: Vec<Arc<Semaphore>> = Channel::ALL
        .iter()
        .map(|channel| Arc::new(Semaphore::new(at_once(*channel))))
        .collect();
    let reading = async {
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let frame = match timeout(2 * SILENCE, read_frame(&mut input, traffic)).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => return error,
                Err(_) => return broken("the other end is silent"),
            };
            let (head, request) = frame;
            let reply = |kind, payload: Vec<u8>| {
                let length = payload.len();
                (
                    Head {
                        kind,
                        payload: length,
                        ..head
                    },
                    payload,
                )
            };
            let now = match head.kind {
                Kind::Ping => reply(Kind::Pong, Vec::new()),
                Kind::Request => {
                    traffic.requests.fetch_add(1, Ordering::Relaxed);
                    let place = places
                        .get(head.channel as usize)
                        .and_then(|places| places.clone().try_acquire_owned().ok());
                    match (peer(head.channel), place) {
                        (Err(why), _) => reply(Kind::Refused, why.into_bytes()),
                        (_, None) => reply(Kind::Refused, b"the server is busy".to_vec()),
                        (Ok((from, peer)), Some(place)) => {
                            let out = out.clone();
                            tasks.spawn(async move {
                                let (kind, payload) = match peer.answer(from, request).await {
                                    Ok(answer) => (Kind::Answer, answer),
                                    Err(error) => (Kind::Failed, error.to_string().into_bytes()),
                                };
                                drop(place);
                                let head = Head {
                                    kind,
                                    payload: payload.len(),
                                    ..head
                                };
                                // The connection may be gone.
                                let _gone = out.send((head, payload)).await;
                            });
                            continue;
                        }
                    }
                }
                _ => return malformed("it answers where it should ask"),
            };
            if out.send(now).await.is_err() {
                return broken("the connection ended");
            }
        }
    };
    let writing = async {
        loop {
            let next = match outgoing.try_recv() {
                Ok(next) => Some(next),
                Err(_) => {
                    if let Err(error) = flush(&mut output).await {
                        return error;
                    }
                    outgoing.recv().await
                }
            };
            let Some((head, payload)) = next else {
                return broken("the connection ended");
            };
            if let Err(error) = write_frame(&mut output, head, &payload, traffic).await {
                return error;
            }
        }
    };
    tokio::select! {
        error = reading => error,
        error = writing => error,
    }
}
