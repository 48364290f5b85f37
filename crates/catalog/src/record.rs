//! Records: raw keys and values, for the protocols that really are key-value stores.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use bytes::Bytes;

use crate::acl::Acl;
use crate::endpoint::EndpointKey;
use crate::ids::{InstanceKey, Keyspace, LeaseId, Revision, SessionId, Timestamp};

/// A record's key: bytes, ordered bytewise, cheap to clone. Copies what it is made from and so pins no receive buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key(bytes.into())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key(text.as_bytes().into())
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Key {
    /// The key as text, if it is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The key of the znode at `path` (`/a/b`): its parent's path, a zero byte, its name, so that the children of one parent are
    /// contiguous. The root's is empty.
    pub fn znode(path: &str) -> Key {
        match path.trim_end_matches('/').rsplit_once('/') {
            Some((parent, name)) => Key::from(format!("{parent}\0{name}").as_str()),
            None => Key::from(""),
        }
    }

    /// The key of the znode called `name` below `parent` (a path, empty for the root). An empty name is that of a node of which only the
    /// sequence number is known.
    pub fn znode_child(parent: &str, name: &str) -> Key {
        Key::from(format!("{parent}\0{name}").as_str())
    }

    /// The key of a znode's parent; none for the root.
    pub fn znode_parent(&self) -> Option<Key> {
        let (parent, _) = self.as_text()?.split_once('\0')?;
        Some(Key::znode(parent))
    }

    /// The path of a znode's key: the inverse of [`Key::znode`].
    pub fn znode_path(&self) -> String {
        match self.as_text().unwrap_or_default() {
            "" => "/".to_owned(),
            text => text.replacen('\0', "/", 1),
        }
    }
}

/// Both ends of a range, borrowed.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Which keys: one, or an interval of keys in byte order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// That one key.
    One(Key),
    /// From the first (included) to the second (excluded); empty when the second is not greater.
    Between(Key, Key),
    /// From that key on.
    From(Key),
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange::From(Key::from(&[][..]))
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let start = Key::from(prefix);
        match prefix.iter().rposition(|b| *b != 0xff) {
            Some(at) => {
                let mut end = prefix[..=at].to_vec();
                end[at] += 1;
                KeyRange::Between(start, Key::from(&end[..]))
            }
            None => KeyRange::From(start),
        }
    }

    /// Whether `key` is in.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => **one == *key,
            KeyRange::Between(start, end) => **start <= *key && *key < **end,
            KeyRange::From(start) => **start <= *key,
        }
    }

    /// The first key that could be in.
    pub fn start(&self) -> &Key {
        match self {
            KeyRange::One(key) | KeyRange::Between(key, _) | KeyRange::From(key) => key,
        }
    }

    /// As bounds for an ordered map.
    pub(crate) fn bounds(&self) -> Bounds<'_> {
        match self {
            KeyRange::One(key) => (Bound::Included(key), Bound::Included(key)),
            KeyRange::Between(start, end) if start < end => {
                (Bound::Included(start), Bound::Excluded(end))
            }
            KeyRange::Between(start, _) => (Bound::Included(start), Bound::Excluded(start)),
            KeyRange::From(start) => (Bound::Included(start), Bound::Unbounded),
        }
    }
}

/// The lock on a Consul key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Who holds it now.
    pub session: Option<SessionId>,
    /// How often it was acquired by somebody new.
    pub index: u64,
}

/// How a znode was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZnodeKind {
    /// Stays.
    #[default]
    Persistent,
    /// Goes with its session, which is the record's lease.
    Ephemeral,
    /// Goes when its last child went.
    Container,
    /// Goes when unmodified and without children for this many milliseconds.
    Ttl(u64),
}

