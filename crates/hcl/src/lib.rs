//! The first version of HashiCorp's configuration language (HCL 1), read into a JSON value.
//!
//! Promises
//! - Any bytes give a value or an error with line and column, never a panic; sizes and depth are bounded.
//! - What Go's `hashicorp/hcl` 1.0 reads is read to the same values, but for what the README names.
//!
//! Deliberately absent: HCL 2 with its expressions and functions. Nothing is interpolated.
//!
//! Start reading at [`parse`]; `lexer` makes words of letters, `parser` makes values of words.

mod lexer;
mod parser;

use serde_json::Value;

/// Bytes of one text at most.
pub const MOST_BYTES: usize = 4 << 20;
/// Objects and lists inside one another at most.
pub const MOST_DEPTH: usize = 64;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What was expected or found.
    pub what: String,
}

/// Reads `text`, which is HCL 1, or JSON where its first character is `{`, into an object.
///
/// # Errors
/// [`Error`] when it is neither, or beyond [`MOST_BYTES`] or [`MOST_DEPTH`].
pub fn parse(text: &str) -> Result<Value, Error> {
    if text.len() > MOST_BYTES {
        return Err(Error {
            line: 1,
            column: 1,
            what: format!(
                "{} bytes are more than the {MOST_BYTES} that are read",
                text.len()
            ),
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return json(text);
    }
    parser::Parser::new(text)?.file()
}

fn json(text: &str) -> Result<Value, Error> {
    let value: Value = serde_json::from_str(text).map_err(|error| Error {
        line: error.line(),
        column: error.column(),
        what: plain(&error),
    })?;
    if deeper(&value, MOST_DEPTH) {
        return Err(Error {
            line: 1,
            column: 1,
            what: too_deep(),
        });
    }
    Ok(value)
}

/// The words of the JSON reader without the place, which is said apart.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn too_deep() -> String {
    format!("nested deeper than {MOST_DEPTH} levels")
}

fn deeper(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left == 0 || items.iter().any(|item| deeper(item, left - 1)),
        Value::Object(map) => left == 0 || map.values().any(|item| deeper(item, left - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
