//! Where users and roles are kept, as JSON in records of the settings, and the operations that change them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use portolan_catalog::{
    Comparand, Compare, Expect, Key, KeyRange, Keyspace, Op, Put, Record, Relation, Revision,
    State, Write,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

const SPACE: Keyspace = Keyspace::Settings;
/// The switch and the count of changes. Every change puts it.
const HEAD: &str = "etcd/auth/head";
const USERS: &str = "etcd/auth/user/";
const ROLES: &str = "etcd/auth/role/";

/// Bytes of a name at most; with what is before it a record's key has to have room for it.
pub(crate) const NAME_BYTES: usize = 2048;

/// The switch, the count of changes and the key of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    /// Whether etcd's port asks who somebody is.
    pub(crate) enabled: bool,
    /// etcd's revision of users and roles: 1 before any change.
    pub(crate) revision: u64,
    /// What tokens are signed with: another one each time authentication is switched on. Empty before.
    pub(crate) secret: Blob,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            enabled: false,
            revision: 1,
            secret: Blob::default(),
        }
    }
}

/// A user. The password's hash is never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    /// bcrypt's hash, as etcd writes it. Empty for a user without a password, whom no password fits.
    pub(crate) password: String,
    /// A user that is known by a certificate alone.
    pub(crate) no_password: bool,
    /// Names of roles, in order.
    pub(crate) roles: Vec<String>,
    /// Drawn anew with each password: tokens from before are worth nothing.
    pub(crate) stamp: Blob,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    /// In the order of keys.
    pub(crate) permissions: Vec<Permission>,
}

/// What a role allows with some keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Permission {
    /// etcd's number: 0 to read, 1 to write, 2 for both. Others are kept and mean nothing.
    pub(crate) kind: i32,
    /// The first key.
    pub(crate) key: Blob,
    /// As in etcd's requests: empty for that one key, `\0` for all from it on.
    pub(crate) end: Blob,
}

impl From<Permission> for crate::wire::authpb::Permission {
    fn from(kept: Permission) -> Self {
        Self {
            perm_type: kept.kind,
            key: kept.key.0,
            range_end: kept.end.0,
        }
    }
}

/// Bytes, in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Blob, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Blob(bytes.into()))
    }
}

/// The record of the head.
pub(crate) fn head_record(state: &State) -> Option<&std::sync::Arc<Record>> {
    state.record(SPACE, HEAD.as_bytes())
}

/// The head. One that cannot be read lets nobody in.
pub(crate) fn head(state: &State) -> Head {
    match head_record(state) {
        None => Head::default(),
        Some(record) => serde_json::from_slice(&record.bytes()).unwrap_or(Head {
            enabled: true,
            ..Head::default()
        }),
    }
}

/// One user.
pub(crate) fn user(state: &State, name: &str) -> Option<User> {
    one(state, USERS, name)
}

/// One role.
pub(crate) fn role(state: &State, name: &str) -> Option<Role> {
    one(state, ROLES, name)
}

/// All users, by name.
pub(crate) fn users(state: &State) -> BTreeMap<String, User> {
    all(state, USERS)
}

/// All roles, by name.
pub(crate) fn roles(state: &State) -> BTreeMap<String, Role> {
    all(state, ROLES)
}

fn one<T: DeserializeOwned>(state: &State, root: &str, name: &str) -> Option<T> {
    let record = state.record(SPACE, [root, name].concat().as_bytes())?;
    serde_json::from_slice(&record.bytes()).ok()
}

fn all<T: DeserializeOwned>(state: &State, root: &str) -> BTreeMap<String, T> {
    let range = KeyRange::prefix(root.as_bytes());
    let row = |(key, record): (&Key, &std::sync::Arc<Record>)| {
        let name = key.as_text()?.strip_prefix(root)?;
        let row = serde_json::from_slice(&record.bytes()).ok()?;
        Some((name.to_owned(), row))
    };
    state.range(SPACE, &range).filter_map(row).collect()
}

/// Changes that are made together.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    ops: Vec<Op>,
    /// Why a row cannot be written.
    unwritable: Option<serde_json::Error>,
}

impl Changes {
    pub(crate) fn put_user(&mut self, name: &str, user: &User) {
        self.put([USERS, name].concat(), user, Expect::Any);
    }

    pub(crate) fn drop_user(&mut self, name: &str) {
        self.delete([USERS, name].concat());
    }

    pub(crate) fn put_role(&mut self, name: &str, role: &Role) {
        self.put([ROLES, name].concat(), role, Expect::Any);
    }

    pub(crate) fn drop_role(&mut self, name: &str) {
        self.delete([ROLES, name].concat());
    }

    /// The command's body: refused unless the head is still the one of `before`.
    ///
    /// # Errors
    /// When one of the rows cannot be written as JSON: then none is.
    pub(crate) fn write(
        mut self,
        head: &Head,
        before: Option<Revision>,
    ) -> Result<Write, serde_json::Error> {
        let expect = before.map_or(Expect::Absent, Expect::Modified);
        self.put(HEAD.to_owned(), head, expect);
        match self.unwritable {
            Some(why) => Err(why),
            None => Ok(Write {
                then: self.ops,
                ..Write::default()
            }),
        }
    }

    fn put(&mut self, key: String, row: &impl Serialize, expect: Expect) {
        let value = match serde_json::to_vec(row) {
            Ok(value) => value,
            Err(why) => {
                self.unwritable = Some(why);
                return;
            }
        };
        let mut put = Put::new(SPACE, Key::from(key.as_str()), value.into());
        put.expect = expect;
        self.ops.push(Op::Put(Box::new(put)));
    }

    fn delete(&mut self, key: String) {
        self.ops.push(Op::Delete {
            space: SPACE,
            range: KeyRange::One(Key::from(key.as_str())),
            expect: Expect::Any,
        });
    }
}

/// `write` as its one operation, if the head is still the one that was last put at `head`; otherwise nothing.
pub(crate) fn only_if(head: Revision, write: Write) -> Write {
    Write {
        when: vec![Compare {
            space: SPACE,
            range: KeyRange::One(Key::from(HEAD)),
            relation: Relation::Equal,
            comparand: Comparand::Modified(head.0 as i64),
        }],
        then: vec![Op::Nested(write)],
        ..Write::default()
    }
}
