//! JSON as YAML: fields by their names, two spaces a level, quotes where a word could be taken for something else.

use serde_json::Value;

use super::{is_null, truth};

/// Writes a value as a document.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => entries(&mut out, value, 0),
        value => {
            scalar(&mut out, value);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// The fields of an object, the first one where the line stands.
fn fields(out: &mut String, object: &Value, level: usize) {
    for (index, (name, value)) in object.as_object().into_iter().flatten().enumerate() {
        if index > 0 {
            indent(out, level);
        }
        text(out, name);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                indent(out, level + 1);
                fields(out, value, level + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                indent(out, level);
                entries(out, value, level);
            }
            value => {
                out.push(' ');
                scalar(out, value);
                out.push('\n');
            }
        }
    }
}

/// The items of a list, the first one where the line stands.
fn entries(out: &mut String, list: &Value, level: usize) {
    for (index, item) in list.as_array().into_iter().flatten().enumerate() {
        if index > 0 {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => fields(out, item, level + 1),
            Value::Array(items) if !items.is_empty() => entries(out, item, level + 1),
            item => {
                scalar(out, item);
                out.push('\n');
            }
        }
    }
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::String(own) => text(out, own),
        // Numbers, truth values, null and what is empty are written as in JSON.
        value => out.push_str(&value.to_string()),
    }
}

fn text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // What YAML does not allow to stand for itself.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether a text can be taken for nothing but itself.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    let begins = first.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
    begins
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':'))
        && !text.ends_with(':')
        && !is_null(text)
        && truth(text).is_none()
}
