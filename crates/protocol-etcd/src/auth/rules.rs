//! What users may do, compiled from users and roles.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portolan_catalog::{Record, Revision, State};

use super::{
    intervals::Intervals,
    rows::{self, Blob},
};
use crate::{
    error::{Failure, OLD_AUTH_REVISION, PERMISSION_DENIED, USER_EMPTY, USER_NOT_FOUND},
    wire::authpb::permission::Type,
};

/// The user that has to be there, and the role that may do everything.
pub(crate) const ROOT: &str = "root";

/// What is asked for with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To see them.
    Read,
    /// To put and delete them.
    Write,
}

/// What one user may do.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) name: Arc<str>,
    pub(crate) roles: Vec<String>,
    /// Has the role that may do everything.
    pub(crate) root: bool,
    /// May get tokens for a password.
    pub(crate) has_password: bool,
    /// See [`rows::User::stamp`].
    pub(crate) stamp: Blob,
    read: Intervals,
    write: Intervals,
}

/// A token that was looked at before.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) grants: Arc<Grants>,
    /// Milliseconds of this server's steady clock from which on it is worth nothing; each use moves it.
    pub(crate) until: AtomicU64,
}

/// Everything, in one version of users and roles.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The record of the head: as long as a state has this very one, everything here holds in it.
    pub(crate) head: Option<Arc<Record>>,
    pub(crate) enabled: bool,
    pub(crate) secret: Blob,
    pub(crate) users: HashMap<Arc<str>, Arc<Grants>>,
    /// Tokens that were looked at. All can be looked at again, so it may be forgotten.
    pub(crate) tokens: papaya::HashMap<Box<[u8]>, Holder>,
}

impl Rules {
    /// Reads users and roles.
    pub(crate) fn read(state: &State) -> Rules {
        let head = rows::head(state);
        // Nobody is asked for while it is off, which is so on nearly every server.
        let (users, roles) = match head.enabled {
            true => (rows::users(state), rows::roles(state)),
            false => Default::default(),
        };
        let compiled = users.into_iter().map(|(name, user)| {
            let name: Arc<str> = name.into();
            (name.clone(), Arc::new(grants(name, user, &roles)))
        });
        Rules {
            head: rows::head_record(state).cloned(),
            enabled: head.enabled,
            secret: head.secret,
            users: compiled.collect(),
            tokens: papaya::HashMap::new(),
        }
    }

    /// Rules of users without roles, for tests of tokens.
    #[cfg(test)]
    pub(crate) fn of(secret: Blob, users: HashMap<String, rows::User>) -> Rules {
        let none = Default::default();
        let compiled = users.into_iter().map(|(name, user)| {
            let name: Arc<str> = name.into();
            (name.clone(), Arc::new(grants(name, user, &none)))
        });
        Rules {
            head: None,
            enabled: true,
            secret,
            users: compiled.collect(),
            tokens: papaya::HashMap::new(),
        }
    }

    /// When they were changed last.
    pub(crate) fn head(&self) -> Option<Revision> {
        Some(self.head.as_ref()?.modified)
    }

    /// Whether they are those of `state`.
    pub(crate) fn holds_in(&self, state: &State) -> bool {
        match (&self.head, rows::head_record(state)) {
            (Some(own), Some(record)) => Arc::ptr_eq(own, record),
            (None, None) => true,
            _ => false,
        }
    }

    /// Takes over the tokens that earlier rules knew, with their times: those of users with the same password.
    pub(crate) fn take_tokens(&self, earlier: &Rules) {
        if !self.enabled || self.secret != earlier.secret {
            return;
        }
        let (from, to) = (earlier.tokens.pin(), self.tokens.pin());
        for (token, holder) in &from {
            if let Some(grants) = self.users.get(&holder.grants.name)
                && grants.stamp == holder.grants.stamp
            {
                let until = holder.until.load(Ordering::Relaxed).into();
                let grants = grants.clone();
                to.insert(token.clone(), Holder { grants, until });
            }
        }
    }
}

fn grants(
    name: Arc<str>,
    user: rows::User,
    roles: &std::collections::BTreeMap<String, rows::Role>,
) -> Grants {
    let allowed = |access: Type| {
        let of = user.roles.iter().filter_map(|role| roles.get(role));
        let permissions = of.flat_map(|role| &role.permissions);
        let those = permissions.filter(|permission| {
            [access as i32, Type::Readwrite as i32].contains(&permission.kind)
        });
        Intervals::of(those.map(|permission| (&permission.key.0[..], &permission.end.0[..])))
    };
    Grants {
        name,
        root: user.roles.iter().any(|role| role == ROOT),
        has_password: !user.no_password,
        read: allowed(Type::Read),
        write: allowed(Type::Write),
        stamp: user.stamp,
        roles: user.roles,
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Authentication is off: it does not matter.
    Anyone,
    /// No token is shown.
    Nobody,
    /// A token is good.
    User(Found),
}

/// Whose a token is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: Arc<str>,
    /// None when there is no such user any more, which a token that this server did not make may say.
    pub(crate) grants: Option<Arc<Grants>>,
    /// The token names an earlier revision of users and roles than the present.
    pub(crate) old: bool,
}

impl Who {
    /// Asks for keys: `key` and `range_end` of a request.
    ///
    /// # Errors
    /// `USER_EMPTY`, `OLD_AUTH_REVISION`, `PERMISSION_DENIED`.
    pub(crate) fn may(&self, access: Access, key: &[u8], range_end: &[u8]) -> Result<(), Failure> {
        let found = match self {
            Who::Anyone => return Ok(()),
            Who::Nobody => return Err(USER_EMPTY),
            Who::User(found) => found,
        };
        if found.old {
            return Err(OLD_AUTH_REVISION);
        }
        let grants = found.grants.as_ref().ok_or(PERMISSION_DENIED)?;
        let set = match access {
            Access::Read => &grants.read,
            Access::Write => &grants.write,
        };
        match grants.root || set.contain(key, range_end) {
            true => Ok(()),
            false => Err(PERMISSION_DENIED),
        }
    }

    /// Asks for what only the role `root` may do.
    ///
    /// # Errors
    /// `USER_EMPTY`, `USER_NOT_FOUND`, `PERMISSION_DENIED`.
    pub(crate) fn manages(&self) -> Result<(), Failure> {
        match self {
            Who::Anyone => Ok(()),
            Who::Nobody => Err(USER_EMPTY),
            Who::User(found) => match &found.grants {
                None => Err(USER_NOT_FOUND),
                Some(grants) if grants.root => Ok(()),
                Some(_) => Err(PERMISSION_DENIED),
            },
        }
    }

    /// Asks for what everybody may do who is somebody.
    ///
    /// # Errors
    /// `USER_EMPTY`.
    pub(crate) fn is_known(&self) -> Result<(), Failure> {
        match self {
            Who::Nobody => Err(USER_EMPTY),
            Who::Anyone | Who::User(_) => Ok(()),
        }
    }

    /// The user's name; empty for whoever is nobody.
    pub(crate) fn name(&self) -> &str {
        match self {
            Who::User(found) => &found.name,
            Who::Anyone | Who::Nobody => "",
        }
    }

    /// Whether the user has a role.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        match self {
            Who::User(Found {
                grants: Some(grants),
                ..
            }) => grants.roles.iter().any(|own| own == role),
            _ => false,
        }
    }
}
