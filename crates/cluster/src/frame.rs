//! What goes over a connection between servers: one hello each way, then frames.
//!
//! Hello: `PTLC`, length u16 of the rest, version u8, role u8, level u32, cluster u64, node u64, then name and datacenter, each as length u8
//! and bytes. Frame: length u32 of the rest, kind u8, channel u8, request id u64, payload. Numbers are little endian.

use portolan_environment::Channel;
use thiserror::Error;

/// The version of hello and frames that this server speaks.
pub const VERSION: u8 = 1;
/// What a hello begins with.
const MAGIC: &[u8; 4] = b"PTLC";
/// Bytes of a hello before its length is known.
pub const HELLO_HEAD: usize = 6;
/// Fixed bytes of a hello after its length.
const HELLO_FIXED: usize = 1 + 1 + 4 + 8 + 8;
/// A hello is no longer than this.
pub const HELLO_BYTES: usize = HELLO_FIXED + 2 * (1 + 255);
/// Bytes of a frame before its payload.
pub const FRAME_HEAD: usize = 4 + FRAME_REST;
const FRAME_REST: usize = 1 + 1 + 8;
/// A payload is no longer than this, unless told otherwise: several batches of the log, each as large as a client's largest write.
pub const PAYLOAD_BYTES: usize = 64 << 20;

/// What is wrong with bytes that arrived. The connection they came on is closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not a hello: something else speaks there.
    #[error("it does not speak the protocol of the cluster port")]
    NoHello,
    /// A hello of a version that this server does not know.
    #[error("it speaks version {0} of the cluster port, this server speaks version {VERSION}")]
    Version(u8),
    /// A hello whose parts do not fit.
    #[error("its hello is damaged")]
    Hello,
    /// A frame of an unknown kind or channel.
    #[error("it sent a frame of an unknown kind")]
    Kind,
    /// A frame longer than allowed, or too short for its head.
    #[error("it sent a frame of {0} bytes")]
    Length(u32),
}

/// What speaks at the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A server with a vote, or on its way to one.
    #[default]
    Server = 0,
    /// An agent: it follows and forwards, and is never asked.
    Agent = 1,
    /// A server or agent of another datacenter: it follows and forwards.
    Datacenter = 2,
}

/// Who speaks, said first on every connection by both ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// What it is.
    pub role: Role,
    /// The highest feature level it knows.
    pub level: u32,
    /// Its cluster; 0 while it belongs to none.
    pub cluster: u64,
    /// Its Raft id, never 0.
    pub node: u64,
    /// Its name; at most 255 bytes.
    pub name: String,
    /// Its datacenter; at most 255 bytes.
    pub datacenter: String,
}

impl Hello {
    /// The bytes of this hello. What is longer than allowed is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (name, datacenter) = (short(&self.name), short(&self.datacenter));
        let length = HELLO_FIXED + 1 + name.len() + 1 + datacenter.len();
        let mut bytes = Vec::with_capacity(HELLO_HEAD + length);
        bytes.extend(MAGIC);
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend([VERSION, self.role as u8]);
        bytes.extend(self.level.to_le_bytes());
        bytes.extend(self.cluster.to_le_bytes());
        bytes.extend(self.node.to_le_bytes());
        for text in [name, datacenter] {
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    /// How many bytes follow the first [`HELLO_HEAD`].
    ///
    /// # Errors
    /// [`Malformed`] when no hello begins like this.
    pub fn rest(head: &[u8; HELLO_HEAD]) -> Result<usize, Malformed> {
        let [a, b, c, d, low, high] = *head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        if [a, b, c, d] != *MAGIC || length == 0 || length > HELLO_BYTES {
            return Err(Malformed::NoHello);
        }
        Ok(length)
    }

    /// Reads what follows the head.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(rest: &[u8]) -> Result<Hello, Malformed> {
        let mut reader = Reader(rest);
        match reader.u8()? {
            VERSION => {}
            other => return Err(Malformed::Version(other)),
        }
        let role = match reader.u8()? {
            0 => Role::Server,
            1 => Role::Agent,
            2 => Role::Datacenter,
            _ => return Err(Malformed::Hello),
        };
        let hello = Hello {
            role,
            level: u32::from_le_bytes(reader.array()?),
            cluster: u64::from_le_bytes(reader.array()?),
            node: u64::from_le_bytes(reader.array()?),
            name: reader.text()?,
            datacenter: reader.text()?,
        };
        match hello.node != 0 && reader.0.is_empty() {
            true => Ok(hello),
            false => Err(Malformed::Hello),
        }
    }
}

