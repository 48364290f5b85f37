//! What Consul clients send and the model has no field for: kept as canonical JSON in the extension bytes of a row.
//!
//! A field is here only when no typed field says the same, so that a change made through another protocol cannot
//! contradict it. Equal facts give equal bytes: keys are sorted, empty fields are left out.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The Consul-only part of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ServiceExtension {
    pub(crate) kind: String,
    pub(crate) socket_path: String,
    pub(crate) enable_tag_override: bool,
    /// As sent; the addresses an agent adds by itself are made when the row is shown.
    pub(crate) tagged_addresses: BTreeMap<String, (String, i64)>,
    pub(crate) proxy: Option<Value>,
    pub(crate) connect: Option<Value>,
    /// It stands in a file of definitions, and goes with it.
    pub(crate) from_file: bool,
}

impl ServiceExtension {
    /// The canonical bytes, empty when there is nothing.
    pub(crate) fn encode(&self) -> Bytes {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_owned(), value);
        };
        if !self.kind.is_empty() {
            put("Kind", json!(self.kind));
        }
        if !self.socket_path.is_empty() {
            put("SocketPath", json!(self.socket_path));
        }
        if self.enable_tag_override {
            put("EnableTagOverride", json!(true));
        }
        if self.from_file {
            put("FromFile", json!(true));
        }
        if !self.tagged_addresses.is_empty() {
            let addresses: Map<String, Value> = self
                .tagged_addresses
                .iter()
                .map(|(name, (address, port))| {
                    (name.clone(), json!({"Address": address, "Port": port}))
                })
                .collect();
            put("TaggedAddresses", Value::Object(addresses));
        }
        for (key, value) in [("Proxy", &self.proxy), ("Connect", &self.connect)] {
            if let Some(value) = value {
                put(key, value.clone());
            }
        }
        if map.is_empty() {
            Bytes::new()
        } else {
            Value::Object(map).to_string().into()
        }
    }

    /// Reads the bytes of a row of Consul's. Bytes of another origin, or none, are an empty extension.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let Ok(Value::Object(mut map)) = serde_json::from_slice(bytes) else {
            return Self::default();
        };
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut tagged_addresses = BTreeMap::new();
        if let Some(Value::Object(addresses)) = map.get("TaggedAddresses") {
            for (name, value) in addresses {
                tagged_addresses.insert(
                    name.clone(),
                    (
                        text(value.get("Address")),
                        value["Port"].as_i64().unwrap_or(0),
                    ),
                );
            }
        }
        Self {
            kind: text(map.get("Kind")),
            socket_path: text(map.get("SocketPath")),
            enable_tag_override: map
                .get("EnableTagOverride")
                .is_some_and(|value| *value == Value::Bool(true)),
            tagged_addresses,
            from_file: map.get("FromFile") == Some(&Value::Bool(true)),
            proxy: map.remove("Proxy"),
            connect: map.remove("Connect"),
        }
    }
}

/// The Consul-only part of a check that was written to the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckExtension {
    /// A `Type` that the probe does not say.
    pub(crate) kind: String,
    /// `DeregisterCriticalServiceAfter` as sent, milliseconds. It is shown; who acts on it acts on the check's own field.
    pub(crate) reap_after_ms: u64,
    /// It stands in a file of definitions, and goes with it.
    pub(crate) from_file: bool,
}

impl CheckExtension {
    /// The canonical bytes, empty when there is nothing.
    pub(crate) fn encode(&self) -> Bytes {
        let mut map = Map::new();
        if !self.kind.is_empty() {
            map.insert("Type".to_owned(), json!(self.kind));
        }
        if self.reap_after_ms > 0 {
            map.insert("ReapAfterMs".to_owned(), json!(self.reap_after_ms));
        }
        if self.from_file {
            map.insert("FromFile".to_owned(), json!(true));
        }
        if map.is_empty() {
            Bytes::new()
        } else {
            Value::Object(map).to_string().into()
        }
    }

    /// The inverse of [`CheckExtension::encode`]; bytes of another origin, or none, are an empty extension.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        Self {
            kind: value["Type"].as_str().unwrap_or_default().to_owned(),
            reap_after_ms: value["ReapAfterMs"].as_u64().unwrap_or(0),
            from_file: value["FromFile"] == Value::Bool(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_as_written_and_empty_when_there_is_nothing() {
        assert!(ServiceExtension::default().encode().is_empty());
        let full = ServiceExtension {
            kind: "connect-proxy".into(),
            socket_path: "/s".into(),
            enable_tag_override: true,
            tagged_addresses: [("lan".to_owned(), ("10.0.0.1".to_owned(), 80))].into(),
            proxy: Some(json!({"DestinationServiceName": "web"})),
            connect: Some(json!({"Native": true})),
            from_file: true,
        };
        assert_eq!(ServiceExtension::decode(&full.encode()), full);
        assert_eq!(
            ServiceExtension::decode(b"\xff"),
            ServiceExtension::default()
        );
        assert!(CheckExtension::default().encode().is_empty());
        let check = CheckExtension {
            kind: "ttl".into(),
            reap_after_ms: 20_000,
            from_file: true,
        };
        assert_eq!(CheckExtension::decode(&check.encode()), check);
        assert_eq!(CheckExtension::decode(b"\xff"), CheckExtension::default());
    }
}
