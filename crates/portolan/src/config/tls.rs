//! What is set about TLS on the protocols' ports.

use std::io;

use portolan_listener::TlsMaterial;

use super::listen::Listen;

/// Files, all of them PEM.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConfig {
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) client_authorities: Option<String>,
    pub(crate) revoked: Option<String>,
}

impl TlsConfig {
    /// What no single value shows.
    ///
    /// # Errors
    /// What to do.
    pub(crate) fn check(&self, listen: &Listen) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("--tls-cert and --tls-key belong together".into());
        }
        if self.revoked.is_some() && self.client_authorities.is_none() {
            return Err(
                "--tls-crl needs --tls-client-ca: it is about certificates of clients".into(),
            );
        }
        if self.client_authorities.is_some() && self.certificate.is_none() {
            return Err("--tls-client-ca needs --tls-cert and --tls-key".into());
        }
        match listen.secure().next() {
            Some(id) if self.certificate.is_none() => Err(format!(
                "port {id} is to speak TLS: give --tls-cert and --tls-key"
            )),
            None if self.certificate.is_some() => Err(
                "--tls-cert is given and no port speaks TLS; write --listen NAME=ADDR,tls, or --listen NAME+tls=ADDR for one beside the plain one".into(),
            ),
            _ => Ok(()),
        }
    }

    /// What the files hold; none when no port speaks TLS.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub(crate) fn read(&self) -> io::Result<Option<TlsMaterial>> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let read = |path: &String| {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{path:?}: {error}"));
            std::fs::read(path).map_err(named)
        };
        Ok(Some(TlsMaterial {
            certificate: read(certificate)?,
            key: read(key)?,
            client_authorities: self.client_authorities.as_ref().map(read).transpose()?,
            revoked: self.revoked.as_ref().map(read).transpose()?,
        }))
    }
}
