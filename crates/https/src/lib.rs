//! How commands reach a server: over HTTP, or over HTTPS by what they are told to trust.
//!
//! Promises: a file that cannot be read, and one that holds nothing of its kind, is an error that names it. No certificate is taken that is not
//! verified, unless [`Trust::unverified`] says so. Deliberately absent: requests, answers, and connections from server to server.
//!
//! Start with [`connector`].

mod unverified;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Makes connections, for hyper's client.
pub type Connector = HttpsConnector<HttpConnector>;

/// Whom a command trusts, and what it shows. The default trusts the authorities of this machine and shows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Files with certificates of authorities, PEM. With any of them, and with folders, those of the machine count no more.
    pub authorities: Vec<PathBuf>,
    /// Folders, of which every file has certificates of authorities.
    pub authority_folders: Vec<PathBuf>,
    /// The command's own certificate with its chain, PEM; with `key`.
    pub certificate: Option<PathBuf>,
    /// The key of that, PEM.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have; by default the one it is reached by.
    pub server_name: Option<String>,
    /// Takes every certificate.
    pub unverified: bool,
}

/// Why there is no way to a server.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file or folder cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("file {path:?}: {what}")]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("a certificate and its key belong together")]
    Half,
    /// This machine trusts nobody.
    #[error("this machine has no authorities that could be trusted; name a file with some")]
    Nobody,
    /// No name at all.
    #[error("{0:?} cannot be the name in a certificate")]
    Name(String),
    /// What was given does not fit together.
    #[error("{0}")]
    Unfit(String),
}

/// A way to servers whose address begins with `http://` or `https://`; `patience` is the time for a connection.
///
/// # Errors
/// See [`TrustError`]. Nothing is read where `secure` is false: no address begins with `https://` then.
pub fn connector(trust: &Trust, secure: bool, patience: Duration) -> Result<Connector, TrustError> {
    let config = match secure {
        true => config(trust)?,
        false => empty()?,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(patience));
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    let builder = match &trust.server_name {
        None => builder,
        Some(name) => {
            let wrong = |_| TrustError::Name(name.clone());
            let name = ServerName::try_from(name.clone()).map_err(wrong)?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
    };
    Ok(builder.enable_http1().wrap_connector(tcp))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unfit(error: rustls::Error) -> TrustError {
    TrustError::Unfit(error.to_string())
}

fn empty() -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    let builder = match trust.unverified {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(unverified::Anybody(provider()))),
        false => builder.with_root_certificates(roots(trust)?),
    };
    match (&trust.certificate, &trust.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let pem = read(key)?;
            let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TrustError::Content {
                path: key.clone(),
                what: format!("the key cannot be read: {error}"),
            })?;
            builder.with_client_auth_cert(chain, key).map_err(unfit)
        }
        _ => Err(TrustError::Half),
    }
}

fn roots(trust: &Trust) -> Result<RootCertStore, TrustError> {
    let mut files = trust.authorities.clone();
    for folder in &trust.authority_folders {
        let io = |source| TrustError::Io {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
    }
    let mut roots = RootCertStore::empty();
    for file in &files {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| TrustError::Content {
                    path: file.clone(),
                    what: error.to_string(),
                })?;
        }
    }
    if files.is_empty() {
        // One that cannot be used is one less.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    match roots.is_empty() {
        true => Err(TrustError::Nobody),
        false => Ok(roots),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(path).map_err(|source| TrustError::Io {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |what| TrustError::Content {
        path: path.to_owned(),
        what,
    };
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(some) if !some.is_empty() => Ok(some),
        Ok(_) => Err(wrong("there is no certificate in it".to_owned())),
        Err(error) => Err(wrong(format!("it cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests;
