//! JSON as Go's `encoding/json` writes it: no spaces, map keys sorted, `<`, `>` and `&` escaped; and a lenient reader.

use std::fmt::Write as _;

use serde_json::Value;

use crate::instance::{Instance, Meta};

/// A quoted string.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..'\x20' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An object of strings, `null` when there is nothing.
pub(super) fn object_or_null(meta: &Meta) -> String {
    if meta.is_empty() {
        return "null".to_owned();
    }
    let pairs: Vec<String> = meta
        .iter()
        .map(|(k, v)| format!("{}:{}", string(k), string(v)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// An object's string members; numbers and booleans become text, everything else is left out.
pub(super) fn meta(value: Option<&Value>) -> Meta {
    let Some(Value::Object(object)) = value else {
        return Meta::default();
    };
    object
        .iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.as_str(), text.clone())),
            Value::Number(number) => Some((key.as_str(), number.to_string())),
            Value::Bool(flag) => Some((key.as_str(), flag.to_string())),
            _ => None,
        })
        .collect()
}

/// Metadata as other protocols show it: with the tags as one entry `tags`, unless the instance has one of its own.
pub(super) fn meta_with_tags(instance: &Instance) -> Meta {
    if instance.tags.is_empty() || instance.meta.get("tags").is_some() {
        return instance.meta.clone();
    }
    instance
        .meta
        .with("tags", &crate::layout::tags_as_text(instance))
}
