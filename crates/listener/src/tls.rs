//! TLS on a port: a certificate, and clients that have to show one of theirs where authorities are named.
//!
//! Promises
//! - Files are read elsewhere; what is given can be replaced while connections are open: the next handshake has the new one.
//! - A revoked certificate is refused on every port alike, because every port has this one handshake. It has the time of a request's head.
//! - A client's certificate opens the door and is nobody's name: who somebody is, tokens say. Protocols that have names of their own for it are
//!   handed it ([`StreamConnection::certificate`](crate::StreamConnection)).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::access::Principal;
use crate::transport::{BoxFuture, Handshake, Secured};

/// What a port shows and trusts, as PEM.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// The port's own chain, its certificate first.
    pub certificate: Vec<u8>,
    /// The key of that certificate.
    pub key: Vec<u8>,
    /// Authorities of clients: without any, clients show no certificate; with some, they have to.
    pub client_authorities: Option<Vec<u8>>,
    /// Lists of revoked certificates of clients.
    pub revoked: Option<Vec<u8>>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsMaterial")
    }
}

/// What the protocol of a port is called in the handshake (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 before HTTP/1.1.
    Http2,
    /// DNS (`dot`, RFC 7858).
    Dns,
    /// Nothing that has a name there.
    Other,
}

/// TLS for any number of ports. Cloning is a pointer copy.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn wrong(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_string())
}

impl Tls {
    /// Reads what a port shows and trusts.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not fit together.
    pub fn new(material: &TlsMaterial) -> io::Result<Tls> {
        let config = config(material)?;
        Ok(Tls(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// Takes other material for the handshakes from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; everything then stays as it was.
    pub fn replace(&self, material: &TlsMaterial) -> io::Result<()> {
        self.0.store(Arc::new(config(material)?));
        Ok(())
    }

    /// The handshake of a port on which `spoken` is spoken.
    pub fn handshake(&self, spoken: Spoken) -> Arc<dyn Handshake> {
        Arc::new(TlsHandshake {
            tls: self.clone(),
            spoken,
        })
    }
}

fn config(material: &TlsMaterial) -> io::Result<ServerConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let read = |pem: &[u8], what: &str| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(some) if !some.is_empty() => Ok(some),
            Ok(_) => Err(wrong(format!("the {what} holds no certificate"))),
            Err(error) => Err(wrong(format!("the {what} cannot be read: {error}"))),
        }
    };
    let chain = read(&material.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = match &material.client_authorities {
        None if material.revoked.is_some() => {
            return Err(wrong(
                "a list of revoked certificates means nothing without authorities of clients",
            ));
        }
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for certificate in read(authorities, "clients' authority")? {
                roots.add(certificate).map_err(wrong)?;
            }
            let revoked = material.revoked.as_deref().unwrap_or_default();
            let lists: Result<Vec<_>, _> =
                CertificateRevocationListDer::pem_slice_iter(revoked).collect();
            let lists = lists.map_err(|error| {
                wrong(format!(
                    "the list of revoked certificates cannot be read: {error}"
                ))
            })?;
            if material.revoked.is_some() && lists.is_empty() {
                return Err(wrong("the list of revoked certificates holds none"));
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(lists)
                .build()
                .map_err(wrong)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(wrong)
}

/// The handshake of one port.
#[derive(Debug)]
struct TlsHandshake {
    tls: Tls,
    spoken: Spoken,
}

impl Handshake for TlsHandshake {
    fn handshake(&self, socket: TcpStream, _: SocketAddr) -> BoxFuture<io::Result<Secured>> {
        let mut config = ServerConfig::clone(&self.tls.0.load());
        let names: &[&[u8]] = match self.spoken {
            Spoken::Http1 => &[b"http/1.1"],
            Spoken::Http2 => &[b"h2", b"http/1.1"],
            Spoken::Dns => &[b"dot"],
            Spoken::Other => &[],
        };
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        let accept = TlsAcceptor::from(Arc::new(config)).accept(socket);
        Box::pin(async move {
            let stream = accept.await?;
            let (_, session) = stream.get_ref();
            let shown = session.peer_certificates().and_then(<[_]>::first);
            let certificate = shown.map(|shown| Arc::from(&shown[..]));
            Ok(Secured {
                stream: Box::new(stream),
                principal: Principal::Anonymous,
                certificate,
            })
        })
    }
}
