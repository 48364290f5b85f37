//! Who asks, and what they may: Nacos' users and roles over access control.
//!
//! A user of Nacos' has a token of access control beside it, and is that token's principal wherever it is asked what it may do. A role of
//! Nacos' is a role of access control, and its permissions are a policy of that role. So there is one model, and whoever manages it through
//! Consul's API sees and changes the same rows. A token's secret is a good password too, with any name.

pub(crate) mod password;
pub(crate) mod permission;
pub(crate) mod roles;
pub(crate) mod rows;
pub(crate) mod token;
pub(crate) mod users;

use http::HeaderMap;
use portolan_access::{AccessControl, builtin};
use portolan_listener::{Authenticator, Caller, Credentials, Principal, TcpPort, Unauthenticated};
use std::sync::Arc;

use password::Passwords;

/// The role of whoever may do everything.
pub(crate) const ADMIN_ROLE: &str = "ROLE_ADMIN";
/// The parameter and the header that have a client's token.
pub(crate) const PARAMETER: &str = "accessToken";

/// Who asks on the ports of one server.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    /// None where nobody is asked who they are.
    pub(crate) access: Option<AccessControl>,
    pub(crate) passwords: Passwords,
}

impl Auth {
    pub(crate) fn new(access: Option<AccessControl>) -> Auth {
        Auth {
            access,
            passwords: Passwords::default(),
        }
    }

    /// Whether permissions decide anything: not where all is allowed that no rule forbids.
    pub(crate) fn has_permissions(&self) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| !access.settings().default_allow)
    }

    /// The same caller, who shows a token in a place where only Nacos has one. A token that is not good is none: whoever may not do without
    /// one is refused, and logs in again.
    pub(crate) fn identified(&self, caller: Caller, token: Option<&str>) -> Caller {
        let (Some(access), Some(token)) = (&self.access, token) else {
            return caller;
        };
        if *caller.principal() != Principal::Anonymous {
            return caller;
        }
        match identify(access, token) {
            Some(principal) => caller.identified(principal),
            None => caller,
        }
    }
}

/// Whom a token names: one that a login gave, or a secret of access control.
fn identify(access: &AccessControl, token: &str) -> Option<Principal> {
    if !token::is_one(token) {
        return access.identify(token);
    }
    let accessor = access.read(|state| {
        let secret = rows::secret(state)?;
        let now = portolan_environment::wall_ms();
        let mut user = None;
        let claims = token::verified(&secret, token, now, |claims| {
            if !claims.accessor.is_empty() {
                return Some(String::new());
            }
            user = Some(rows::user(state, &claims.sub)?.0);
            user.as_ref().map(|user| user.stamp.clone())
        })?;
        Some(user.map_or(claims.accessor, |user| user.accessor))
    })?;
    let known = access.directory();
    let known = known.token(&accessor)?;
    Some(match &*known.accessor {
        builtin::ANONYMOUS => Principal::Anonymous,
        _ => Principal::Named(known.accessor.clone()),
    })
}

/// Who asks on a port: as access control has it, but a token of Nacos' is not refused by what does not know it.
#[derive(Debug)]
struct Tokens(AccessControl);

impl Authenticator for Tokens {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Principal, Unauthenticated> {
        match credentials.headers.and_then(shown) {
            Some(token) => Ok(identify(&self.0, token).unwrap_or(Principal::Anonymous)),
            None => self.0.authenticate(credentials),
        }
    }
}

/// A token of Nacos' in a request's headers.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|text| text.strip_prefix("Bearer "));
    text(PARAMETER)
        .or(bearer.filter(|token| token::is_one(token.trim())))
        .map(str::trim)
}

/// Has a port take tokens of Nacos' where access control guards it.
pub(crate) fn guard(port: &mut TcpPort, access: &AccessControl) {
    if port.options.authenticator.is_some() {
        port.options.authenticator = Some(Arc::new(Tokens(access.clone())));
    }
    if let Some(beside) = &mut port.beside {
        guard(beside, access);
    }
}