/// What a znode has beside its data. Counters of children live in the parent's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Znode {
    /// How it was created.
    pub kind: ZnodeKind,
    /// Who may do what with it.
    pub acl: Acl,
    /// Times the ACL was changed.
    pub acl_version: i32,
    /// Children created so far: the sequence; cversion = 2 × creates − children.
    pub creates: i64,
    /// Children there now, without those that are there from the beginning ([`crate::tree::FIRST`]).
    pub children: i64,
    /// Revision of the last creation or removal of a child.
    pub children_modified: Revision,
}

/// What a Nacos configuration has beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NacosConfig {
    /// MD5 of the content, hex.
    pub md5: Arc<str>,
    /// `text`, `json`, `yaml`...
    pub kind: Arc<str>,
    /// Application name.
    pub app: Arc<str>,
    /// Tags, comma separated.
    pub tags: Arc<str>,
}

/// What a record has beside key and value, by protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extension {
    /// Nothing.
    #[default]
    None,
    /// A znode.
    Znode(Arc<Znode>),
    /// A Nacos configuration.
    Nacos(Arc<NacosConfig>),
}

/// The instances that were recognised in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recognised {
    /// None.
    #[default]
    None,
    /// One, whose key is [`InstanceKey::record`] of the record's.
    One,
    /// Several, or one with a key of its own. An instance that went since is still named.
    Many(Arc<[InstanceKey]>),
}

impl Recognised {
    /// The instances of the record under `key`.
    pub fn keys(&self, space: Keyspace, key: &[u8]) -> Vec<InstanceKey> {
        match self {
            Recognised::None => Vec::new(),
            Recognised::One => std::str::from_utf8(key)
                .map(|text| InstanceKey::record(space, text))
                .into_iter()
                .collect(),
            Recognised::Many(keys) => keys.to_vec(),
        }
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        *self != Recognised::None
    }
}

/// What a derived record was rendered from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Derived {
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// The layout's name.
    pub layout: Arc<str>,
}

/// A record: the value under one key of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value; null is not the same as empty (ZooKeeper).
    pub value: Option<Bytes>,
    /// Puts since creation, from 1.
    pub version: u64,
    /// Consul's flags.
    pub flags: u64,
    /// What keeps it alive, if anything does.
    pub lease: Option<LeaseId>,
    /// The lock, if it was ever locked.
    pub lock: Option<Arc<Lock>>,
    /// The instances recognised in it.
    pub recognised: Recognised,
    /// What it was rendered from, if it is derived and not written by a client.
    pub derived_from: Option<Arc<Derived>>,
    /// By protocol.
    pub extension: Extension,
    /// Revision of the put that created this incarnation.
    pub created: Revision,
    /// Revision of the last put.
    pub modified: Revision,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last put.
    pub modified_at: Timestamp,
}

impl Record {
    /// An empty value at its first version, at no revision yet.
    pub(crate) fn empty() -> Record {
        Record {
            value: Some(Bytes::new()),
            version: 1,
            flags: 0,
            lease: None,
            lock: None,
            recognised: Recognised::None,
            derived_from: None,
            extension: Extension::None,
            created: Revision(0),
            modified: Revision(0),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
        }
    }

    /// Whether it is a znode that goes by itself.
    pub(crate) fn passes(&self) -> bool {
        match &self.extension {
            Extension::Znode(node) => matches!(node.kind, ZnodeKind::Container | ZnodeKind::Ttl(_)),
            Extension::None | Extension::Nacos(_) => false,
        }
    }

    /// What it has as a znode; the defaults where it has nothing of its own.
    pub fn znode(&self) -> Znode {
        match &self.extension {
            Extension::Znode(node) => (**node).clone(),
            Extension::None | Extension::Nacos(_) => Znode::default(),
        }
    }

    /// The value, empty when it is null.
    pub fn bytes(&self) -> Bytes {
        self.value.clone().unwrap_or_default()
    }

    /// The session that holds the lock.
    pub fn holder(&self) -> Option<SessionId> {
        self.lock.as_ref().and_then(|lock| lock.session)
    }
}
