//! Mutual TLS on the cluster port: one authority, a certificate for each server and each agent.
//!
//! A certificate says what its owner may be by its name, `server.DATACENTER.portolan` or `agent.DATACENTER.portolan`: one that was given to an
//! agent opens no door to a server's place. Addresses are in no certificate, because members are known by their ids and may move.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::connection::Stream;
use crate::frame::Role;

/// The name in the certificate of a server or an agent.
#[must_use]
pub fn name_of(role: Role, datacenter: &str) -> String {
    match role {
        Role::Server | Role::Datacenter => format!("server.{datacenter}.portolan"),
        Role::Agent => format!("agent.{datacenter}.portolan"),
    }
}

/// Makes and takes connections under one authority.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    server: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn wrong(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_string())
}

impl Tls {
    /// From PEM: the authority's certificates, this server's own chain, and its key.
    ///
    /// # Errors
    /// When one of them cannot be read or they do not fit together.
    pub fn new(
        authority: &[u8],
        certificate: &[u8],
        key: &[u8],
        datacenter: &str,
    ) -> io::Result<Tls> {
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let read = |pem, what| {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match certificates {
                Ok(some) if !some.is_empty() => Ok(some),
                Ok(_) => Err(wrong(format!("the {what} holds no certificate"))),
                Err(error) => Err(wrong(format!("the {what} cannot be read: {error}"))),
            }
        };
        let mut roots = RootCertStore::empty();
        for certificate in read(authority, "authority")? {
            roots.add(certificate).map_err(wrong)?;
        }
        let roots = Arc::new(roots);
        let chain = read(certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(wrong)?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(wrong)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(wrong)?;
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            server: ServerName::try_from(name_of(Role::Server, datacenter)).map_err(wrong)?,
        })
    }

    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = self.connector.connect(self.server.clone(), stream).await?;
        Ok(Box::new(stream))
    }

    /// The stream, and whether the other end may be a server.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, bool)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let is_server = session
            .peer_certificates()
            .and_then(|chain| ParsedCertificate::try_from(chain.first()?).ok())
            .is_some_and(|leaf| verify_server_name(&leaf, &self.server).is_ok());
        Ok((Box::new(stream), is_server))
    }
}

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The name of every authority that is made here.
const AUTHORITY: &str = "portolan cluster authority";

/// Makes an authority.
///
/// # Errors
/// When the system gives no randomness.
pub fn create_authority() -> io::Result<Pair> {
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = authority_params(AUTHORITY)
        .self_signed(&key)
        .map_err(wrong)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Makes a certificate for a server or an agent of a datacenter, signed by an authority made with [`create_authority`].
///
/// # Errors
/// When the authority's key cannot be read.
pub fn create_certificate(authority: &Pair, role: Role, datacenter: &str) -> io::Result<Pair> {
    let issuer = Issuer::new(
        authority_params(AUTHORITY),
        KeyPair::from_pem(&authority.key).map_err(wrong)?,
    );
    let name = name_of(role, datacenter);
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, name.clone());
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(wrong)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if role == Role::Server {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
