//! Where rows are kept, and the operations that change them.
//!
//! Invariants
//! - Every change puts the record `access/changed` as well: its value tells whether anything that was compiled is still true.
//! - A name and a secret have a record of their own, so that no two rows share one, whoever writes at the same time.

use bytes::Bytes;
use portolan_catalog::{Expect, Key, KeyRange, Keyspace, Op, Put, Revision, State, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::login::{AuthMethod, BindingRule};
use crate::rows::{Kept, Policy, Role, Token};

/// The keyspace.
pub const SPACE: Keyspace = Keyspace::Settings;
/// What every key here begins with. Records below it hold secrets: no protocol shows them but through this crate.
pub const ROOT: &str = "access/";
/// Rows of tokens.
pub const TOKENS: &str = "access/token/";
/// Rows of policies.
pub const POLICIES: &str = "access/policy/";
/// Rows of roles.
pub const ROLES: &str = "access/role/";
/// Rows of login methods.
pub const METHODS: &str = "access/auth-method/";
/// Rows of binding rules.
pub const RULES: &str = "access/binding-rule/";

const SECRETS: &str = "access/secret/";
const POLICY_NAMES: &str = "access/policy-name/";
const ROLE_NAMES: &str = "access/role-name/";
const BOOTSTRAPPED: &str = "access/bootstrapped";
const CHANGED: &str = "access/changed";

/// A secret's digest: what is compared, and what a secret's record is named by.
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which change was the last one: no two have the same mark, not even those of a snapshot that takes another catalog's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark([u8; 16]);

/// The mark of the last change.
pub fn changed(state: &State) -> Mark {
    let record = state.record(SPACE, CHANGED.as_bytes());
    let mark = record.and_then(|record| record.value.as_deref()?.try_into().ok());
    mark.map_or(Mark::default(), Mark)
}

/// When a first management token was made, and so none can be made without a token: the revision. None if there never was one.
pub fn bootstrapped(state: &State) -> Option<Revision> {
    let record = state.record(SPACE, BOOTSTRAPPED.as_bytes())?;
    Some(record.modified)
}

/// The rows below a prefix, those that can be read.
pub fn rows<T: DeserializeOwned>(state: &State, prefix: &str) -> Vec<Kept<T>> {
    let range = KeyRange::prefix(prefix.as_bytes());
    let of = |record: &portolan_catalog::Record| {
        Some(Kept {
            row: serde_json::from_slice(&record.bytes()).ok()?,
            created: record.created.0,
            modified: record.modified.0,
        })
    };
    state
        .range(SPACE, &range)
        .filter_map(|(_, record)| of(record))
        .collect()
}

/// A row that cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("a row of access control cannot be written: {0}")]
pub struct Unwritable(#[from] serde_json::Error);

/// Several changes that are made together.
#[derive(Debug, Default)]
pub struct Changes {
    ops: Vec<Op>,
    unwritable: Option<Unwritable>,
}

impl Changes {
    /// The command's body.
    ///
    /// # Errors
    /// When one of the rows cannot be written as JSON: then none is.
    pub fn write(mut self) -> Result<Write, Unwritable> {
        if let Some(why) = self.unwritable.take() {
            return Err(why);
        }
        let mark = portolan_environment::uuid().to_vec();
        self.put(CHANGED.to_owned(), mark.into(), Expect::Any);
        Ok(Write {
            then: self.ops,
            ..Write::default()
        })
    }

    /// The first management token was made: refused if one was before, unless a reset names the revision of that.
    pub fn bootstrap(&mut self, reset: Option<Revision>) {
        let expect = reset.map_or(Expect::Absent, Expect::Modified);
        self.put(BOOTSTRAPPED.to_owned(), Bytes::new(), expect);
    }

    /// A token appears, or takes the place of `old`. Refused when the secret is another's.
    pub fn token(&mut self, token: &Token, old: Option<&Kept<Token>>) {
        let secret = format!("{SECRETS}{}", hexadecimal(&digest(&token.secret)));
        if old.is_none_or(|old| old.row.secret != token.secret) {
            let value = token.accessor.clone().into_bytes();
            self.put(secret, value.into(), Expect::Absent);
        }
        self.row(TOKENS, &token.accessor, token, old.map(|old| old.modified));
    }

    /// A token goes.
    pub fn drop_token(&mut self, token: &Token) {
        let secret = hexadecimal(&digest(&token.secret));
        self.delete(format!("{SECRETS}{secret}"));
        self.delete(format!("{TOKENS}{}", token.accessor));
    }

    /// A policy appears, or takes the place of `old`. Refused when the name is another's.
    pub fn policy(&mut self, policy: &Policy, old: Option<&Kept<Policy>>) {
        let before = old.map(|old| &*old.row.name);
        self.name(POLICY_NAMES, &policy.name, &policy.id, before);
        self.row(POLICIES, &policy.id, policy, old.map(|old| old.modified));
    }

    /// A policy goes.
    pub fn drop_policy(&mut self, policy: &Policy) {
        self.delete(name_key(POLICY_NAMES, &policy.name));
        self.delete(format!("{POLICIES}{}", policy.id));
    }

    /// A role appears, or takes the place of `old`. Refused when the name is another's.
    pub fn role(&mut self, role: &Role, old: Option<&Kept<Role>>) {
        let before = old.map(|old| &*old.row.name);
        self.name(ROLE_NAMES, &role.name, &role.id, before);
        self.row(ROLES, &role.id, role, old.map(|old| old.modified));
    }

    /// A role goes.
    pub fn drop_role(&mut self, role: &Role) {
        self.delete(name_key(ROLE_NAMES, &role.name));
        self.delete(format!("{ROLES}{}", role.id));
    }

    /// A login method appears, or takes the place of `old`.
    pub fn method(&mut self, method: &AuthMethod, old: Option<&Kept<AuthMethod>>) {
        self.row(METHODS, &method.name, method, old.map(|old| old.modified));
    }

    /// A login method goes. What hangs on it goes by other changes.
    pub fn drop_method(&mut self, method: &AuthMethod) {
        self.delete(format!("{METHODS}{}", method.name));
    }

    /// A binding rule appears, or takes the place of `old`.
    pub fn rule(&mut self, rule: &BindingRule, old: Option<&Kept<BindingRule>>) {
        self.row(RULES, &rule.id, rule, old.map(|old| old.modified));
    }

    /// A binding rule goes.
    pub fn drop_rule(&mut self, rule: &BindingRule) {
        self.delete(format!("{RULES}{}", rule.id));
    }

    fn name(&mut self, prefix: &str, name: &str, id: &str, before: Option<&str>) {
        if before.is_some_and(|before| before.eq_ignore_ascii_case(name)) {
            return;
        }
        if let Some(before) = before {
            self.delete(name_key(prefix, before));
        }
        let value = id.to_owned().into_bytes();
        self.put(name_key(prefix, name), value.into(), Expect::Absent);
    }

    fn row(&mut self, prefix: &str, id: &str, row: &impl Serialize, modified: Option<u64>) {
        // What is built in has no record before it is changed.
        let expect = match modified {
            None | Some(0) => Expect::Absent,
            Some(modified) => Expect::Modified(Revision(modified)),
        };
        match serde_json::to_vec(row) {
            Ok(value) => self.put(format!("{prefix}{id}"), value.into(), expect),
            Err(why) => self.unwritable = Some(why.into()),
        }
    }

    fn put(&mut self, key: String, value: Bytes, expect: Expect) {
        let mut put = Put::new(SPACE, Key::from(key.as_str()), value);
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

fn name_key(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", name.to_ascii_lowercase())
}
