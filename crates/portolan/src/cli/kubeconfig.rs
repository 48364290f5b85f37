//! `kubeconfig`: the file that kubectl and other clients of Kubernetes start from.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::Fault;

/// `kubeconfig`.
#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    /// Address of a server's Kubernetes port; https:// for one that speaks TLS
    #[arg(
        long,
        env = "PORTOLAN_KUBERNETES",
        default_value = "http://127.0.0.1:6444",
        value_name = "URL"
    )]
    kubernetes: String,
    /// Authorities that the server's certificate must be of, PEM; by default those that the client's machine trusts
    #[arg(long, env = "PORTOLAN_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Certificate to show to a server that asks for one, PEM
    #[arg(
        long,
        env = "PORTOLAN_CLIENT_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    client_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(
        long,
        env = "PORTOLAN_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,
    /// Name that the server's certificate must have; by default the one in its address
    #[arg(long, env = "PORTOLAN_TLS_SERVER_NAME", value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Name of cluster, context and user
    #[arg(long, default_value = "portolan", value_name = "NAME")]
    name: String,
    /// Namespace of commands that name none
    #[arg(long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
}

impl Kubeconfig {
    pub(super) fn run(self) -> Result<(), Fault> {
        let token = std::env::var("PORTOLAN_TOKEN").ok();
        let token = token.filter(|token| !token.is_empty());
        let config = self.config(token.as_deref())?;
        // JSON is YAML, and nothing in it can be taken for something else.
        println!("{config:#}");
        Ok(())
    }

    fn config(&self, token: Option<&str>) -> Result<Value, Fault> {
        let (scheme, rest) = self.kubernetes.split_once("://").unwrap_or_default();
        if !matches!(scheme, "http" | "https") || rest.trim_end_matches('/').is_empty() {
            return Err(Fault::Usage(format!(
                "--kubernetes: {:?} is no URL such as http://127.0.0.1:6444",
                self.kubernetes
            )));
        }
        let certificates = [&self.ca_cert, &self.client_cert, &self.client_key];
        if scheme == "http" && certificates.iter().any(|file| file.is_some()) {
            return Err(Fault::Usage(
                "certificates are for a port that speaks TLS: --kubernetes has to begin with https://".into(),
            ));
        }
        let mut cluster = json!({"server": self.kubernetes.trim_end_matches('/')});
        if let Some(file) = &self.ca_cert {
            cluster["certificate-authority-data"] = content(file)?.into();
        }
        if let Some(name) = &self.tls_server_name {
            cluster["tls-server-name"] = name.as_str().into();
        }
        let mut user = json!({});
        if let Some(token) = token {
            user["token"] = token.into();
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            user["client-certificate-data"] = content(certificate)?.into();
            user["client-key-data"] = content(key)?.into();
        }
        let context = json!({"cluster": self.name, "user": self.name, "namespace": self.namespace});
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "contexts": [{"name": self.name, "context": context}],
            "current-context": self.name,
            "users": [{"name": self.name, "user": user}],
        }))
    }
}

/// A file's content in Base64: the configuration works where the file is not.
fn content(file: &Path) -> Result<String, Fault> {
    let bytes = std::fs::read(file)
        .map_err(|error| Fault::Failed(format!("cannot read {}: {error}", file.display())))?;
    Ok(STANDARD.encode(bytes))
}
