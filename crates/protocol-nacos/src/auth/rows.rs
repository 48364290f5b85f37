//! Where users and permissions are kept, as JSON in records of the settings. What a user may do is that of a token of access control,
//! which stands beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Expect, Key, KeyRange, Keyspace, Op, Put, Record, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::permission::Permission;

const SPACE: Keyspace = Keyspace::Settings;
/// What tokens are signed with. Drawn when it is first needed.
const SECRET: &str = "nacos/auth/secret";
const USERS: &str = "nacos/auth/user/";
const PERMISSIONS: &str = "nacos/auth/permission/";

/// A user. The password's hash is never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    /// bcrypt's hash.
    pub(crate) password: String,
    /// The token of access control that says what the user may do.
    pub(crate) accessor: String,
    /// Drawn anew with each password: what was signed before is worth nothing.
    pub(crate) stamp: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("accessor", &self.accessor)
            .finish_non_exhaustive()
    }
}

/// The key of tokens, if there is one.
pub(crate) fn secret(state: &State) -> Option<Bytes> {
    Some(state.record(SPACE, SECRET.as_bytes())?.bytes())
}

/// Draws the key of tokens, unless there is one.
pub(crate) fn put_secret() -> Op {
    let secret: [u8; 32] = portolan_environment::random_bytes();
    put(SECRET, Bytes::copy_from_slice(&secret), Expect::Absent)
}

/// One user, with what a change of it expects.
pub(crate) fn user(state: &State, name: &str) -> Option<(User, Expect)> {
    let record = state.record(SPACE, [USERS, name].concat().as_bytes())?;
    Some((read(record)?, Expect::Modified(record.modified)))
}

/// All users, by name.
pub(crate) fn users(state: &State) -> BTreeMap<String, User> {
    all(state, USERS)
}

/// A user appears or changes.
pub(crate) fn put_user(name: &str, user: &User, expect: Expect) -> Op {
    put_row(&[USERS, name].concat(), user, expect)
}

/// A user goes.
pub(crate) fn drop_user(name: &str) -> Op {
    delete(&[USERS, name].concat())
}

/// The permissions of all roles that have some.
pub(crate) fn permissions(state: &State) -> BTreeMap<String, Vec<Permission>> {
    all(state, PERMISSIONS)
}

/// A role's permissions, with what a change of them expects.
pub(crate) fn permissions_of(state: &State, role: &str) -> (Vec<Permission>, Expect) {
    match state.record(SPACE, [PERMISSIONS, role].concat().as_bytes()) {
        None => (Vec::new(), Expect::Absent),
        Some(record) => (
            read(record).unwrap_or_default(),
            Expect::Modified(record.modified),
        ),
    }
}

/// A role's permissions are these.
pub(crate) fn put_permissions(role: &str, all: &[Permission], expect: Expect) -> Op {
    put_row(&[PERMISSIONS, role].concat(), &all, expect)
}

/// A role has no permissions any more.
pub(crate) fn drop_permissions(role: &str) -> Op {
    delete(&[PERMISSIONS, role].concat())
}

fn read<T: DeserializeOwned>(record: &Arc<Record>) -> Option<T> {
    serde_json::from_slice(&record.bytes()).ok()
}

fn all<T: DeserializeOwned>(state: &State, root: &str) -> BTreeMap<String, T> {
    let range = KeyRange::prefix(root.as_bytes());
    let row = |(key, record): (&Key, &Arc<Record>)| {
        let name = key.as_text()?.strip_prefix(root)?;
        Some((name.to_owned(), read(record)?))
    };
    state.range(SPACE, &range).filter_map(row).collect()
}

fn put_row(key: &str, row: &impl Serialize, expect: Expect) -> Op {
    put(
        key,
        serde_json::to_vec(row).unwrap_or_default().into(),
        expect,
    )
}

fn put(key: &str, value: Bytes, expect: Expect) -> Op {
    let mut put = Put::new(SPACE, Key::from(key), value);
    put.expect = expect;
    Op::Put(Box::new(put))
}

fn delete(key: &str) -> Op {
    Op::Delete {
        space: SPACE,
        range: KeyRange::One(Key::from(key)),
        expect: Expect::Any,
    }
}
