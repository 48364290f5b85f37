//! The `connect` block: certificates for services, and who may call whom.

use serde_json::Value;

use super::security::block;
use super::{Reader, plain};
use crate::settings::{Refusal, Settings};

/// Keys of `ca_config` that change nothing here: there is one authority, which signs with its root.
const WITHOUT_EFFECT: [&str; 9] = [
    "csr_max_concurrent",
    "csr_max_per_second",
    "intermediate_cert_ttl",
    "private_key_bits",
    "private_key_type",
    "root_cert_ttl",
    "rotation_period",
    "skip_validate",
    "tls_skip_verify",
];

impl Reader<'_> {
    /// `connect` and `default_intention_policy`.
    pub(super) fn connect(&self, settings: &mut Settings) -> Result<(), Refusal> {
        match self.text("default_intention_policy")? {
            None => {}
            Some(policy @ ("allow" | "deny")) => settings.set("connect-intentions", policy),
            Some(other) => {
                return Err(Refusal::new(format!(
                    "default_intention_policy: {other:?} is neither allow nor deny"
                )));
            }
        }
        let connect = match block(&self.config["connect"]) {
            Value::Null => return Ok(()),
            Value::Object(connect) => connect,
            other => return Err(Refusal::new(format!("connect: {other} is not an object"))),
        };
        match connect.get("enabled") {
            None | Some(Value::Null | Value::Bool(true)) => {}
            Some(Value::Bool(false)) => settings.set("connect", "false"),
            Some(other) => {
                return Err(Refusal::new(format!(
                    "connect.enabled: {other} is not true or false"
                )));
            }
        }
        let provider = connect
            .get("ca_provider")
            .map_or("", |value| value.as_str().unwrap_or("?"));
        if !matches!(provider, "" | "consul") {
            return Err(Refusal::new(format!(
                "connect.ca_provider: {provider:?} is not there, this server is its own authority (\"consul\")"
            )));
        }
        let config = connect.get("ca_config").map(block);
        let Some(Value::Object(config)) = config else {
            return Ok(());
        };
        for (key, value) in config {
            match &**key {
                "cluster_id" => settings.set("connect-cluster-id", plain(value)),
                "leaf_cert_ttl" => settings.set("connect-leaf-ttl", plain(value)),
                "private_key" | "root_cert" if *value != "" => {
                    return Err(Refusal::new(format!(
                        "connect.ca_config.{key}: this server makes its root certificates itself"
                    )));
                }
                key if WITHOUT_EFFECT.contains(&key) => {}
                key => settings.warn(format!(
                    "connect.ca_config.{key}: not known here and without effect"
                )),
            }
        }
        Ok(())
    }
}
