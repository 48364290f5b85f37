//! As much of ZooKeeper's protocol as a load needs: a session, and requests whose answers come in their order.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Every permission for everybody.
const OPEN: &[u8] = &[
    0, 0, 0, 1, 0, 0, 0, 31, 0, 0, 0, 5, b'w', b'o', b'r', b'l', b'd', 0, 0, 0, 6, b'a', b'n',
    b'y', b'o', b'n', b'e',
];
/// The number that notifications have in place of a request's.
pub const NOTIFICATION: i32 = -1;

/// What is asked.
pub enum Ask<'a> {
    /// Makes a node.
    Create {
        path: &'a str,
        data: &'a [u8],
        ephemeral: bool,
    },
    /// Sets a node's data.
    Set { path: &'a str, data: &'a [u8] },
    /// Reads a node's data.
    Get { path: &'a str, watch: bool },
    /// Keeps the session.
    Ping,
}

/// One session on a connection of its own.
pub struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    next: i32,
    out: Vec<u8>,
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

impl Client {
    /// Begins a session of 40 s.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // While it starts ZooKeeper takes connections and never answers them.
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut client = Client {
            reader: BufReader::with_capacity(32 << 10, stream.try_clone()?),
            writer: stream,
            next: 0,
            out: Vec::new(),
        };
        let mut body = vec![0; 12];
        body.extend(40_000_u32.to_be_bytes());
        body.extend([0; 8]);
        text(&mut body, &[0; 16]);
        body.push(0);
        let mut frame = Vec::new();
        text(&mut frame, &body);
        client.writer.write_all(&frame)?;
        let answer = client.frame()?;
        client.writer.set_read_timeout(None)?;
        match answer.get(4..8) {
            Some([0, 0, 0, 0]) | None => Err(io::Error::other("no session")),
            Some(_) => Ok(client),
        }
    }

    /// Adds a request to those that the next [`Client::flush`] sends.
    pub fn ask(&mut self, ask: &Ask<'_>) {
        self.next = self.next.wrapping_add(1).max(1);
        let (number, kind) = match ask {
            Ask::Create { .. } => (self.next, 1_u32),
            Ask::Set { .. } => (self.next, 5),
            Ask::Get { .. } => (self.next, 4),
            Ask::Ping => (-2, 11),
        };
        let start = self.out.len();
        self.out.extend([0; 4]);
        self.out.extend(number.to_be_bytes());
        self.out.extend(kind.to_be_bytes());
        match ask {
            Ask::Create {
                path,
                data,
                ephemeral,
            } => {
                text(&mut self.out, path.as_bytes());
                text(&mut self.out, data);
                self.out.extend(OPEN);
                self.out.extend(u32::from(*ephemeral).to_be_bytes());
            }
            Ask::Set { path, data } => {
                text(&mut self.out, path.as_bytes());
                text(&mut self.out, data);
                self.out.extend((-1_i32).to_be_bytes());
            }
            Ask::Get { path, watch } => {
                text(&mut self.out, path.as_bytes());
                self.out.push(u8::from(*watch));
            }
            Ask::Ping => {}
        }
        let length = (self.out.len() - start - 4) as u32;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Sends what was asked.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    /// The next answer: its number and its error.
    pub fn answer(&mut self) -> io::Result<(i32, i32)> {
        let body = self.frame()?;
        let int = |at: usize| {
            let bytes: Option<[u8; 4]> = body.get(at..at + 4).and_then(|four| four.try_into().ok());
            bytes.map(i32::from_be_bytes)
        };
        match (int(0), int(12)) {
            (Some(number), Some(error)) => Ok((number, error)),
            _ => Err(io::Error::other("an answer without a head")),
        }
    }

    /// One request and its answer, which must be a good one.
    pub fn call(&mut self, ask: &Ask<'_>) -> io::Result<()> {
        self.ask(ask);
        self.flush()?;
        match self.answer()? {
            (_, 0) => Ok(()),
            (_, error) => Err(io::Error::other(format!("error {error}"))),
        }
    }
}
