//! Logins, and the calls that change users.

use portolan_access::rows::{Grants, Token};
use portolan_access::store::{self, Changes};
use portolan_access::{AccessControl, builtin};
use portolan_catalog::{Command, Expect, Op, Refusal, State, Write};
use portolan_listener::Caller;
use uuid::Uuid;

use super::token::{self, Claims};
use super::{Auth, rows};
use crate::app::App;
use crate::error::{Code, Problem};

/// Bytes of a user's name at most.
const NAME: usize = 256;

/// What a login gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) token: String,
    /// Whether there is nothing that the user may not do.
    pub(crate) admin: bool,
}

/// Whether a token's user may do everything.
pub(crate) fn is_admin(token: &Token) -> bool {
    let policies = &token.grants.policies;
    policies.iter().any(|id| id == builtin::MANAGEMENT)
}

pub(crate) fn no_user(name: &str) -> Problem {
    Problem::invalid(format!("user '{name}' not exist!"))
}

/// Proposes changes of access control and of Nacos' rows together.
pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    access: Option<Changes>,
    own: Vec<Op>,
) -> Result<(), Problem> {
    let mut write = match access {
        Some(changes) => changes
            .write()
            .map_err(|why| Problem::coded(Code::ServerError, why.to_string()))?,
        None => Write::default(),
    };
    write.then.extend(own);
    match app.settle(caller, Command::Write(write)).await {
        Ok(_) => Ok(()),
        // Nothing is ever told of the operations' numbers.
        Err(Problem::Refused(Refusal::Ops(failed))) => Err(failed
            .into_iter()
            .next()
            .map_or(Problem::Contended, |(_, why)| why.into())),
        Err(other) => Err(other),
    }
}

impl Auth {
    /// Lets a user in.
    ///
    /// # Errors
    /// `unknown user!` where name and password are nobody's.
    pub(crate) async fn login(
        &self,
        app: &App,
        access: &AccessControl,
        caller: &Caller,
        name: &str,
        password: &str,
    ) -> Result<Entered, Problem> {
        let unknown = || Problem::coded(Code::AccessDenied, "unknown user!");
        let own = access.read(|state| rows::user(state, name).map(|(user, _)| user));
        let now = portolan_environment::wall_ms();
        let directory = access.directory();
        let (accessor, stamp) = match (own, directory.by_secret(password, now)) {
            (None, Some(known)) if !password.is_empty() && !known.token.row.secret.is_empty() => {
                (known.accessor.to_string(), None)
            }
            (own, _) => {
                let hash = own.as_ref().map(|user| user.password.clone());
                let fits = self.passwords.fits(password, hash).await?;
                let user = own.filter(|_| fits).ok_or_else(unknown)?;
                (user.accessor, Some(user.stamp))
            }
        };
        let known = directory.token(&accessor).ok_or_else(unknown)?;
        let secret = self.secret(app, access, caller).await?;
        let claims = Claims {
            sub: name.to_owned(),
            accessor: match stamp {
                Some(_) => String::new(),
                None => accessor.clone(),
            },
            exp: now / 1000 + token::TTL,
        };
        Ok(Entered {
            token: token::signed(&secret, &stamp.unwrap_or_default(), &claims),
            admin: directory.authorizer(known).allows_everything(),
        })
    }

    /// The key of tokens, drawn when there is none yet.
    async fn secret(
        &self,
        app: &App,
        access: &AccessControl,
        caller: &Caller,
    ) -> Result<bytes::Bytes, Problem> {
        if let Some(secret) = access.read(rows::secret) {
            return Ok(secret);
        }
        match change(app, caller, None, vec![rows::put_secret()]).await {
            // Somebody else was faster.
            Ok(()) | Err(Problem::Refused(Refusal::Exists)) => {}
            Err(other) => return Err(other),
        }
        access.read(rows::secret).ok_or(Problem::Contended)
    }

    /// Makes a user; the first one of a cluster, who may do everything, when `first`.
    ///
    /// # Errors
    /// When the name is taken or cannot be one.
    pub(crate) async fn create(
        &self,
        app: &App,
        caller: &Caller,
        (name, password): (&str, &str),
        first: bool,
    ) -> Result<(), Problem> {
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        if name.is_empty() || name.len() > NAME || !name.chars().all(plain) {
            let text = format!("username {name:?} is not 1 to {NAME} characters without spaces");
            return Err(Problem::invalid(text));
        }
        let exists = || Problem::invalid(format!("user '{name}' already exist!"));
        if app.registry.read(|state| rows::user(state, name).is_some()) {
            return Err(exists());
        }
        let new = || Uuid::from_bytes(portolan_environment::uuid()).to_string();
        let user = rows::User {
            password: self.passwords.hash(password).await?,
            accessor: new(),
            stamp: new(),
        };
        let policies = match first {
            true => vec![builtin::MANAGEMENT.to_owned()],
            false => Vec::new(),
        };
        let token = Token {
            accessor: user.accessor.clone(),
            secret: new(),
            description: format!("The user {name:?} of Nacos"),
            grants: Grants {
                policies,
                ..Grants::default()
            },
            created_ms: app.registry.now().0,
            ..Token::default()
        };
        let mut changes = Changes::default();
        if first {
            changes.bootstrap(None);
        }
        changes.token(&token, None);
        let own = vec![rows::put_user(name, &user, Expect::Absent)];
        match change(app, caller, Some(changes), own).await {
            Err(Problem::Refused(Refusal::Exists)) => Err(exists()),
            other => other,
        }
    }

    /// Gives a user another password: whoever logged in by the last one has to do so again.
    pub(crate) async fn set_password(
        &self,
        app: &App,
        caller: &Caller,
        name: &str,
        password: &str,
    ) -> Result<(), Problem> {
        let found = app.registry.read(|state| rows::user(state, name));
        let (mut user, expect) = found.ok_or_else(|| no_user(name))?;
        user.password = self.passwords.hash(password).await?;
        user.stamp = Uuid::from_bytes(portolan_environment::uuid()).to_string();
        let own = vec![rows::put_user(name, &user, expect)];
        change(app, caller, None, own).await
    }

    /// A user goes, and what it could do with it. One that is not there is gone already.
    pub(crate) async fn remove(
        &self,
        app: &App,
        access: &AccessControl,
        caller: &Caller,
        name: &str,
    ) -> Result<(), Problem> {
        let Some((user, _)) = app.registry.read(|state| rows::user(state, name)) else {
            return Ok(());
        };
        let directory = access.directory();
        let known = directory.token(&user.accessor);
        if known.is_some_and(|known| is_admin(&known.token.row)) {
            return Err(Problem::invalid(format!("cannot delete admin: {name}")));
        }
        let changes = known.map(|known| {
            let mut changes = Changes::default();
            changes.drop_token(&known.token.row);
            changes
        });
        change(app, caller, changes, vec![rows::drop_user(name)]).await
    }
}

/// Whether a first user may be made by anybody: nobody ever was given the right to everything.
pub(crate) fn may_begin(access: &AccessControl, state: &State) -> bool {
    !access.gives_first() && store::bootstrapped(state).is_none()
}
