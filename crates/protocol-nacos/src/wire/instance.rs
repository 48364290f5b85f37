//! An instance in Nacos' own words, coming in and going out.

use std::collections::BTreeMap;

use portolan_catalog::Meta;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Milliseconds between the beats of a client that says nothing else.
pub const BEAT_INTERVAL_MS: u64 = 5_000;
/// Milliseconds without a beat until an instance is unhealthy.
pub const BEAT_TIMEOUT_MS: u64 = 15_000;
/// Milliseconds without a beat until it is removed.
pub const DELETE_TIMEOUT_MS: u64 = 30_000;

/// What a client says of an instance. Everything may be absent or null, unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// Address or host name.
    pub ip: Option<String>,
    /// 0 to 65535.
    pub port: Option<i64>,
    /// 1.0 is ordinary.
    pub weight: Option<f64>,
    /// Default true.
    pub healthy: Option<bool>,
    /// Default true.
    pub enabled: Option<bool>,
    /// Default true.
    pub ephemeral: Option<bool>,
    /// Default `DEFAULT`.
    pub cluster_name: Option<String>,
    /// Pairs of text.
    #[serde(deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

/// Text pairs of which the values may be any JSON: SDKs of untyped languages send numbers.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let pairs: Option<BTreeMap<String, Value>> = Option::deserialize(from)?;
    Ok(pairs
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, value)| Some((key, text_of(value)?)))
        .collect())
}

/// A JSON value as text; null is none.
pub(crate) fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A beat of a client that speaks HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Beat {
    /// Address.
    pub ip: Option<String>,
    /// Port.
    pub port: Option<i64>,
    /// Weight.
    pub weight: Option<f64>,
    /// `GROUP@@name`.
    pub service_name: Option<String>,
    /// Cluster.
    pub cluster: Option<String>,
    /// Metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

/// An instance as clients get it; the fields in the order of the real server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    /// `ip#port#cluster#GROUP@@name`.
    pub instance_id: String,
    /// Address or host name.
    pub ip: String,
    /// Main port, 0 for none.
    pub port: u16,
    /// 1.0 is ordinary.
    pub weight: f64,
    /// Whether it works.
    pub healthy: bool,
    /// Whether it may be used.
    pub enabled: bool,
    /// Whether something keeps it alive.
    pub ephemeral: bool,
    /// Cluster.
    pub cluster_name: &'a str,
    /// `GROUP@@name`.
    pub service_name: &'a str,
    /// The pairs.
    pub metadata: Pairs<'a>,
    /// Milliseconds between beats.
    pub instance_heart_beat_interval: u64,
    /// Milliseconds until unhealthy.
    pub instance_heart_beat_time_out: u64,
    /// Milliseconds until removed.
    pub ip_delete_timeout: u64,
}

impl Shown<'_> {
    /// Milliseconds of beats, as the metadata says.
    pub(crate) fn times(meta: &Meta) -> [u64; 3] {
        let ms = |key: &str, default| match meta.get(key).map(|text| text.trim().parse()) {
            Some(Ok(ms)) => ms,
            Some(Err(_)) | None => default,
        };
        [
            ms("preserved.heart.beat.interval", BEAT_INTERVAL_MS),
            ms("preserved.heart.beat.timeout", BEAT_TIMEOUT_MS),
            ms("preserved.ip.delete.timeout", DELETE_TIMEOUT_MS),
        ]
    }
}

/// Metadata, and what the catalog knows of other protocols' instances beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs<'a> {
    /// The instance's own.
    pub own: &'a Meta,
    /// Others, whose keys are not among the own.
    pub beside: Vec<(&'static str, String)>,
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.own.len() + self.beside.len()))?;
        for (key, value) in self.own.iter() {
            map.serialize_entry(key, value)?;
        }
        for (key, value) in &self.beside {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sdks_leave_out_or_send_as_null() {
        let rows = [
            (r"{}", Instance::default()),
            (
                r#"{"ip":"1.1.1.1","port":80,"weight":2,"metadata":null,"instanceId":null,"extendInfo":{"a":[1]}}"#,
                Instance {
                    ip: Some("1.1.1.1".into()),
                    port: Some(80),
                    weight: Some(2.0),
                    ..Instance::default()
                },
            ),
            (
                r#"{"metadata":{"a":"b","n":1,"t":true,"x":null}}"#,
                Instance {
                    metadata: [("a", "b"), ("n", "1"), ("t", "true")]
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .into(),
                    ..Instance::default()
                },
            ),
        ];
        for (json, expected) in rows {
            assert_eq!(
                serde_json::from_str::<Instance>(json).unwrap(),
                expected,
                "{json}"
            );
        }
    }
}
