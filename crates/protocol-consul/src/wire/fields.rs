//! Reading JSON objects the way Go clients expect: keys in any case, with or without underscores.
//!
//! Only the keys of known objects are folded. Free maps (`Meta`, `Header`, `TaggedAddresses`) are read with
//! [`Fields::strings_of`] and its kin, which keep their keys as written.

use super::duration::parse_duration;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A body that does not have the shape it should have; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

impl Malformed {
    fn kind(key: &str, wanted: &str, got: &Value) -> Self {
        let got = match got {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self(format!(
            "json: cannot unmarshal {got} into field {key} of type {wanted}"
        ))
    }
}

/// `EnableTagOverride`, `enable_tag_override` and `ENABLETAGOVERRIDE` are one key.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// One JSON object with folded keys. Asking for a key is by its folded spelling.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    keys: BTreeMap<String, &'a Value>,
}

impl<'a> Fields<'a> {
    /// Reads an object; `null` is an object without keys.
    ///
    /// # Errors
    /// When `value` is neither.
    pub(crate) fn of(value: &'a Value, what: &str) -> Result<Self, Malformed> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(map) => Ok(Self {
                keys: map.iter().map(|(key, value)| (fold(key), value)).collect(),
            }),
            other => Err(Malformed::kind(what, "object", other)),
        }
    }

    /// The value under `key`, if it is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        debug_assert_eq!(
            key,
            fold(key),
            "keys are asked for in their folded spelling"
        );
        self.keys.get(key).copied().filter(|value| !value.is_null())
    }

    /// Whether nothing was said at all: `{}` or `null`.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.values().all(|value| value.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Result<String, Malformed> {
        match self.get(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(Malformed::kind(key, "string", other)),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, Malformed> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Malformed::kind(key, "bool", other)),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<i64, Malformed> {
        Ok(self.maybe_integer(key)?.unwrap_or(0))
    }

    pub(crate) fn maybe_integer(&self, key: &str) -> Result<Option<i64>, Malformed> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ Value::Number(number)) => number
                .as_i64()
                .map(Some)
                .ok_or_else(|| Malformed::kind(key, "int", value)),
            Some(other) => Err(Malformed::kind(key, "int", other)),
        }
    }

    pub(crate) fn unsigned(&self, key: &str) -> Result<u64, Malformed> {
        match self.get(key) {
            None => Ok(0),
            Some(value @ Value::Number(number)) => number
                .as_u64()
                .ok_or_else(|| Malformed::kind(key, "uint64", value)),
            Some(other) => Err(Malformed::kind(key, "uint64", other)),
        }
    }

    /// A duration in nanoseconds: Go text, or a number of nanoseconds. Empty text and absence are none.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<i64>, Malformed> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => parse_duration(text).map(Some).map_err(Malformed),
            Some(value @ Value::Number(number)) => number
                .as_i64()
                .or_else(|| {
                    number
                        .as_f64()
                        .filter(|n| n.abs() < 9.0e18)
                        .map(|n| n as i64)
                })
                .map(Some)
                .ok_or_else(|| Malformed::kind(key, "time.Duration", value)),
            Some(other) => Err(Malformed::kind(key, "time.Duration", other)),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, Malformed> {
        Ok(self.maybe_texts(key)?.unwrap_or_default())
    }

    /// A list of texts, or none when the key is absent or null (which differs from `[]` for some keys).
    pub(crate) fn maybe_texts(&self, key: &str) -> Result<Option<Vec<String>>, Malformed> {
        self.get(key).map(|value| texts(key, value)).transpose()
    }

    /// The elements of a list of objects.
    pub(crate) fn list(&self, key: &str) -> Result<&'a [Value], Malformed> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(Malformed::kind(key, "array", other)),
        }
    }

    /// A nested object with folded keys; absent or null is none.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Malformed> {
        self.get(key)
            .map(|value| Fields::of(value, key))
            .transpose()
    }

    /// A free map; its keys stay as written.
    pub(crate) fn map(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Malformed> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(Malformed::kind(key, "map", other)),
        }
    }

    /// A free map of texts.
    pub(crate) fn strings_of(&self, key: &str) -> Result<BTreeMap<String, String>, Malformed> {
        let Some(map) = self.map(key)? else {
            return Ok(BTreeMap::new());
        };
        map.iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                Value::Null => Ok((name.clone(), String::new())),
                other => Err(Malformed::kind(&format!("{key}.{name}"), "string", other)),
            })
            .collect()
    }
}

/// A list of texts; a single text stands for a list of one, as lenient Go decoders take it.
pub(crate) fn texts(key: &str, value: &Value) -> Result<Vec<String>, Malformed> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                other => Err(Malformed::kind(key, "string", other)),
            })
            .collect(),
        other => Err(Malformed::kind(key, "[]string", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_read_in_any_spelling_but_free_maps_are_not() {
        let body = json!({"enable_tag_override": true, "NAME": "web", "Meta": {"My_Key": "x"}, "tags": null,
                          "Interval": "10s", "timeout": 5, "Port": 80});
        let fields = Fields::of(&body, "service").unwrap();
        assert_eq!(fields.flag("enabletagoverride"), Ok(true));
        assert_eq!(fields.text("name"), Ok("web".to_owned()));
        assert_eq!(
            fields
                .strings_of("meta")
                .unwrap()
                .get("My_Key")
                .map(String::as_str),
            Some("x")
        );
        assert_eq!(fields.maybe_texts("tags"), Ok(None));
        assert_eq!(fields.duration("interval"), Ok(Some(10_000_000_000)));
        assert_eq!(fields.duration("timeout"), Ok(Some(5)));
        assert!(fields.text("port").is_err());
        assert!(Fields::of(&json!([1]), "service").is_err());
    }
}
