//! What the server sends.

use bytes::Bytes;

use super::jute::Writer;

/// What a client learns of a node beside its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "ZooKeeper's names")]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Writer {
    /// A reply's header.
    pub fn header(&mut self, xid: i32, zxid: i64, error: i32) -> &mut Self {
        self.int(xid).long(zxid).int(error)
    }

    /// What stands before each result of a transaction.
    pub fn multi_header(&mut self, opcode: i32, done: bool, error: i32) -> &mut Self {
        self.int(opcode).boolean(done).int(error)
    }

    /// The end of a transaction's results.
    pub fn multi_end(&mut self) -> &mut Self {
        self.multi_header(-1, true, -1)
    }

    /// A stat.
    pub fn stat(&mut self, stat: &Stat) -> &mut Self {
        self.long(stat.czxid)
            .long(stat.mzxid)
            .long(stat.ctime)
            .long(stat.mtime)
            .int(stat.version)
            .int(stat.cversion)
            .int(stat.aversion)
            .long(stat.ephemeral_owner)
            .int(stat.data_length)
            .int(stat.num_children)
            .long(stat.pzxid)
    }

    /// A list of texts.
    pub fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) -> &mut Self {
        self.length(texts.len());
        for text in texts {
            self.text(text);
        }
        self
    }
}

/// The answer to the first message. Without a session (0) the client's one is over.
pub fn connected(timeout: i32, session: i64, password: [u8; 16], tells_read_only: bool) -> Bytes {
    let mut writer = Writer::default();
    writer
        .int(0)
        .int(timeout)
        .long(session)
        .buffer(Some(&password));
    if tells_read_only {
        writer.boolean(false);
    }
    writer.finish()
}

/// What happened to a watched node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "ZooKeeper's names")]
#[repr(i32)]
pub enum Event {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// A notification; `zxid` -1 when it makes up for one that came while the client was away.
pub fn notification(event: Event, zxid: i64, path: &str) -> Bytes {
    const CONNECTED: i32 = 3;
    let mut writer = Writer::with_capacity(32 + path.len());
    writer.header(-1, zxid, 0);
    writer.int(event as i32).int(CONNECTED).text(path);
    writer.finish()
}

/// A reply without a body.
pub fn bare(xid: i32, zxid: i64, error: i32) -> Bytes {
    let mut writer = Writer::with_capacity(16);
    writer.header(xid, zxid, error);
    writer.finish()
}
