//! A client of one side that writes down what it hears, with numbers that only one side can have replaced by what they stand for.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use portolan_protocol_zookeeper::wire::{Opcode, Reader, Writer};

use super::generate::Ask;

type Heard = Vec<String>;

/// What was heard, for people.
pub fn said(heard: &Heard) -> String {
    heard.iter().map(|line| format!("  {line}\n")).collect()
}

struct Connection {
    stream: TcpStream,
    session: i64,
    password: Vec<u8>,
    xid: i32,
    last_zxid: i64,
}

/// All sessions of one side.
pub struct Side {
    address: SocketAddr,
    connections: Vec<Connection>,
    /// Which step made a zxid.
    steps: HashMap<i64, u64>,
    /// Which client has a session.
    owners: HashMap<i64, usize>,
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

impl Connection {
    fn open(
        address: SocketAddr,
        session: i64,
        password: &[u8],
        seen: i64,
    ) -> Result<Connection, String> {
        let stream = TcpStream::connect(address).map_err(text)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let mut connection = Connection {
            stream,
            session,
            password: password.to_vec(),
            xid: 0,
            last_zxid: seen,
        };
        let mut writer = Writer::default();
        writer
            .int(0)
            .long(seen)
            .int(40_000)
            .long(session)
            .buffer(Some(password))
            .boolean(false);
        connection.send(writer)?;
        let frame = connection.frame()?;
        let mut reader = Reader::new(&frame);
        let (_, timeout) = (reader.int().unwrap(), reader.int().unwrap());
        connection.session = reader.long().unwrap();
        connection.password = reader.buffer().unwrap().unwrap_or_default().to_vec();
        if timeout == 0 {
            return Err("the session is over".into());
        }
        Ok(connection)
    }

    fn send(&mut self, writer: Writer) -> Result<(), String> {
        self.stream.write_all(&writer.finish()).map_err(text)
    }

    fn frame(&mut self) -> Result<Vec<u8>, String> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(text)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).map_err(text)?;
        Ok(frame)
    }
}

impl Side {
    pub fn connect(address: SocketAddr, sessions: usize) -> Result<Side, String> {
        let mut side = Side {
            address,
            connections: Vec::new(),
            steps: HashMap::from([(0, 0)]),
            owners: HashMap::from([(0, 0)]),
        };
        for index in 0..sessions {
            let connection = Connection::open(address, 0, &[0; 16], 0)?;
            side.owners.insert(connection.session, index + 1);
            side.connections.push(connection);
        }
        Ok(side)
    }

    /// Asks on one connection, and hears what all of them are told.
    pub fn ask(&mut self, session: usize, ask: &Ask, step: u64) -> Result<Heard, String> {
        let connection = &mut self.connections[session];
        connection.xid += 1;
        let (xid, opcode) = (connection.xid, ask.opcode);
        let mut writer = Writer::default();
        writer.int(xid).int(opcode as i32);
        (ask.body)(&mut writer);
        connection.send(writer)?;
        let mut heard = Vec::new();
        loop {
            let frame = self.connections[session].frame()?;
            let mut reader = Reader::new(&frame);
            let (of, zxid, error) = header(&mut reader);
            if of == -1 {
                let event = self.event(session, zxid, &mut reader);
                heard.push(event);
                continue;
            }
            if of != xid {
                return Err(format!("an answer to {of} and not to {xid}"));
            }
            if error == 0 && ask.writes() {
                self.steps.entry(zxid).or_insert(step);
            }
            if zxid > 0 {
                self.connections[session].last_zxid = zxid;
            }
            let body = if error == 0 {
                self.body(opcode, &mut reader)
            } else {
                String::new()
            };
            heard.push(format!("{} {error} {body}", opcode.name()));
            break;
        }
        self.listen(&mut heard)?;
        Ok(heard)
    }

    /// Hears what was told until now: whatever was queued before the answer to a ping.
    fn listen(&mut self, heard: &mut Heard) -> Result<(), String> {
        for session in 0..self.connections.len() {
            let mut writer = Writer::default();
            writer.int(-2).int(Opcode::Ping as i32);
            self.connections[session].send(writer)?;
            loop {
                let frame = self.connections[session].frame()?;
                let mut reader = Reader::new(&frame);
                let (of, zxid, _) = header(&mut reader);
                if of == -2 {
                    self.connections[session].last_zxid = zxid;
                    break;
                }
                let event = self.event(session, zxid, &mut reader);
                heard.push(event);
            }
        }
        Ok(())
    }

    fn event(&self, session: usize, zxid: i64, reader: &mut Reader<'_>) -> String {
        let kind = reader.int().unwrap();
        let _state = reader.int();
        let path = reader.text().unwrap();
        // Of a step that is not answered yet the number is not known here: it is the newest.
        let step = match zxid {
            -1 => "made up".to_owned(),
            zxid => self
                .steps
                .get(&zxid)
                .map_or("now".to_owned(), u64::to_string),
        };
        format!("session {session} is told {kind} {path} at {step}")
    }