/// At most 255 bytes of a text, whole characters.
fn short(text: &str) -> &str {
    let end = (0..=text.len().min(255)).rfind(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Hello)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Hello)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u8()?;
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Hello)
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request; the answer carries its id.
    Request = 0,
    /// The answer to a request.
    Answer = 1,
    /// There is no answer: the payload says why, in words.
    Failed = 2,
    /// Asks for a sign of life.
    Ping = 3,
    /// The sign of life.
    Pong = 4,
    /// The connection is refused: the payload says why, in words. Nothing follows.
    Refused = 5,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Whom it is for.
    pub channel: Channel,
    /// The request's id, chosen by who asks.
    pub id: u64,
    /// Bytes that follow.
    pub payload: usize,
}

impl Head {
    /// The bytes of the head of a frame with `payload` bytes behind it.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEAD] {
        let mut bytes = [0; FRAME_HEAD];
        let length = u32::try_from(self.payload + FRAME_REST).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.channel as u8;
        bytes[6..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// Reads a head; `most` is the longest payload that is allowed.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8; FRAME_HEAD], most: usize) -> Result<Head, Malformed> {
        let [a, b, c, d, kind, channel, id @ ..] = *bytes;
        let length = u32::from_le_bytes([a, b, c, d]);
        let payload = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(FRAME_REST))
            .filter(|payload| *payload <= most)
            .ok_or(Malformed::Length(length))?;
        let kind = match kind {
            0 => Kind::Request,
            1 => Kind::Answer,
            2 => Kind::Failed,
            3 => Kind::Ping,
            4 => Kind::Pong,
            5 => Kind::Refused,
            _ => return Err(Malformed::Kind),
        };
        Ok(Head {
            kind,
            channel: Channel::from_number(channel).ok_or(Malformed::Kind)?,
            id: u64::from_le_bytes(id),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            role: Role::Agent,
            level: 7,
            cluster: 1 << 40,
            node: 9,
            name: "n1".into(),
            datacenter: "dc1".into(),
        }
    }

    fn read(bytes: &[u8]) -> Result<Hello, Malformed> {
        let (head, rest) = bytes.split_at(HELLO_HEAD);
        let length = Hello::rest(head.try_into().unwrap())?;
        Hello::decode(rest.get(..length).ok_or(Malformed::Hello)?)
    }

    #[test]
    fn a_hello_arrives_and_a_damaged_one_is_refused() {
        let bytes = hello().encode();
        assert_eq!(read(&bytes), Ok(hello()));
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                // Another hello or an error, never a panic.
                let _either = read(&damaged);
            }
            if at >= HELLO_HEAD {
                assert!(Hello::decode(&bytes[HELLO_HEAD..at]).is_err(), "{at}");
            }
        }
        let mut later = bytes;
        later[HELLO_HEAD] = 9;
        assert_eq!(read(&later), Err(Malformed::Version(9)));
        assert_eq!(Hello::rest(b"GET / "), Err(Malformed::NoHello), "a browser");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let long = Hello {
            name: "ä".repeat(300),
            ..hello()
        };
        assert_eq!(read(&long.encode()).unwrap().name, "ä".repeat(127));
    }

    #[test]
    fn heads_arrive_and_bad_ones_are_refused() {
        let head = Head {
            kind: Kind::Failed,
            channel: Channel::Feed,
            id: 77,
            payload: 1000,
        };
        assert_eq!(Head::decode(&head.encode(), 1000), Ok(head));
        assert_eq!(
            Head::decode(&head.encode(), 999),
            Err(Malformed::Length(1010))
        );
        let mut bytes = head.encode();
        bytes[5] = 4;
        assert_eq!(Head::decode(&bytes, 1000), Err(Malformed::Kind));
        bytes[..4].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(Head::decode(&bytes, 1000), Err(Malformed::Length(3)));
    }
}
