//! XML as XStream's pretty printer writes it: two spaces a level, no declaration, an element without a value as `<a/>`, one with an
//! empty value as `<a></a>`. The compact form has no white space.

use std::collections::BTreeMap;

use super::instance::Port;
use super::media::Detail;
use super::name;
use super::writer::{DocumentWriter, EMPTY_MAP};

/// Writes elements at some depth.
#[derive(Debug)]
pub struct XmlWriter<'a> {
    out: &'a mut Vec<u8>,
    pretty: bool,
    depth: usize,
}

impl<'a> XmlWriter<'a> {
    /// A writer that goes on at the end of `out`, inside `depth` elements.
    pub fn new(out: &'a mut Vec<u8>, detail: Detail, depth: usize) -> XmlWriter<'a> {
        let pretty = detail == Detail::Full;
        XmlWriter { out, pretty, depth }
    }

    fn indent(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            for _ in 0..self.depth {
                self.out.extend_from_slice(b"  ");
            }
        }
    }

    /// Begins a tag, which stays open.
    fn start(&mut self, name: &str, attribute: Option<(&str, &str)>) {
        // The root is the document's first byte.
        if self.depth > 0 {
            self.indent();
        }
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        if let Some((key, value)) = attribute {
            self.out.push(b' ');
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"=\"");
            text(self.out, value);
            self.out.push(b'"');
        }
    }

    fn end(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    fn leaf(&mut self, name: &str, attribute: Option<(&str, &str)>, value: &str) {
        self.start(name, attribute);
        self.out.push(b'>');
        text(self.out, value);
        self.end(name);
    }
}

impl DocumentWriter for XmlWriter<'_> {
    fn open_root(&mut self, name: &'static str) {
        self.open(name, None);
    }

    fn close_root(&mut self, name: &'static str) {
        self.close(name);
    }

    fn open_list(&mut self, _: &'static str) {}

    fn close_list(&mut self) {}

    fn open_item(&mut self, name: &'static str) {
        self.open(name, None);
    }

    fn close_item(&mut self, name: &'static str) {
        self.close(name);
    }

    fn open(&mut self, name: &'static str, class: Option<&'static str>) {
        self.start(name, class.map(|class| ("class", class)));
        self.out.push(b'>');
        self.depth += 1;
    }

    fn close(&mut self, name: &'static str) {
        self.depth -= 1;
        self.indent();
        self.end(name);
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.leaf(name, None, value);
    }

    fn number(&mut self, name: &'static str, value: i64) {
        self.leaf(name, None, &value.to_string());
    }

    fn quoted(&mut self, name: &'static str, value: i64) {
        self.number(name, value);
    }

    fn port(&mut self, name: &'static str, port: Port) {
        let enabled = if port.enabled { "true" } else { "false" };
        self.leaf(name, Some(("enabled", enabled)), &port.number.to_string());
    }

    fn pairs(&mut self, name: &'static str, pairs: &BTreeMap<String, String>) {
        if pairs.is_empty() {
            self.start(name, Some(("class", EMPTY_MAP)));
            self.out.extend_from_slice(b"/>");
            return;
        }
        self.open(name, None);
        for (key, value) in pairs {
            self.leaf(&name::escape(key), None, value);
        }
        self.close(name);
    }

    fn either(&self, _: &'static str, xml: &'static str) -> &'static str {
        xml
    }
}

/// Writes text with XML's five escapes. Characters XML 1.0 cannot hold become U+FFFD.
pub fn text(out: &mut Vec<u8>, value: &str) {
    let mut from = 0;
    for (at, c) in value.char_indices() {
        let escape = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&apos;",
            '\r' => "&#xd;",
            '\t' | '\n' => continue,
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => "\u{FFFD}",
            _ => continue,
        };
        out.extend_from_slice(&value.as_bytes()[from..at]);
        out.extend_from_slice(escape.as_bytes());
        from = at + c.len_utf8();
    }
    out.extend_from_slice(&value.as_bytes()[from..]);
}
