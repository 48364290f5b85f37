//! Reading entries as they are kept.

use serde_json::Value;

/// The longest value of `Meta`, and the longest description.
pub(crate) const META_VALUE: usize = 512;

/// The text of a field, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The items of a field.
pub(crate) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a field.
pub(crate) fn texts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    items(value, key).iter().filter_map(Value::as_str)
}

/// Whether a text can be an address or a name of the DNS.
pub(crate) fn is_host(text: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.len() <= 63;
    let name = text.strip_suffix('.').unwrap_or(text);
    text.parse::<std::net::IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label))
}
