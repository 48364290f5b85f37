//! Certificates of the protocols' ports: read at the start and whenever the server is told to read its files again.

use anyhow::{Context, Result};
use portolan_listener::Tls;

use crate::config::TlsConfig;

/// Reads the files. None when no port speaks TLS.
pub(super) fn open(config: &TlsConfig) -> Result<Option<Tls>> {
    let material = config.read().context("cannot read the files of TLS")?;
    let tls = material.map(|material| Tls::new(&material)).transpose();
    tls.context("cannot use the files of TLS")
}

/// Reads the files again for the connections from now on. What cannot be used leaves everything as it was.
pub(super) async fn read_again(config: &TlsConfig, tls: Option<&Tls>) {
    let Some(tls) = tls else { return };
    let files = config.clone();
    let read = portolan_environment::blocking(move || files.read()).await;
    let replaced = match read.and_then(std::convert::identity) {
        Ok(Some(material)) => tls.replace(&material),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match replaced {
        Ok(()) => tracing::info!("read the certificates of the ports again"),
        Err(error) => tracing::error!(%error, "the certificates of the ports stay as they were"),
    }
}
