//! What both spellings can write: structures, lists and values, one after another.

use std::collections::BTreeMap;

use super::instance::Port;

/// The Java class of metadata without a pair, which clients expect in place of an empty object.
pub(super) const EMPTY_MAP: &str = "java.util.Collections$EmptyMap";

/// Writes one spelling. Names are ours and need no escaping; values and the keys of pairs are anybody's.
pub trait DocumentWriter {
    /// Begins a whole document. JSON wraps it in an object that names it.
    fn open_root(&mut self, name: &'static str);
    /// Ends a whole document.
    fn close_root(&mut self, name: &'static str);
    /// Begins a list. JSON has arrays; XML repeats the items' own name instead.
    fn open_list(&mut self, name: &'static str);
    /// Ends a list.
    fn close_list(&mut self);
    /// Begins an item of a list.
    fn open_item(&mut self, name: &'static str);
    /// Ends an item of a list.
    fn close_item(&mut self, name: &'static str);
    /// Begins a field that has fields of its own, perhaps of a Java class.
    fn open(&mut self, name: &'static str, class: Option<&'static str>);
    /// Ends a field that has fields of its own.
    fn close(&mut self, name: &'static str);

    /// A text.
    fn text(&mut self, name: &'static str, value: &str);
    /// A number.
    fn number(&mut self, name: &'static str, value: i64);
    /// A number that JSON writes as a text, because Netflix' own server does.
    fn quoted(&mut self, name: &'static str, value: i64);
    /// A port, and whether it is enabled.
    fn port(&mut self, name: &'static str, port: Port);
    /// Pairs of a map, which may be empty.
    fn pairs(&mut self, name: &'static str, pairs: &BTreeMap<String, String>);
    /// The spelling's own one of two names.
    fn either(&self, json: &'static str, xml: &'static str) -> &'static str;

    /// A text, if there is one.
    fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }
}
