//! Whether a token is what it says: its signature, whom it is for, and when.

use ::ring::signature as keys;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Validation, decode, decode_header,
};
use serde_json::Value;

use super::method::{Config, Refused, refused};

/// Bytes of a token at most.
const MOST: usize = 64 * 1024;

/// The cryptography is ring's, as everywhere in this server.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    // Nobody's tokens are signed here.
    Err(ErrorKind::InvalidAlgorithm.into())
}

struct Check {
    algorithm: Algorithm,
    with: &'static dyn keys::VerificationAlgorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        keys::UnparsedPublicKey::new(self.with, &self.key)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let with: &'static dyn keys::VerificationAlgorithm = match algorithm {
        Algorithm::RS256 => &keys::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &keys::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &keys::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &keys::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &keys::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &keys::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &keys::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &keys::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &keys::ED25519,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) if key.family() == algorithm.family() => {
            Ok(Box::new(Check {
                algorithm: *algorithm,
                with,
                key: bytes.clone(),
            }))
        }
        _ => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

/// What a token says, if one of the keys signed it.
pub(super) fn verified(bearer: &str, config: &Config) -> Result<Value, Refused> {
    // The first one counts; it is always the same.
    let _there = PROVIDER.install_default();
    let unread = || refused("the bearer token is no signed JWT");
    if bearer.len() > MOST {
        return Err(unread());
    }
    let header = decode_header(bearer).map_err(|_| unread())?;
    if !config.algorithms.contains(&header.alg) {
        return Err(refused(format!(
            "token is signed with the algorithm {:?}, which is none of the supported ones",
            header.alg
        )));
    }
    let mut validation = Validation::new(header.alg);
    // When it is good is judged by this server's own clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let signers = config
        .keys
        .iter()
        .filter(|key| key.family() == header.alg.family());
    for key in signers {
        match decode::<Value>(bearer, key, &validation) {
            Ok(token) => return Ok(token.claims),
            Err(why) if matches!(why.kind(), ErrorKind::InvalidSignature) => {}
            // It is signed, and says what no token says.
            Err(why) => {
                return Err(refused(format!(
                    "the claims of the token cannot be read: {why}"
                )));
            }
        }
    }
    Err(refused(
        "no known key successfully validated the token signature",
    ))
}

/// Whether a token is meant for this method, and good at `now`, seconds since 1970.
pub(super) fn check(token: &Value, config: &Config, now: u64) -> Result<(), Refused> {
    let seconds = |claim: &str| -> Result<u64, Refused> {
        match &token[claim] {
            Value::Null => Ok(0),
            value => value
                .as_f64()
                .filter(|at| (0.0..1.0e12).contains(at))
                .map(|at| at as u64)
                .ok_or_else(|| refused(format!("the claim {claim:?} is no time"))),
        }
    };
    let (issued, mut begins, mut ends) = (seconds("iat")?, seconds("nbf")?, seconds("exp")?);
    if issued == 0 && begins == 0 && ends == 0 {
        return Err(refused(
            "no issue time, notBefore, or expiration time encoded in token",
        ));
    }
    if ends == 0 {
        ends = issued.max(begins) + config.expiration_leeway.as_secs();
    }
    if begins == 0 {
        begins = match issued {
            0 => ends.saturating_sub(config.not_before_leeway.as_secs()),
            issued => issued,
        };
    }
    let skew = config.skew.as_secs();
    if now > ends + skew {
        return Err(refused("token is expired"));
    }
    if now + skew < begins {
        return Err(refused("token not valid yet"));
    }
    if issued > now + skew {
        return Err(refused("token issued in the future"));
    }
    if !config.issuer.is_empty() && token["iss"] != *config.issuer {
        return Err(refused("invalid issuer (iss)"));
    }
    check_audience(token, config)
}

fn check_audience(token: &Value, config: &Config) -> Result<(), Refused> {
    let claimed: Vec<&str> = match &token["aud"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match (config.audiences.is_empty(), claimed.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(refused(
            "audience claim found in JWT but no audiences are bound",
        )),
        (false, _) => {
            let bound = |one: &&str| config.audiences.iter().any(|audience| audience == one);
            match claimed.iter().any(bound) {
                true => Ok(()),
                false => Err(refused("aud claim does not match any bound audience")),
            }
        }
    }
}
