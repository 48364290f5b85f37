//! Tokens: what a client shows in place of its password.
//!
//! A simple token says whose it is and since when, signed with a key that all servers of the cluster share and nobody else has: any of them
//! takes it, though none has been told. A server that has seen it takes it for as long as it is used, as etcd does; one that has not takes
//! it for as long from when it was made. It is worth nothing any more after another password, after the user has gone, and after
//! authentication was switched off and on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use tokio::time::Instant;

use super::rules::{Found, Grants, Holder, Rules, Who};
use crate::error::{Failure, INVALID_TOKEN};

/// Tokens that a server remembers at most; one that it does not remember it checks again each time.
const REMEMBERED: usize = 65_536;
/// How far another server's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(60);

/// Which tokens are given out and taken.
#[derive(Clone, Debug)]
pub enum TokenKind {
    /// Opaque ones, good until they were not used for this long (etcd's `--auth-token-ttl`). Default 5 minutes.
    Simple {
        /// How long a token is good without being used.
        ttl: Duration,
    },
}

impl Default for TokenKind {
    fn default() -> TokenKind {
        TokenKind::Simple {
            ttl: Duration::from_secs(300),
        }
    }
}

/// Makes tokens and tells whose they are.
#[derive(Debug)]
pub(crate) struct Tokens {
    kind: TokenKind,
    /// Where the steady clock began.
    start: Instant,
}

impl Tokens {
    pub(crate) fn new(kind: TokenKind) -> Tokens {
        Tokens {
            kind,
            start: Instant::now(),
        }
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// `INVALID_TOKEN`.
    pub(crate) fn holder(&self, rules: &Rules, token: &[u8]) -> Result<Who, Failure> {
        self.holder_at(rules, token, self.start.elapsed().as_millis() as u64)
    }

    /// `now` is of the steady clock.
    fn holder_at(&self, rules: &Rules, token: &[u8], now: u64) -> Result<Who, Failure> {
        let TokenKind::Simple { ttl } = self.kind;
        let fresh = now + ttl.as_millis() as u64;
        let known = rules.tokens.pin();
        if let Some(holder) = known.get(token) {
            if holder.until.load(Ordering::Relaxed) >= now {
                holder.until.store(fresh, Ordering::Relaxed);
                return Ok(found(&holder.grants));
            }
            known.remove(token);
            return Err(INVALID_TOKEN);
        }
        let grants = signed(rules, token, ttl).ok_or(INVALID_TOKEN)?;
        if known.len() >= REMEMBERED {
            known.retain(|_, holder| holder.until.load(Ordering::Relaxed) >= now);
        }
        if known.len() < REMEMBERED {
            let until = AtomicU64::new(fresh);
            let grants = grants.clone();
            known.insert(token.into(), Holder { grants, until });
        }
        Ok(found(&grants))
    }

    /// A token for a user; none for one who may not have any.
    pub(crate) fn token(&self, rules: &Rules, name: &str) -> Option<String> {
        let grants = rules.users.get(name).filter(|grants| grants.has_password)?;
        let TokenKind::Simple { .. } = self.kind;
        let made = portolan_environment::wall_ms();
        // Two of one moment are two.
        let nonce = portolan_environment::random_u64();
        let said = format!("{made:x}.{nonce:x}.{}", URL_SAFE_NO_PAD.encode(name));
        let tag = hmac::sign(&key(rules), &message(grants, &said));
        Some(format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }
}

fn found(grants: &Arc<Grants>) -> Who {
    Who::User(Found {
        name: grants.name.clone(),
        grants: Some(grants.clone()),
        old: false,
    })
}

/// The user of a token that this cluster made, not longer ago than `ttl`.
fn signed(rules: &Rules, token: &[u8], ttl: Duration) -> Option<Arc<Grants>> {
    if rules.secret.0.is_empty() {
        return None;
    }
    let (said, tag) = std::str::from_utf8(token).ok()?.rsplit_once('.')?;
    let mut parts = said.split('.');
    let made = u64::from_str_radix(parts.next()?, 16).ok()?;
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.nth(1)?).ok()?).ok()?;
    let grants = rules
        .users
        .get(&*name)
        .filter(|grants| grants.has_password)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(&key(rules), &message(grants, said), &tag).ok()?;
    let now = portolan_environment::wall_ms();
    let over = made.saturating_add(ttl.as_millis() as u64);
    let ahead = now.saturating_add(AHEAD.as_millis() as u64);
    (made <= ahead && now <= over).then(|| grants.clone())
}

fn key(rules: &Rules) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &rules.secret.0)
}

/// What is signed: what the token says, and the stamp of the user's password.
fn message(grants: &Grants, said: &str) -> Vec<u8> {
    [&grants.stamp.0[..], b"|", said.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::auth::rows::{Blob, User};

    const TTL: u64 = 300_000;

    fn rules(stamp: &'static [u8], secret: &'static [u8]) -> Rules {
        let user = User {
            stamp: Blob(stamp.into()),
            ..User::default()
        };
        Rules::of(
            Blob(secret.into()),
            HashMap::from([("ann".to_owned(), user)]),
        )
    }

    #[test]
    fn a_token_lives_while_it_is_used() {
        let (tokens, rules) = (Tokens::new(TokenKind::default()), rules(b"s", b"key"));
        let token = tokens.token(&rules, "ann").unwrap();
        let mut now = 0;
        for pause in [0, 1, TTL, TTL, TTL] {
            now += pause;
            assert!(tokens.holder_at(&rules, token.as_bytes(), now).is_ok());
        }
        let late = now + TTL + 1;
        assert!(tokens.holder_at(&rules, token.as_bytes(), late).is_err());
    }

    #[test]
    fn a_token_is_of_one_user_password_and_key() {
        let tokens = Tokens::new(TokenKind::default());
        let own = rules(b"s", b"key");
        let token = tokens.token(&own, "ann").unwrap();
        assert_ne!(tokens.token(&own, "ann").unwrap(), token);
        assert_eq!(tokens.token(&own, "bob"), None);
        let rows = [
            (rules(b"s", b"key"), true),
            (rules(b"t", b"key"), false),
            (rules(b"s", b"another"), false),
            (rules(b"s", b""), false),
            (Rules::of(Blob(b"key"[..].into()), HashMap::new()), false),
        ];
        for (number, (rules, good)) in rows.iter().enumerate() {
            let who = tokens.holder(rules, token.as_bytes());
            assert_eq!(who.is_ok(), *good, "{number}");
        }
        // Rules that come after take over what is still good.
        let after = rules(b"s", b"key");
        tokens.holder(&own, token.as_bytes()).unwrap();
        after.take_tokens(&own);
        assert_eq!(after.tokens.len(), 1);
        let changed = rules(b"t", b"key");
        changed.take_tokens(&own);
        assert_eq!(changed.tokens.len(), 0);
        for wrong in [
            "",
            ".",
            "..",
            "...",
            "x.y.z.w",
            "1.1.YW5u.",
            "zz.1.YW5u.AAAA",
        ] {
            assert!(tokens.holder(&own, wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_no_server_has_seen_since_is_good_for_its_time_alone() {
        let own = rules(b"s", b"key");
        let token = Tokens::new(TokenKind::default())
            .token(&own, "ann")
            .unwrap();
        let nothing = Duration::ZERO;
        assert!(signed(&own, token.as_bytes(), Duration::from_secs(300)).is_some());
        let until = portolan_environment::wall_ms() + 1;
        while portolan_environment::wall_ms() <= until {
            std::hint::spin_loop();
        }
        assert!(signed(&own, token.as_bytes(), nothing).is_none());
    }
}
