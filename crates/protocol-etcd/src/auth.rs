//! etcd's own users and roles: who may do what with etcd's keys, once `auth enable` was called.
//!
//! Invariants
//! - Users and roles are records of the settings, so that log, snapshots, backups and members have them as everything else. Each change
//!   also puts the head, only if it is as it was when the change was worked out: changes come one after another.
//! - What is compiled of them belongs to one version of those records, which is compared by pointer: what was written holds for the next
//!   call, without a task in between.
//! - A write is proposed under the condition that the head is still the one it was allowed by ([`rows::only_if`]): what a user may not do
//!   any more when the write is decided is not done.
//!
//! Access control of the whole server stands before it and knows nothing of it: a call must be allowed by both.

pub(crate) mod intervals;
pub(crate) mod password;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod token;

use std::sync::Arc;

use arc_swap::ArcSwap;
use portolan_catalog::{Keyspace, RecordsOf, Revision, State};

use self::{
    password::Passwords,
    rules::{Rules, Who},
    token::Tokens,
};
use crate::{asker::Asker, error::Failure};

pub use self::token::TokenKind;

/// Users and roles of one server, compiled.
#[derive(Debug)]
pub(crate) struct Auth {
    seen: ArcSwap<Seen>,
    tokens: Tokens,
    /// Where passwords are hashed.
    pub(crate) passwords: Passwords,
}

/// Rules, and the settings that they were read from.
#[derive(Debug)]
struct Seen {
    settings: RecordsOf,
    rules: Arc<Rules>,
}

impl Auth {
    pub(crate) fn new(state: &State, tokens: TokenKind, password_cost: u32) -> Auth {
        Auth {
            seen: ArcSwap::from_pointee(Seen {
                settings: state.records_of(Keyspace::Settings),
                rules: Arc::new(Rules::read(state)),
            }),
            tokens: Tokens::new(tokens),
            passwords: Passwords::new(password_cost),
        }
    }

    /// Calls `with` with what holds in `state`; with nothing where no user and no role was ever made.
    fn with<T>(&self, state: &State, with: impl FnOnce(Option<&Rules>) -> T) -> T {
        // Nearly always there is no setting at all.
        if state.record_count(Keyspace::Settings) == 0 {
            return with(None);
        }
        let seen = self.seen.load();
        if seen.settings.are_those_of(state) {
            return with(
                Some(&seen.rules)
                    .filter(|rules| rules.head.is_some())
                    .map(|rules| &**rules),
            );
        }
        let rules = self.read_again(state, &seen);
        with(Some(&*rules).filter(|rules| rules.head.is_some()))
    }

    fn read_again(&self, state: &State, seen: &Seen) -> Arc<Rules> {
        let settings = state.records_of(Keyspace::Settings);
        let rules = match seen.rules.holds_in(state) {
            true => seen.rules.clone(),
            false => {
                let rules = Arc::new(Rules::read(state));
                rules.take_tokens(&seen.rules);
                rules
            }
        };
        // Of two that read at once either may win: whoever finds another version reads again.
        self.seen.store(Arc::new(Seen {
            settings,
            rules: rules.clone(),
        }));
        rules
    }

    /// Who asks, in `state`.
    ///
    /// # Errors
    /// `INVALID_TOKEN`, while authentication is on.
    pub(crate) fn who(&self, state: &State, asker: &Asker) -> Result<Who, Failure> {
        self.with(state, |rules| match rules.filter(|rules| rules.enabled) {
            None => Ok(Who::Anyone),
            Some(rules) => match asker.token() {
                None => Ok(Who::Nobody),
                Some(token) => self.tokens.holder(rules, token),
            },
        })
    }

    /// When users, roles or the switch were changed last; none if never.
    pub(crate) fn head(&self, state: &State) -> Option<Revision> {
        self.with(state, |rules| rules?.head())
    }

    /// A token for `name`, whose password was right in `state`; none when that is no user who may have one.
    pub(crate) fn token(&self, state: &State, name: &str) -> Option<String> {
        self.with(state, |rules| {
            let rules = rules.filter(|rules| rules.enabled)?;
            self.tokens.token(rules, name)
        })
    }
}
