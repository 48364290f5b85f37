//! The configuration of a method `jwt`, in Consul's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

/// Why a method cannot be used, or a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

pub(super) fn refused(why: impl Into<String>) -> Refused {
    Refused(why.into())
}

/// What is taken of a bearer's clock, and of tokens that do not say how long they are good.
const SKEW: Duration = Duration::from_secs(60);
const LEEWAY: Duration = Duration::from_secs(150);

/// Keys at most: each is tried.
const MOST_KEYS: usize = 64;

const KEYS: &str = "JWTValidationPubKeys";
const ALGORITHMS: &str = "JWTSupportedAlgs";

/// Settings of methods that log people in through a browser, and places that keys would be fetched from.
const NOT_HERE: [&str; 12] = [
    "OIDCClientID",
    "OIDCClientSecret",
    "OIDCClientAssertion",
    "OIDCClientUsePKCE",
    "OIDCScopes",
    "OIDCACRValues",
    "AllowedRedirectURIs",
    "VerboseOIDCLogging",
    "JWKSURL",
    "JWKSCACert",
    "OIDCDiscoveryURL",
    "OIDCDiscoveryCACert",
];

/// Read, with its keys.
pub(super) struct Config {
    pub(super) algorithms: Vec<Algorithm>,
    /// Each with whom it signs for.
    pub(super) keys: Vec<DecodingKey>,
    pub(super) audiences: Vec<String>,
    pub(super) issuer: String,
    /// From claims to names.
    pub(super) values: BTreeMap<String, String>,
    /// From claims to names, for lists.
    pub(super) lists: BTreeMap<String, String>,
    pub(super) expiration_leeway: Duration,
    pub(super) not_before_leeway: Duration,
    pub(super) skew: Duration,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(config: &Map<String, Value>) -> Result<Config, Refused> {
        known(config)?;
        let keys = texts(config, KEYS)?;
        if keys.is_empty() {
            return Err(refused(format!(
                "{KEYS:?} must be set for type \"jwt\": this server fetches no keys"
            )));
        }
        if keys.len() > MOST_KEYS {
            return Err(refused(format!("more than {MOST_KEYS} keys")));
        }
        let key = |(at, pem): (usize, &String)| {
            key(pem).ok_or_else(|| refused(format!("error parsing public key #{at} of {KEYS:?}")))
        };
        let mut algorithms = Vec::new();
        for name in texts(config, ALGORITHMS)? {
            algorithms.push(algorithm(&name)?);
        }
        if algorithms.is_empty() {
            algorithms.push(Algorithm::RS256);
        }
        let leeway = |name: &str, otherwise: Duration| span(config, name, otherwise);
        Ok(Config {
            keys: keys.iter().enumerate().map(key).collect::<Result<_, _>>()?,
            algorithms,
            audiences: texts(config, "BoundAudiences")?,
            issuer: match config.get("BoundIssuer") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(_) => return Err(refused("BoundIssuer is not a text")),
            },
            values: mappings(config, "ClaimMappings")?,
            lists: mappings(config, "ListClaimMappings")?,
            expiration_leeway: leeway("ExpirationLeeway", LEEWAY)?,
            not_before_leeway: leeway("NotBeforeLeeway", LEEWAY)?,
            skew: leeway("ClockSkewLeeway", SKEW)?,
        })
    }
}

fn known(config: &Map<String, Value>) -> Result<(), Refused> {
    const KNOWN: [&str; 9] = [
        KEYS,
        ALGORITHMS,
        "BoundAudiences",
        "BoundIssuer",
        "ClaimMappings",
        "ListClaimMappings",
        "ExpirationLeeway",
        "NotBeforeLeeway",
        "ClockSkewLeeway",
    ];
    for (key, value) in config {
        let empty = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if KNOWN.contains(&&**key) || empty {
            continue;
        }
        return Err(refused(match NOT_HERE.contains(&&**key) {
            true => format!(
                "{key:?} must not be set: this server fetches no keys and leads nobody through a browser; put public keys into {KEYS:?}"
            ),
            false => format!("invalid config key {key:?}"),
        }));
    }
    Ok(())
}

/// A public key in PEM, of whichever family it is.
fn key(pem: &str) -> Option<DecodingKey> {
    let bytes = pem.as_bytes();
    DecodingKey::from_rsa_pem(bytes)
        .or_else(|_| DecodingKey::from_ec_pem(bytes))
        .or_else(|_| DecodingKey::from_ed_pem(bytes))
        .ok()
}

fn algorithm(name: &str) -> Result<Algorithm, Refused> {
    Ok(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        other => return Err(refused(format!("Invalid supported algorithm: {other}"))),
    })
}

fn texts(config: &Map<String, Value>, key: &str) -> Result<Vec<String>, Refused> {
    let wrong = || refused(format!("{key} is not a list of texts"));
    match config.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn mappings(config: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, Refused> {
    let wrong = || refused(format!("{key} is not a map of texts"));
    let map = match config.get(key) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(wrong()),
    };
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for (claim, name) in map {
        let name = name.as_str().ok_or_else(wrong)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(refused(format!("{key}: {name:?} is not a name")));
        }
        if made.values().any(|other| other == name) {
            return Err(refused(format!(
                "{key} contains multiple mappings for key {name:?}"
            )));
        }
        made.insert(claim.clone(), name.to_owned());
    }
    Ok(made)
}

/// A leeway: nanoseconds or Go's way of writing durations; 0 is the usual one, less than 0 is none.
fn span(config: &Map<String, Value>, key: &str, otherwise: Duration) -> Result<Duration, Refused> {
    let wrong = || refused(format!("{key} is not a duration"));
    let nanos = match config.get(key) {
        None | Some(Value::Null) => 0,
        Some(Value::Number(number)) => number.as_i64().ok_or_else(wrong)?,
        Some(Value::String(text)) => go_duration(text).ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    Ok(match nanos {
        0 => otherwise,
        nanos => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
    })
}

/// `1h30m`, `90s`, `-1s`; nanoseconds.
fn go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if matches!(rest, "" | "0") {
        return Some(0);
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let factor = match &after[..unit] {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            "us" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        total += number * factor;
        rest = &after[unit..];
    }
    (total < 9.0e18).then_some(sign * total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leeways_are_read_as_go_writes_them() {
        for (text, nanos) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("90s", Some(90_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("1.5m", Some(90_000_000_000)),
            ("5", None),
            ("5x", None),
            ("x", None),
        ] {
            assert_eq!(go_duration(text), nanos, "{text}");
        }
    }
}