    /// The client closes its session, and begins another.
    pub fn reopen(&mut self, session: usize, step: u64) -> Result<Heard, String> {
        let close = Ask::new(Opcode::CloseSession, |_| {});
        let connection = &mut self.connections[session];
        connection.xid += 1;
        let xid = connection.xid;
        let mut writer = Writer::default();
        writer.int(xid).int(close.opcode as i32);
        connection.send(writer)?;
        let mut heard = Vec::new();
        loop {
            let frame = self.connections[session].frame()?;
            let mut reader = Reader::new(&frame);
            let (of, zxid, error) = header(&mut reader);
            if of == -1 {
                // Its own ephemerals go: it may or may not hear of it.
                continue;
            }
            self.steps.entry(zxid).or_insert(step);
            heard.push(format!("closed {error}"));
            break;
        }
        let connection = Connection::open(self.address, 0, &[0; 16], 0)?;
        self.owners.insert(connection.session, session + 1);
        self.connections[session] = connection;
        self.listen(&mut heard)?;
        // Its ephemerals go in no particular order.
        heard.sort_unstable();
        Ok(heard)
    }

    /// The client loses its connection, and comes back to its session.
    pub fn reconnect(&mut self, session: usize) -> Result<Heard, String> {
        let old = &self.connections[session];
        let (id, password, xid) = (old.session, old.password.clone(), old.xid);
        let again = Connection::open(self.address, id, &password, old.last_zxid)?;
        self.connections[session] = Connection { xid, ..again };
        let mut heard = vec!["back".to_owned()];
        self.listen(&mut heard)?;
        Ok(heard)
    }

    fn body(&self, opcode: Opcode, reader: &mut Reader<'_>) -> String {
        match opcode {
            Opcode::Create | Opcode::Sync => reader.text().unwrap(),
            Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
                format!("{} {}", reader.text().unwrap(), self.stat(reader))
            }
            Opcode::Exists | Opcode::SetData | Opcode::SetAcl => self.stat(reader),
            Opcode::GetData => {
                let data = reader.buffer().unwrap().map(<[u8]>::to_vec);
                format!("{data:?} {}", self.stat(reader))
            }
            Opcode::GetAcl => {
                let list = reader
                    .list(|r| Ok((r.int()?, r.text()?, r.text()?)))
                    .unwrap();
                format!("{list:?} {}", self.stat(reader))
            }
            Opcode::GetChildren => texts(reader),
            Opcode::GetChildren2 => format!("{} {}", texts(reader), self.stat(reader)),
            Opcode::GetEphemerals => texts(reader),
            Opcode::GetAllChildrenNumber | Opcode::AddWatch => reader.int().unwrap().to_string(),
            Opcode::WhoAmI => {
                // ZooKeeper has them in no order.
                let list = reader.list(|r| Ok((r.text()?, r.text()?))).unwrap();
                let mut list = list.unwrap_or_default();
                list.sort_unstable();
                format!("{list:?}")
            }
            Opcode::Multi | Opcode::MultiRead => self.results(reader),
            _ => String::new(),
        }
    }

    fn results(&self, reader: &mut Reader<'_>) -> String {
        let mut all = String::new();
        loop {
            let (number, done, error) = (
                reader.int().unwrap(),
                reader.boolean().unwrap(),
                reader.int().unwrap(),
            );
            if done {
                return all;
            }
            let body = match Opcode::of(number) {
                _ if number == -1 => reader.int().unwrap().to_string(),
                Some(opcode) => self.body(opcode, reader),
                None => "?".into(),
            };
            all.push_str(&format!("[{number} {error} {body}]"));
        }
    }

    fn stat(&self, reader: &mut Reader<'_>) -> String {
        let mut long = || reader.long().unwrap();
        let (czxid, mzxid, _ctime, _mtime) = (long(), long(), long(), long());
        let (version, cversion, aversion) = (
            reader.int().unwrap(),
            reader.int().unwrap(),
            reader.int().unwrap(),
        );
        let owner = reader.long().unwrap();
        let (length, children) = (reader.int().unwrap(), reader.int().unwrap());
        let pzxid = reader.long().unwrap();
        // A step that is being answered has no number here yet.
        let step = |zxid: i64| self.steps.get(&zxid).map_or("?".into(), u64::to_string);
        let owner = self.owners.get(&owner).map_or("?".into(), usize::to_string);
        format!(
            "c{} m{} p{} v{version} cv{cversion} av{aversion} owner {owner} length {length} children {children}",
            step(czxid),
            step(mzxid),
            step(pzxid)
        )
    }
}

fn header(reader: &mut Reader<'_>) -> (i32, i64, i32) {
    (
        reader.int().unwrap(),
        reader.long().unwrap(),
        reader.int().unwrap(),
    )
}

fn texts(reader: &mut Reader<'_>) -> String {
    let mut list = reader.list(Reader::text).unwrap().unwrap_or_default();
    list.sort_unstable();
    format!("{list:?}")
}
