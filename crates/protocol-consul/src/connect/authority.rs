//! The authority of Connect: its own certificate, and those it gives to services.

use portolan_environment::uuid;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SignatureAlgorithm,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Certificates are valid from a little before they are made: not every clock is right.
const BACKDATED: Duration = Duration::from_secs(60);

/// What cannot be made.
pub(super) type Error = rcgen::Error;

/// A root certificate, as it is kept. Its key is kept apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Root {
    /// The digest of the certificate.
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) serial_number: u64,
    /// The digest of its key.
    #[serde(rename = "SigningKeyID")]
    pub(super) signing_key_id: String,
    /// `<uuid>.consul`.
    pub(super) trust_domain: String,
    pub(super) not_before: String,
    pub(super) not_after: String,
    /// In PEM.
    pub(super) root_cert: String,
    /// The same key, signed by the root before it: for those who know only that one. In PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cross_signed: String,
    /// 256 or 384.
    pub(super) bits: u64,
    /// When another one took its place, milliseconds since 1970; 0 for the one that signs.
    pub(super) rotated_out_ms: u64,
}

/// A certificate of a service with its key.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(super) serial_number: String,
    /// In PEM, with what leads to an older root.
    pub(super) certificate: String,
    /// In PEM.
    pub(super) key: String,
    pub(super) uri: String,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

fn algorithm(bits: u64) -> &'static SignatureAlgorithm {
    match bits {
        384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        _ => &rcgen::PKCS_ECDSA_P256_SHA256,
    }
}

/// A number that JSON readers of every language can hold.
fn serial() -> u64 {
    Uuid::from_bytes(uuid()).as_u64_pair().0 >> 11
}

/// A fresh trust domain.
pub(super) fn fresh_domain() -> String {
    format!("{}.consul", Uuid::from_bytes(uuid()))
}

/// What every root of a trust domain says of itself: also what is needed to sign as one.
fn root_params(trust_domain: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let short: String = trust_domain.chars().take(8).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("pri-{short}.consul.ca.{short}.consul"),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
    Ok(params)
}

/// From a little before `now_ms` for `lifetime`: as it stands in the certificate, and in milliseconds.
fn validity(params: &mut CertificateParams, now_ms: u64, lifetime: Duration) -> (u64, u64) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms / 1000 * 1000);
    let (from, until) = (now - BACKDATED, now + lifetime);
    params.not_before = from.into();
    params.not_after = until.into();
    let millis = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    };
    (millis(from), millis(until))
}

/// A time as Go prints it.
pub(super) fn time(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(0));
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// A fresh root and its key in PEM. `before` is the root whose place it takes, with its key if it has one.
///
/// # Errors
/// When the key or the certificate cannot be made.
pub(super) fn make_root(
    trust_domain: &str,
    bits: u64,
    now_ms: u64,
    lifetime: Duration,
    before: Option<&str>,
) -> Result<(Root, String), Error> {
    let key = KeyPair::generate_for(algorithm(bits))?;
    let mut params = root_params(trust_domain)?;
    let (from, until) = validity(&mut params, now_ms, lifetime);
    let serial_number = serial();
    params.serial_number = Some(serial_number.into());
    let certificate = params.self_signed(&key)?;
    let cross_signed = match before {
        Some(before) => {
            let old = KeyPair::from_pem(before)?;
            let issuer = root_params(trust_domain)?;
            let mut crossed = params.clone();
            crossed.serial_number = Some(serial().into());
            crossed
                .signed_by(&key, &Issuer::from_params(&issuer, &old))?
                .pem()
        }
        None => String::new(),
    };
    let root = Root {
        id: hex_pairs(&Sha256::digest(certificate.der())[..20]),
        serial_number,
        signing_key_id: hex_pairs(&params.key_identifier(&key)),
        trust_domain: trust_domain.to_owned(),
        not_before: time(from),
        not_after: time(until),
        root_cert: certificate.pem(),
        cross_signed,
        bits,
        rotated_out_ms: 0,
    };
    Ok((root, key.serialize_pem()))
}

/// A certificate for a service, signed by `root`, whose key is `key` in PEM.
///
/// # Errors
/// When the name cannot stand in a certificate, or the key cannot be read.
pub(super) fn sign_leaf(
    root: &Root,
    key: &str,
    service: &str,
    datacenter: &str,
    now_ms: u64,
    lifetime: Duration,
) -> Result<Leaf, Error> {
    let domain = &root.trust_domain;
    let uri = service_uri(domain, datacenter, service);
    let own = KeyPair::generate_for(algorithm(root.bits))?;
    let mut params = CertificateParams::default();
    let short: String = domain.chars().take(8).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("{}.svc.default.{short}.consul", plain(service)),
    );
    params.subject_alt_names = vec![SanType::URI(uri.clone().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let number = serial();
    params.serial_number = Some(number.into());
    let (from_ms, until_ms) = validity(&mut params, now_ms, lifetime);
    let certificate = signed(&params, &own, root, key)?;
    let mut chain = certificate.pem();
    chain.push_str(&root.cross_signed);
    Ok(Leaf {
        serial_number: hex_pairs(&minimal(number)),
        certificate: chain,
        key: own.serialize_pem(),
        uri,
        from_ms,
        until_ms,
    })
}

fn signed(
    params: &CertificateParams,
    own: &impl PublicKeyData,
    root: &Root,
    key: &str,
) -> Result<Certificate, Error> {
    let issuer = root_params(&root.trust_domain)?;
    let key = KeyPair::from_pem(key)?;
    params.signed_by(own, &Issuer::from_params(&issuer, key))
}

/// Who a service is: `spiffe://DOMAIN/ns/default/dc/DC/svc/SERVICE`.
pub(crate) fn service_uri(trust_domain: &str, datacenter: &str, service: &str) -> String {
    let part = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
            .to_string()
            .replace("%2D", "-")
            .replace("%2E", ".")
            .replace("%5F", "_")
            .replace("%7E", "~")
    };
    format!(
        "spiffe://{trust_domain}/ns/default/dc/{}/svc/{}",
        part(datacenter),
        part(service)
    )
}

/// A name as it may stand in a host's name, at most 40 characters.
fn plain(service: &str) -> String {
    let letters = service.chars().filter(char::is_ascii_alphanumeric);
    letters.take(40).collect::<String>().to_ascii_lowercase()
}

fn minimal(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    bytes[first..].to_vec()
}

fn hex_pairs(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;
    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    #[test]
    fn a_root_signs_the_next_one_and_certificates_of_services() {
        let (first, old) = make_root("a.consul", 256, NOW, YEAR, None).unwrap();
        assert!(first.cross_signed.is_empty());
        let (root, key) = make_root("a.consul", 384, NOW, YEAR, Some(&old)).unwrap();
        assert_ne!(root.id, first.id);
        assert!(root.cross_signed.starts_with("-----BEGIN CERTIFICATE-----"));
        let leaf = sign_leaf(&root, &key, "we b", "dc1", NOW, YEAR).unwrap();
        assert_eq!(leaf.uri, "spiffe://a.consul/ns/default/dc/dc1/svc/we%20b");
        assert_eq!(leaf.certificate.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(leaf.until_ms - leaf.from_ms, 365 * 86_400_000 + 60_000);
        assert!(KeyPair::from_pem(&leaf.key).is_ok());
    }
}
