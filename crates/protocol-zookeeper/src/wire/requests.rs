//! What clients send.

use bytes::Bytes;

use super::jute::{Malformed, Reader};
use super::opcode::Opcode;

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The newest zxid the client has seen.
    pub last_zxid: i64,
    /// The timeout it wants, ms.
    pub timeout: i32,
    /// The session to take up; 0 for a new one.
    pub session: i64,
    /// That session's password.
    pub password: Vec<u8>,
    /// Whether the client says if it can do with reading only: old ones do not, and are answered without that byte.
    pub tells_read_only: bool,
}

impl Connect {
    /// Reads the body.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(frame: &[u8]) -> Result<Connect, Malformed> {
        let mut reader = Reader::new(frame);
        let _version = reader.int()?;
        let last_zxid = reader.long()?;
        let timeout = reader.int()?;
        let session = reader.long()?;
        let password = reader.buffer()?.unwrap_or_default().to_vec();
        let tells_read_only = reader.boolean().is_ok();
        Ok(Connect {
            last_zxid,
            timeout,
            session,
            password,
            tells_read_only,
        })
    }
}

/// What stands before every further request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Echoed in the reply.
    pub xid: i32,
    /// The operation's number, known or not.
    pub opcode: i32,
}

impl Header {
    /// Takes the header off a frame.
    ///
    /// # Errors
    /// When the frame is too short: the connection ends.
    pub fn read(reader: &mut Reader<'_>) -> Result<Header, Malformed> {
        Ok(Header {
            xid: reader.int()?,
            opcode: reader.int()?,
        })
    }
}

/// One entry of an ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Bits.
    pub permissions: i32,
    /// `world`, `auth`, `digest`, `ip`, `x509`, `sasl`.
    pub scheme: String,
    /// Whom.
    pub id: String,
}

/// The paths that a client watched on an earlier connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Watched by getData and exists of nodes that were there.
    pub data: Vec<String>,
    /// Watched by exists of nodes that were not there.
    pub exist: Vec<String>,
    /// Watched by getChildren.
    pub child: Vec<String>,
    /// addWatch.
    pub persistent: Vec<String>,
    /// addWatch, recursive.
    pub recursive: Vec<String>,
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// All four ways to create.
    Create {
        /// Which of them.
        opcode: Opcode,
        /// Path, without the number for a sequential node.
        path: String,
        /// Data; null is not empty.
        data: Option<Bytes>,
        /// None is null.
        acl: Option<Vec<Acl>>,
        /// Mode.
        flags: i32,
        /// Milliseconds; -1 where none was given.
        ttl: i64,
    },
    /// Delete, or a check within a multi.
    Versioned {
        /// Which of them.
        opcode: Opcode,
        /// Path.
        path: String,
        /// -1 for any.
        version: i32,
    },
    /// exists, getData, getChildren, getChildren2.
    Read {
        /// Which of them.
        opcode: Opcode,
        /// Path.
        path: String,
        /// Whether to watch.
        watch: bool,
    },
    /// setData.
    SetData {
        /// Path.
        path: String,
        /// Data; null is not empty.
        data: Option<Bytes>,
        /// -1 for any.
        version: i32,
    },
    /// setACL.
    SetAcl {
        /// Path.
        path: String,
        /// None is null.
        acl: Option<Vec<Acl>>,
        /// -1 for any.
        version: i32,
    },
    /// getACL, sync, getAllChildrenNumber, getEphemerals (a prefix).
    OfPath {
        /// Which of them.
        opcode: Opcode,
        /// Path.
        path: String,
    },
    /// multi.
    Multi(Vec<Request>),
    /// multiRead.
    MultiRead(Vec<Request>),
    /// addWatch (a mode), checkWatches and removeWatches (a kind of watch).
    Watch {
        /// Which of them.
        opcode: Opcode,
        /// Path.
        path: String,
        /// Mode or kind.
        kind: i32,
    },
    /// setWatches, setWatches2.
    SetWatches {
        /// The newest zxid the client has seen.
        since: i64,
        /// What it watched.
        lists: Lists,
    },
    /// auth.
    Auth {
        /// Scheme.
        scheme: String,
        /// Credentials.
        credentials: Vec<u8>,
    },
    /// ping, whoAmI, closeSession, sasl, reconfig: nothing in the body is of use.
    Plain(Opcode),
}

