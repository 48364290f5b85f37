//! A server on a free port, and a client that says exactly what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_zookeeper::wire::{Opcode, Reader, Writer};
use portolan_protocol_zookeeper::{Settings, serve};
use portolan_registry::{LocalOptions, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

pub struct Server {
    pub address: SocketAddr,
    pub registry: Registry,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings {
            words: vec!["*".into()],
            ..Settings::default()
        })
        .await
    }

    pub async fn with(settings: Settings) -> Server {
        let registry = Registry::local(&LocalOptions::default());
        let context = ServerContext::new(ListenerSettings::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let port = bind_tcp(&context, Protocol::ZooKeeper, any).unwrap();
        let address = port.address;
        let _accepting = serve(&context, port, registry.clone(), settings);
        Server { address, registry }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address, 10_000, 0, &[0; 16])
            .await
            .unwrap()
    }
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub error: i32,
    pub body: Bytes,
}

impl Reply {
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }

    /// The event in a notification: its type and path.
    pub fn event(&self) -> (i32, String) {
        assert_eq!(self.xid, -1, "{self:?}");
        let mut reader = self.reader();
        let kind = reader.int().unwrap();
        assert_eq!(reader.int(), Ok(3));
        (kind, reader.text().unwrap())
    }
}

pub struct Client {
    pub stream: TcpStream,
    pub session: i64,
    pub password: Vec<u8>,
    pub timeout: i32,
    xid: i32,
}

/// The first message.
pub fn connect(timeout: i32, session: i64, password: &[u8], seen: i64, read_only: bool) -> Bytes {
    let mut writer = Writer::default();
    writer
        .int(0)
        .long(seen)
        .int(timeout)
        .long(session)
        .buffer(Some(password));
    if read_only {
        writer.boolean(false);
    }
    writer.finish()
}

pub async fn frame(stream: &mut TcpStream) -> Option<Bytes> {
    let read = async {
        let length = stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    };
    timeout(SOON, read).await.expect("an answer in time")
}

impl Client {
    /// None when the session is over or nothing is answered.
    pub async fn connect(
        address: SocketAddr,
        timeout: i32,
        session: i64,
        password: &[u8],
    ) -> Option<Client> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(&connect(timeout, session, password, 0, true))
            .await
            .unwrap();
        let answer = frame(&mut stream).await?;
        let mut reader = Reader::new(&answer);
        assert_eq!(reader.int(), Ok(0));
        let (timeout, session) = (reader.int().unwrap(), reader.long().unwrap());
        let password = reader.buffer().unwrap().unwrap().to_vec();
        assert_eq!(answer.len(), 37);
        (timeout != 0).then_some(Client {
            stream,
            session,
            password,
            timeout,
            xid: 0,
        })
    }

    /// Sends a request and does not wait; its xid.
    pub async fn send(&mut self, opcode: Opcode, body: impl FnOnce(&mut Writer)) -> i32 {
        self.xid += 1;
        let mut writer = Writer::default();
        writer.int(self.xid).int(opcode as i32);
        body(&mut writer);
        self.stream.write_all(&writer.finish()).await.unwrap();
        self.xid
    }

    /// The next message; none when the connection ended.
    pub async fn next(&mut self) -> Option<Reply> {
        let frame = frame(&mut self.stream).await?;
        let mut reader = Reader::new(&frame);
        Some(Reply {
            xid: reader.int().unwrap(),
            zxid: reader.long().unwrap(),
            error: reader.int().unwrap(),
            body: frame.slice(16..),
        })
    }

    /// Asks, and wants the answer next.
    pub async fn ask(&mut self, opcode: Opcode, body: impl FnOnce(&mut Writer)) -> Reply {
        let xid = self.send(opcode, body).await;
        let reply = self.next().await.expect("an answer");
        assert_eq!(reply.xid, xid, "{reply:?}");
        reply
    }

    pub async fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Reply {
        self.ask(Opcode::Create, |w| create(w, path, data, flags))
            .await
    }

    pub async fn delete(&mut self, path: &str) -> Reply {
        self.ask(Opcode::Delete, |w| {
            w.text(path).int(-1);
        })
        .await
    }

    pub async fn set(&mut self, path: &str, data: &[u8]) -> Reply {
        self.ask(Opcode::SetData, |w| {
            w.text(path).buffer(Some(data)).int(-1);
        })
        .await
    }

    pub async fn read(&mut self, opcode: Opcode, path: &str, watch: bool) -> Reply {
        self.ask(opcode, |w| {
            w.text(path).boolean(watch);
        })
        .await
    }
}

/// The body of a create with the list that is open to all.
pub fn create(w: &mut Writer, path: &str, data: &[u8], flags: i32) {
    w.text(path).buffer(Some(data));
    w.length(1).int(31).text("world").text("anyone");
    w.int(flags);
}
