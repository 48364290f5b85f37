//! JSON: objects, arrays and the commas between.

use std::collections::BTreeMap;

use super::instance::Port;
use super::writer::{DocumentWriter, EMPTY_MAP};

/// Writes JSON without white space.
#[derive(Debug)]
pub struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Nothing stands before the next member of its object or array.
    first: bool,
}

impl<'a> JsonWriter<'a> {
    /// A writer that goes on at the end of `out`, before a first member.
    pub fn new(out: &'a mut Vec<u8>) -> JsonWriter<'a> {
        JsonWriter { out, first: true }
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn begin(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = true;
    }

    fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = false;
    }
}

impl DocumentWriter for JsonWriter<'_> {
    fn open_root(&mut self, name: &'static str) {
        self.begin(b'{');
        self.open(name, None);
    }

    fn close_root(&mut self, name: &'static str) {
        self.close(name);
        self.end(b'}');
    }

    fn open_list(&mut self, name: &'static str) {
        self.key(name);
        self.begin(b'[');
    }

    fn close_list(&mut self) {
        self.end(b']');
    }

    fn open_item(&mut self, _: &'static str) {
        self.comma();
        self.begin(b'{');
    }

    fn close_item(&mut self, _: &'static str) {
        self.end(b'}');
    }

    fn open(&mut self, name: &'static str, class: Option<&'static str>) {
        self.key(name);
        self.begin(b'{');
        self.optional("@class", class);
    }

    fn close(&mut self, _: &'static str) {
        self.end(b'}');
    }

    fn text(&mut self, name: &'static str, value: &str) {
        string(self.key(name), value);
    }

    fn number(&mut self, name: &'static str, value: i64) {
        decimal(self.key(name), value);
    }

    fn quoted(&mut self, name: &'static str, value: i64) {
        let out = self.key(name);
        out.push(b'"');
        decimal(out, value);
        out.push(b'"');
    }

    fn port(&mut self, name: &'static str, port: Port) {
        self.open(name, None);
        self.number("$", i64::from(port.number));
        self.text("@enabled", if port.enabled { "true" } else { "false" });
        self.close(name);
    }

    fn pairs(&mut self, name: &'static str, pairs: &BTreeMap<String, String>) {
        self.open(name, pairs.is_empty().then_some(EMPTY_MAP));
        for (key, value) in pairs {
            self.comma();
            string(self.out, key);
            self.out.push(b':');
            string(self.out, value);
        }
        self.close(name);
    }

    fn either(&self, json: &'static str, _: &'static str) -> &'static str {
        json
    }
}

fn decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// Writes a JSON string with its quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&value.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&value.as_bytes()[from..]);
    out.push(b'"');
}
