//! The configuration of the authority, in Consul's words.

use crate::server_info::Connect;
use crate::wire::{Fields, Malformed, parse_duration};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What `/connect/ca/configuration` shows and takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CaConfig {
    pub(super) provider: String,
    /// As it was sent, without what is a secret.
    pub(super) config: Map<String, Value>,
    pub(super) state: Option<Map<String, Value>>,
    pub(super) force_without_cross_signing: bool,
}

const HOUR: u64 = 3600;
/// The shortest life of a certificate of a service.
const SHORTEST_LEAF: Duration = Duration::from_secs(HOUR);
/// The longest.
const LONGEST_LEAF: Duration = Duration::from_secs(365 * 24 * HOUR);

impl CaConfig {
    /// What holds before anybody changes it.
    pub(super) fn first(settings: &Connect) -> Self {
        let mut config = Map::new();
        // As Consul writes them, in hours.
        let leaf = match settings.leaf_ttl.as_secs() {
            seconds if seconds % HOUR == 0 => format!("{}h", seconds / HOUR),
            seconds => format!("{seconds}s"),
        };
        for (key, value) in [
            ("IntermediateCertTTL", "8760h"),
            ("LeafCertTTL", &leaf),
            ("RootCertTTL", "87600h"),
        ] {
            config.insert(key.to_owned(), value.into());
        }
        Self {
            provider: "consul".to_owned(),
            config,
            ..Self::default()
        }
    }

    fn span(&self, key: &str, otherwise: u64) -> Duration {
        let nanos = match &self.config.get(key) {
            Some(Value::String(text)) => parse_duration(text).ok(),
            Some(Value::Number(number)) => number.as_i64(),
            _ => None,
        };
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map_or(Duration::from_secs(otherwise), Duration::from_nanos)
    }

    /// How long certificates of services are valid.
    pub(super) fn leaf_ttl(&self) -> Duration {
        self.span("LeafCertTTL", 72 * HOUR)
    }

    /// How long a root is valid.
    pub(super) fn root_ttl(&self) -> Duration {
        self.span("RootCertTTL", 87_600 * HOUR)
    }

    /// The size of keys: 256 or 384.
    pub(super) fn bits(&self) -> u64 {
        self.config
            .get("PrivateKeyBits")
            .and_then(Value::as_u64)
            .unwrap_or(256)
    }

    /// Reads what is to take its place.
    ///
    /// # Errors
    /// What is wrong with it, or is not done here.
    pub(super) fn read(body: &Value) -> Result<Self, String> {
        let why = |Malformed(why): Malformed| why;
        let fields = Fields::of(body, "CA configuration").map_err(why)?;
        let provider = fields.text("provider").map_err(why)?;
        if provider != "consul" {
            return Err(format!(
                "unknown CA provider {provider:?}: this server has \"consul\" alone, which is its own authority"
            ));
        }
        let mut config = fields
            .map("config")
            .map_err(why)?
            .cloned()
            .unwrap_or_default();
        for key in ["PrivateKey", "RootCert"] {
            let given = config.remove(key);
            if given.is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty())) {
                return Err(format!(
                    "{key} cannot be set: this server makes its root certificates itself"
                ));
            }
        }
        // Consul's own authority keeps this as its state, for those who test with it.
        let state = config.get("test_state").and_then(Value::as_object).cloned();
        let read = Self {
            provider,
            config,
            state,
            force_without_cross_signing: fields.flag("forcewithoutcrosssigning").map_err(why)?,
        };
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), String> {
        let kind = self.config.get("PrivateKeyType").and_then(Value::as_str);
        if !matches!(kind, None | Some("" | "ec")) {
            return Err("private key type must be 'ec'".to_owned());
        }
        if !matches!(self.bits(), 256 | 384) {
            return Err("EC key length must be one of (256, 384) bits".to_owned());
        }
        let (leaf, root) = (self.leaf_ttl(), self.root_ttl());
        if leaf < SHORTEST_LEAF {
            return Err("leaf cert TTL must be greater or equal than 1h0m0s".to_owned());
        }
        if leaf > LONGEST_LEAF {
            return Err("leaf cert TTL must be less than 8760h0m0s".to_owned());
        }
        let intermediate = self.span("IntermediateCertTTL", 8760 * HOUR);
        if intermediate < leaf * 3 {
            return Err(
                "Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=216h0m0s)."
                    .to_owned(),
            );
        }
        match root < intermediate || root > Duration::from_secs(100 * 8760 * HOUR) {
            true => {
                Err("root cert TTL is set and is not greater than intermediate cert ttl".to_owned())
            }
            false => Ok(()),
        }
    }

    /// As it is shown.
    pub(super) fn shown(&self, created: u64, modified: u64) -> Value {
        json!({
            "Provider": self.provider,
            "Config": self.config,
            "State": self.state,
            "ForceWithoutCrossSigning": self.force_without_cross_signing,
            "CreateIndex": created,
            "ModifyIndex": modified,
        })
    }
}
