//! The root certificate of Connect: made once, kept among the Consul objects, the same after every restart.
//!
//! Its key is thrown away once it has signed itself. No certificates of services are issued, and a secret that nobody
//! uses should not lie in a log; issuing them will begin with a new root, as any rotation does.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where the root lives among the Consul objects.
pub(crate) const KEY: &str = "connect-ca/root";

/// Ten years, as Consul's own roots last.
const LIFETIME_DAYS: i64 = 3650;

/// A fresh root as it is stored: JSON with the certificate, the trust domain and the validity.
///
/// `now_ms` is Unix time; the certificate is valid from the beginning of the day before.
///
/// # Errors
/// When the key or the certificate cannot be made.
pub(crate) fn make(now_ms: u64) -> Result<Value, rcgen::Error> {
    let trust_domain = format!("{}.consul", Uuid::from_bytes(portolan_environment::uuid()));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
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
    // JSON readers in Go take a 64-bit number here, those in JavaScript only 53 bits of it.
    let serial = Uuid::from_bytes(portolan_environment::uuid())
        .as_u64_pair()
        .0
        >> 11;
    params.serial_number = Some(serial.into());
    let day = i64::try_from(now_ms / 86_400_000).unwrap_or(0);
    let from = date(day - 1);
    let to = date(day + LIFETIME_DAYS);
    params.not_before = date_time_ymd(
        i32::from(from.year()),
        from.month().unsigned_abs(),
        from.day().unsigned_abs(),
    );
    params.not_after = date_time_ymd(
        i32::from(to.year()),
        to.month().unsigned_abs(),
        to.day().unsigned_abs(),
    );
    let key_id = params.key_identifier(&key);
    let certificate = params.self_signed(&key)?;
    Ok(json!({
        "ID": hex_pairs(&Sha256::digest(certificate.der())[..20]),
        "SerialNumber": serial,
        "SigningKeyID": hex_pairs(&key_id),
        "TrustDomain": trust_domain,
        "NotBefore": format!("{from}T00:00:00Z"),
        "NotAfter": format!("{to}T00:00:00Z"),
        "RootCert": certificate.pem(),
    }))
}

/// The answer of `/connect/ca/roots` for a stored root.
pub(crate) fn render(root: &Value, created: u64, modified: u64) -> Value {
    let domain = root["TrustDomain"].as_str().unwrap_or_default();
    json!({
        "ActiveRootID": root["ID"],
        "TrustDomain": domain,
        "Roots": [{
            "ID": root["ID"],
            "Name": "Portolan CA Root Cert",
            "SerialNumber": root["SerialNumber"],
            "SigningKeyID": root["SigningKeyID"],
            "ExternalTrustDomain": domain.strip_suffix(".consul").unwrap_or(domain),
            "NotBefore": root["NotBefore"],
            "NotAfter": root["NotAfter"],
            "RootCert": root["RootCert"],
            "IntermediateCerts": null,
            "Active": true,
            "PrivateKeyType": "ec",
            "PrivateKeyBits": 256,
            "CreateIndex": created,
            "ModifyIndex": modified,
        }],
    })
}

/// The date so many days after the first of January 1970.
fn date(days: i64) -> jiff::civil::Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().days(days))
        .unwrap_or(epoch)
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

    #[test]
    fn a_root_is_a_certificate_with_an_id() {
        let root = make(1_790_000_000_000).unwrap();
        let shown = render(&root, 3, 4);
        assert_eq!(shown["ActiveRootID"], shown["Roots"][0]["ID"]);
        assert_eq!(shown["ActiveRootID"].as_str().unwrap().len(), 59);
        let pem = shown["Roots"][0]["RootCert"].as_str().unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
        assert_eq!(shown["Roots"][0]["NotBefore"], "2026-09-20T00:00:00Z");
        assert!(shown["TrustDomain"].as_str().unwrap().ends_with(".consul"));
        assert!(!root.to_string().contains("PRIVATE KEY"));
    }
}
