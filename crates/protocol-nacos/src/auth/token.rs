//! What a client shows after its login: a JSON Web Token, signed with a key that all servers of the cluster share and nobody else has.
//!
//! It is signed with the stamp of the user's password as well: another password, or a user who has gone, ends it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Seconds that a token is good for, as in Nacos.
pub(crate) const TTL: u64 = 18_000;

/// Whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    /// The user's name.
    pub(crate) sub: String,
    /// The token of access control that was shown as the password, where it is no user of Nacos'.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) accessor: String,
    /// Until when it is good, seconds since 1970.
    pub(crate) exp: u64,
}

const HEAD: &str = r#"{"alg":"HS256"}"#;

/// Whether a text has a token's form: no secret of access control does.
pub(crate) fn is_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The token of some claims.
pub(crate) fn signed(secret: &[u8], stamp: &str, claims: &Claims) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let claims = serde_json::to_vec(claims).unwrap_or_default();
    let said = format!("{}.{}", encode(HEAD.as_bytes()), encode(&claims));
    let tag = hmac::sign(&key(secret), &message(stamp, &said));
    format!("{said}.{}", encode(tag.as_ref()))
}

/// What a token claims, if it is one that this cluster signed and that is still good. `stamp` tells the stamp of whom it names.
pub(crate) fn verified(
    secret: &[u8],
    token: &str,
    now_ms: u64,
    stamp: impl FnOnce(&Claims) -> Option<String>,
) -> Option<Claims> {
    let (said, tag) = token.rsplit_once('.')?;
    let (head, claims) = said.split_once('.')?;
    if URL_SAFE_NO_PAD.decode(head).ok()? != HEAD.as_bytes() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let stamp = stamp(&claims)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(&key(secret), &message(&stamp, said), &tag).ok()?;
    (claims.exp.saturating_mul(1000) > now_ms).then_some(claims)
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

fn message(stamp: &str, said: &str) -> Vec<u8> {
    [stamp.as_bytes(), b"|", said.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_cluster_s_and_its_user_s_and_ends() {
        let claims = Claims {
            sub: "ann".into(),
            accessor: String::new(),
            exp: 100,
        };
        let token = signed(b"key", "s1", &claims);
        assert!(is_one(&token));
        let stamp = |stamp: &'static str| move |_: &Claims| Some(stamp.to_owned());
        let good = verified(b"key", &token, 99_999, stamp("s1"));
        assert_eq!(good, Some(claims.clone()));
        assert_eq!(verified(b"key", &token, 100_000, stamp("s1")), None, "over");
        assert_eq!(verified(b"other", &token, 0, stamp("s1")), None, "key");
        assert_eq!(verified(b"key", &token, 0, stamp("s2")), None, "password");
        assert_eq!(verified(b"key", &token, 0, |_| None), None, "gone");
        for broken in [
            "",
            "a.b",
            "..",
            "a.b.c",
            &token[1..],
            &token[..token.len() - 2],
        ] {
            assert_eq!(verified(b"key", broken, 0, stamp("s1")), None, "{broken}");
        }
        // Another's claims with the same signature.
        let other = signed(
            b"key",
            "s1",
            &Claims {
                sub: "bob".into(),
                ..claims
            },
        );
        let (said, _) = other.rsplit_once('.').unwrap();
        let (_, tag) = token.rsplit_once('.').unwrap();
        let mixed = format!("{said}.{tag}");
        assert_eq!(verified(b"key", &mixed, 0, stamp("s1")), None);
    }
}