impl Request {
    /// Reads the body of an operation.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(opcode: Opcode, reader: &mut Reader<'_>) -> Result<Request, Malformed> {
        Ok(match opcode {
            Opcode::Create | Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
                Request::Create {
                    opcode,
                    path: reader.text()?,
                    data: data(reader)?,
                    acl: acls(reader)?,
                    flags: reader.int()?,
                    ttl: if opcode == Opcode::CreateTtl {
                        reader.long()?
                    } else {
                        -1
                    },
                }
            }
            Opcode::Delete | Opcode::Check => Request::Versioned {
                opcode,
                path: reader.text()?,
                version: reader.int()?,
            },
            Opcode::Exists | Opcode::GetData | Opcode::GetChildren | Opcode::GetChildren2 => {
                Request::Read {
                    opcode,
                    path: reader.text()?,
                    watch: reader.boolean()?,
                }
            }
            Opcode::SetData => Request::SetData {
                path: reader.text()?,
                data: data(reader)?,
                version: reader.int()?,
            },
            Opcode::SetAcl => Request::SetAcl {
                path: reader.text()?,
                acl: acls(reader)?,
                version: reader.int()?,
            },
            Opcode::GetAcl
            | Opcode::Sync
            | Opcode::GetAllChildrenNumber
            | Opcode::GetEphemerals => Request::OfPath {
                opcode,
                path: reader.text()?,
            },
            Opcode::Multi => Request::Multi(operations(reader, |opcode| {
                matches!(
                    opcode,
                    Opcode::Create
                        | Opcode::Create2
                        | Opcode::CreateContainer
                        | Opcode::CreateTtl
                        | Opcode::Delete
                        | Opcode::SetData
                        | Opcode::Check
                )
            })?),
            Opcode::MultiRead => Request::MultiRead(operations(reader, |opcode| {
                matches!(opcode, Opcode::GetData | Opcode::GetChildren)
            })?),
            Opcode::AddWatch | Opcode::CheckWatches | Opcode::RemoveWatches => {
                let path = reader.text()?;
                let kind = reader.int()?;
                let known = match opcode {
                    Opcode::AddWatch => 0..=1,
                    _ => 1..=5,
                };
                if !known.contains(&kind) {
                    return Err(Malformed);
                }
                Request::Watch { opcode, path, kind }
            }
            Opcode::SetWatches | Opcode::SetWatches2 => {
                let since = reader.long()?;
                let mut lists = Lists {
                    data: paths(reader)?,
                    exist: paths(reader)?,
                    child: paths(reader)?,
                    ..Lists::default()
                };
                if opcode == Opcode::SetWatches2 {
                    lists.persistent = paths(reader)?;
                    lists.recursive = paths(reader)?;
                }
                Request::SetWatches { since, lists }
            }
            Opcode::Auth => {
                let _kind = reader.int()?;
                Request::Auth {
                    scheme: reader.text()?,
                    credentials: reader.buffer()?.unwrap_or_default().to_vec(),
                }
            }
            Opcode::Ping
            | Opcode::WhoAmI
            | Opcode::CloseSession
            | Opcode::Sasl
            | Opcode::Reconfig => Request::Plain(opcode),
        })
    }
}

/// A copy: what is kept of a frame must not keep the frame.
fn data(reader: &mut Reader<'_>) -> Result<Option<Bytes>, Malformed> {
    Ok(reader.buffer()?.map(Bytes::copy_from_slice))
}

fn acls(reader: &mut Reader<'_>) -> Result<Option<Vec<Acl>>, Malformed> {
    reader.list(|reader| {
        Ok(Acl {
            permissions: reader.int()?,
            scheme: reader.text()?,
            id: reader.text()?,
        })
    })
}

fn paths(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    Ok(reader.list(Reader::text)?.unwrap_or_default())
}

/// The operations of a transaction, each behind a header of its own, up to the one that says it is the last.
fn operations(
    reader: &mut Reader<'_>,
    allowed: impl Fn(Opcode) -> bool,
) -> Result<Vec<Request>, Malformed> {
    let mut all = Vec::new();
    loop {
        let number = reader.int()?;
        let done = reader.boolean()?;
        let _error = reader.int()?;
        if done {
            return Ok(all);
        }
        let opcode = Opcode::of(number).filter(|opcode| allowed(*opcode));
        let mut request = Request::read(opcode.ok_or(Malformed)?, reader)?;
        // Within a transaction ZooKeeper takes an unknown mode for a body that it cannot read, and has no time to live for a mode without.
        if let Request::Create {
            opcode, flags, ttl, ..
        } = &mut request
        {
            match flags {
                5 | 6 => {}
                0..=4 => {
                    *ttl = -1;
                    if *opcode == Opcode::CreateTtl {
                        *opcode = Opcode::Create;
                    }
                }
                _ => return Err(Malformed),
            }
        }
        all.push(request);
    }
}
