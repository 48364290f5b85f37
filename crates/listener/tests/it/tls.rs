//! TLS on a port: who gets in, and what happens to those who do not.

use std::sync::Arc;

use portolan_listener::{HttpOptions, Limits, PortOptions, Spoken, Tls, TlsMaterial};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::support::{PATIENCE, Server, hello, serve_on};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn give(&self, serial: u64) -> Pair {
        let mut params = CertificateParams::new(vec!["node-1".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            certificate,
            key: key.serialize_pem(),
        }
    }

    fn revoke(&self, serial: u64) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.issuer)
            .unwrap()
            .pem()
            .unwrap()
            .into_bytes()
    }
}

fn material(pair: &Pair) -> TlsMaterial {
    TlsMaterial {
        certificate: pair.certificate.clone().into_bytes(),
        key: pair.key.clone().into_bytes(),
        ..TlsMaterial::default()
    }
}

fn port(tls: &Tls, spoken: Spoken) -> Server {
    let plugged = PortOptions {
        handshake: Some(tls.handshake(spoken)),
        ..PortOptions::default()
    };
    serve_on(Limits::default(), plugged, HttpOptions::default(), hello)
}

/// The answer to a request of somebody who trusts `authority` and shows `own`, and the protocol that was agreed on.
async fn ask(
    server: &Server,
    authority: &Authority,
    own: Option<&Pair>,
) -> Result<(String, Option<Vec<u8>>), String> {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap();
    roots.add(der).unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let socket = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("node-1").unwrap();
    let said = async {
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            server.address
        );
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .await
            .map_err(|error| error.to_string())?;
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((String::from_utf8_lossy(&answer).into_owned(), agreed))
    };
    timeout(PATIENCE, said).await.unwrap()
}

#[tokio::test]
async fn a_certificate_is_shown_and_plain_words_get_no_answer() {
    let authority = Authority::new();
    let tls = Tls::new(&material(&authority.give(1))).unwrap();
    let server = port(&tls, Spoken::Http2);
    let (answer, agreed) = ask(&server, &authority, None).await.unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    let stranger = ask(&server, &Authority::new(), None).await.unwrap_err();
    assert!(stranger.contains("certificate"), "{stranger}");
    let plain = server.raw("GET / HTTP/1.1\r\nHost: node-1\r\n\r\n").await;
    assert!(!plain.contains("HTTP/"), "{plain}");
}

#[tokio::test]
async fn clients_show_certificates_where_authorities_are_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = Tls::new(&TlsMaterial {
        client_authorities: Some(authority.certificate.clone().into_bytes()),
        revoked: Some(authority.revoke(7)),
        ..material(&authority.give(1))
    })
    .unwrap();
    let server = port(&tls, Spoken::Http1);
    let rows = [
        (Some(authority.give(2)), true),
        (Some(authority.give(7)), false),
        (Some(other.give(2)), false),
        (None, false),
    ];
    for (own, allowed) in rows {
        let answer = ask(&server, &authority, own.as_ref()).await;
        // A client that shows nothing may learn of it when it reads.
        let got_in = answer.is_ok_and(|(text, _)| text.ends_with("hello\n"));
        assert_eq!(got_in, allowed);
    }
}

#[tokio::test]
async fn other_certificates_are_taken_for_connections_from_then_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let tls = Tls::new(&material(&before.give(1))).unwrap();
    let server = port(&tls, Spoken::Other);
    assert!(ask(&server, &before, None).await.is_ok());
    let broken = TlsMaterial {
        key: b"none".to_vec(),
        ..material(&after.give(1))
    };
    assert!(tls.replace(&broken).is_err());
    assert!(
        ask(&server, &before, None).await.is_ok(),
        "it stays as it was"
    );
    tls.replace(&material(&after.give(1))).unwrap();
    assert!(ask(&server, &after, None).await.is_ok());
    assert!(ask(&server, &before, None).await.is_err());
}

#[test]
fn what_does_not_fit_together_is_said() {
    let authority = Authority::new();
    let pair = authority.give(1);
    let rows = [
        (
            TlsMaterial::default(),
            "the certificate holds no certificate",
        ),
        (
            TlsMaterial {
                key: Vec::new(),
                ..material(&pair)
            },
            "the key cannot be read",
        ),
        (
            TlsMaterial {
                revoked: Some(authority.revoke(1)),
                ..material(&pair)
            },
            "without authorities of clients",
        ),
        (
            TlsMaterial {
                client_authorities: Some(authority.certificate.clone().into_bytes()),
                revoked: Some(Vec::new()),
                ..material(&pair)
            },
            "holds none",
        ),
    ];
    for (material, part) in rows {
        let error = Tls::new(&material).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
