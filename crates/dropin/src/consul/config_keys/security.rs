//! What keeps others out: the `acl` and `tls` blocks and the HTTPS port. What they say and this server does not do is refused.

use serde_json::Value;

use super::{Reader, address, join};
use crate::settings::{Refusal, Settings};

/// A block, which HCL may have as a list of one.
pub(super) fn block(value: &Value) -> &Value {
    match value.as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => value,
    }
}

impl Reader<'_> {
    /// A setting of a block of `tls`: its own, that of `defaults`, or the one at the top.
    fn tls(&self, area: &str, key: &str) -> Value {
        let tls = block(&self.config["tls"]);
        let places = [&block(&tls[area])[key], &block(&tls["defaults"])[key]];
        let found = places.into_iter().find(|value| !value.is_null());
        found.unwrap_or(&self.config[key]).clone()
    }

    /// The HTTPS port, and what it shows and trusts.
    pub(super) fn https(&self, settings: &mut Settings, client: &str) -> Result<(), Refusal> {
        self.known_tls()?;
        let Some(port) = self.port("https", 0)?.filter(|port| *port != 0) else {
            return Ok(());
        };
        let file = |key: &str| match self.tls("https", key) {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Err(Refusal::new(format!(
                "tls.https.{key}: {other} is not a text"
            ))),
        };
        let asks =
            self.tls("https", "verify_incoming") == true || self.truth("verify_incoming_https")?;
        let (certificate, key) = match (file("cert_file")?, file("key_file")?) {
            (Some(certificate), Some(key)) => (certificate, key),
            // Consul opens a port then on which no handshake succeeds.
            (None, None) if !asks => {
                settings.warn("ports.https: there is no certificate, so the port stays closed");
                return Ok(());
            }
            _ => {
                return Err(Refusal::new(
                    "ports.https: needs a certificate: tls.https.cert_file and tls.https.key_file, or the same in tls.defaults",
                ));
            }
        };
        settings.set("tls-cert", certificate);
        settings.set("tls-key", key);
        if asks {
            let authority = file("ca_file")?.ok_or_else(|| {
                Refusal::new(
                    "tls.https.verify_incoming: needs tls.https.ca_file, or that of tls.defaults",
                )
            })?;
            settings.set("tls-client-ca", authority);
        }
        let (key, text) = match self.config["addresses"]["https"].as_str() {
            Some(text) if !text.is_empty() => ("addresses.https", text),
            _ => ("client_addr", client),
        };
        let first = text.split_whitespace().next().unwrap_or("127.0.0.1");
        let address = address(key, first)?;
        settings.set("listen", format!("consul+tls={}", join(address, port)));
        Ok(())
    }

    /// Refuses what the `tls` block says that would keep somebody out and is not there.
    fn known_tls(&self) -> Result<(), Refusal> {
        let tls = match block(&self.config["tls"]) {
            Value::Null => return Ok(()),
            Value::Object(tls) => tls,
            other => return Err(Refusal::new(format!("tls: {other} is not an object"))),
        };
        for (area, inner) in tls {
            let Value::Object(inner) = block(inner) else {
                return Err(Refusal::new(format!("tls.{area} is not an object")));
            };
            for (key, value) in inner {
                let off = matches!(value, Value::Null | Value::Bool(false)) || *value == "";
                let known = match (&**area, &**key) {
                    (
                        "defaults" | "https",
                        "ca_file" | "cert_file" | "key_file" | "verify_incoming",
                    ) => true,
                    // Nothing goes out by these ports, and certificates of clients are always verified.
                    (
                        "defaults" | "https",
                        "verify_outgoing" | "tls_min_version" | "tls_cipher_suites",
                    ) => true,
                    _ => off,
                };
                if !known {
                    return Err(Refusal::new(format!(
                        "tls.{area}.{key}: not built; for the cluster port write ca_file, cert_file and key_file at the top, with certificates of `portolan tls create`"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The `acl` block. What would keep somebody out and is not there is refused.
    pub(super) fn access(&self, settings: &mut Settings) -> Result<(), Refusal> {
        let acl = match block(&self.config["acl"]) {
            Value::Null => return Ok(()),
            Value::Object(acl) => acl,
            other => return Err(Refusal::new(format!("acl: {other} is not an object"))),
        };
        let truth = |key: &str| match acl.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(Refusal::new(format!(
                "acl.{key}: {other} is not true or false"
            ))),
        };
        if !truth("enabled")? {
            return Ok(());
        }
        if truth("enable_key_list_policy")? {
            return Err(Refusal::new(
                "acl.enable_key_list_policy: lists of keys are filtered by key read in this server",
            ));
        }
        settings.set("access-control", "true");
        match acl.get("default_policy").and_then(Value::as_str) {
            // As in Consul, where the block alone opens everything that no rule speaks of.
            None | Some("" | "allow") => settings.set("access-default-allow", "true"),
            Some("deny") => {}
            Some(other) => {
                return Err(Refusal::new(format!(
                    "acl.default_policy: {other:?} is neither allow nor deny"
                )));
            }
        }
        let tokens = match acl.get("tokens").map(block) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(tokens)) => tokens,
            Some(other) => {
                return Err(Refusal::new(format!(
                    "acl.tokens: {other} is not an object"
                )));
            }
        };
        for (name, value) in tokens {
            let text = value
                .as_str()
                .ok_or_else(|| Refusal::new(format!("acl.tokens.{name} is not a text")))?;
            match &**name {
                _ if text.is_empty() => {}
                "initial_management" | "master" => {
                    settings.set("access-initial-management", text);
                }
                "default" => settings.set("access-default-token", text),
                // Servers and agents show certificates to one another, and need no tokens.
                "agent"
                | "agent_master"
                | "agent_recovery"
                | "replication"
                | "dns"
                | "config_file_service_registration"
                | "config_file_registration" => {
                    settings.warn(format!("acl.tokens.{name}: without effect in this server"));
                }
                _ => {
                    return Err(Refusal::new(format!(
                        "acl.tokens.{name}: there is no such token"
                    )));
                }
            }
        }
        Ok(())
    }
}
