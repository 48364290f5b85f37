//! Reading JSON and XML into one small tree, so that the meaning of fields is written once.
//!
//! JSON's `{"$": 1, "@enabled": "true"}` and XML's `<port enabled="true">1</port>` are the same node: a text and an
//! attribute. A JSON array becomes repeated children of its key, as XML writes lists.
//!
//! The bytes come from the network: document types, entities other than XML's five, nesting beyond [`MAX_DEPTH`] and
//! more than [`MAX_NODES`] nodes are refused; nothing is ever fetched or expanded.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;

/// How deep a body may nest. A list of applications needs seven levels.
pub const MAX_DEPTH: usize = 32;
/// How many elements, attributes and values a registration may hold; its metadata is limited to 128 pairs anyway.
pub const MAX_NODES: usize = 4096;

/// Why a body was not understood. What clients see of it is one fixed text; this is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON or not XML.
    #[error("body is not well-formed: {0}")]
    Syntax(String),
    /// A document type or an entity, which this server never reads.
    #[error("document types and entities are not accepted")]
    Entity,
    /// Too deep or too many parts.
    #[error("body is nested deeper than {MAX_DEPTH} levels or has too many parts")]
    TooBig,
    /// A field that cannot mean what it has to.
    #[error("field \"{field}\" cannot be read: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What was wrong.
        why: String,
    },
}

/// One node: a scalar, or an object with attributes and children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The text of a scalar or an element. `None` for a JSON object without `$`, and for null.
    pub text: Option<String>,
    /// `@name` members and XML attributes.
    pub attributes: Vec<(String, String)>,
    /// Members and elements in their order.
    pub children: Vec<(String, Tree)>,
    /// It was JSON's null.
    pub null: bool,
    /// It was a JSON object, or an XML element with elements in it.
    pub branch: bool,
    /// It stood in a JSON array.
    pub item: bool,
}

impl Tree {
    /// The last child of this name that is not null.
    pub fn child(&self, name: &str) -> Option<&Tree> {
        self.children
            .iter()
            .rev()
            .find(|(key, child)| key == name && !child.null)
            .map(|(_, child)| child)
    }

    /// Every child of this name, in order.
    pub fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Tree> {
        self.children
            .iter()
            .filter(move |(key, child)| key == name && !child.null)
            .map(|(_, child)| child)
    }

    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads JSON. The root must be an object.
    pub fn from_json(body: &[u8], max_nodes: usize) -> Result<Tree, Malformed> {
        // serde_json itself stops at a depth of 128, so the recursion below is bounded before it starts.
        let value: Value =
            serde_json::from_slice(body).map_err(|e| Malformed::Syntax(e.to_string()))?;
        if !value.is_object() {
            return Err(Malformed::Syntax("the root is not an object".to_owned()));
        }
        let mut left = max_nodes;
        from_value(value, MAX_DEPTH, &mut left)
    }

    /// Reads XML. Answers the root's name and the root.
    pub fn from_xml(body: &[u8], max_nodes: usize) -> Result<(String, Tree), Malformed> {
        let text = std::str::from_utf8(body).map_err(|e| Malformed::Syntax(e.to_string()))?;
        let mut reader = Reader::from_str(text);
        let mut left = max_nodes;
        let mut open: Vec<(String, Tree)> = Vec::new();
        let mut root = None;
        loop {
            let event = reader
                .read_event()
                .map_err(|e| Malformed::Syntax(e.to_string()))?;
            match event {
                Event::Start(start) => {
                    if open.len() >= MAX_DEPTH {
                        return Err(Malformed::TooBig);
                    }
                    open.push(element(&start, &mut left)?);
                }
                Event::Empty(start) => {
                    let (name, tree) = element(&start, &mut left)?;
                    close(&mut open, &mut root, name, tree)?;
                }
                Event::End(_) => {
                    let Some((name, tree)) = open.pop() else {
                        return Err(Malformed::Syntax("an end without a start".to_owned()));
                    };
                    close(&mut open, &mut root, name, tree)?;
                }
                Event::Text(text) => append(&mut open, &text.xml10_content())?,
                Event::CData(text) => append(&mut open, &text.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let known = match reference.resolve_char_ref() {
                        Ok(Some(c)) => Some(c),
                        Ok(None) => predefined(&reference.xml10_content()),
                        Err(_) => None,
                    };
                    let c = known.ok_or(Malformed::Entity)?;
                    append(&mut open, c.encode_utf8(&mut [0; 4]))?;
                }
                Event::DocType(_) => return Err(Malformed::Entity),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if !open.is_empty() {
            return Err(Malformed::Syntax("the root is not closed".to_owned()));
        }
        root.ok_or_else(|| Malformed::Syntax("no root element".to_owned()))
    }
}

fn spend(left: &mut usize) -> Result<(), Malformed> {
    *left = left.checked_sub(1).ok_or(Malformed::TooBig)?;
    Ok(())
}

fn from_value(value: Value, depth: usize, left: &mut usize) -> Result<Tree, Malformed> {
    spend(left)?;
    let depth = depth.checked_sub(1).ok_or(Malformed::TooBig)?;
    let mut tree = Tree::default();
    match value {
        Value::Null => tree.null = true,
        Value::Array(_) => tree.branch = true,
        Value::Object(members) => {
            tree.branch = true;
            for (key, member) in members {
                match member {
                    Value::Array(items) => {
                        for item in items {
                            let mut child = from_value(item, depth, left)?;
                            child.item = true;
                            tree.children.push((key.clone(), child));
                        }
                    }
                    member if key == "$" => tree.text = scalar(member),
                    member if key.starts_with('@') => {
                        spend(left)?;
                        if let Some(text) = scalar(member) {
                            tree.attributes.push((key[1..].to_owned(), text));
                        }
                    }
                    member => tree.children.push((key, from_value(member, depth, left)?)),
                }
            }
        }
        other => tree.text = scalar(other),
    }
    Ok(tree)
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn element(start: &BytesStart<'_>, left: &mut usize) -> Result<(String, Tree), Malformed> {
    spend(left)?;
    let mut tree = Tree::default();
    for attribute in start.attributes() {
        spend(left)?;
        let attribute = attribute.map_err(|e| Malformed::Syntax(e.to_string()))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| Malformed::Entity)?;
        let key = attribute.key.as_ref().to_owned();
        tree.attributes.push((key, value.into_owned()));
    }
    Ok((start.name().as_ref().to_owned(), tree))
}

fn close(
    open: &mut [(String, Tree)],
    root: &mut Option<(String, Tree)>,
    name: String,
    mut tree: Tree,
) -> Result<(), Malformed> {
    // White space between elements is layout, not text.
    if tree.branch {
        tree.text = None;
    } else if let Some(text) = &mut tree.text {
        let trimmed = text.trim();
        if trimmed.len() != text.len() {
            *text = trimmed.to_owned();
        }
    }
    match open.last_mut() {
        Some((_, parent)) => {
            parent.branch = true;
            parent.children.push((name, tree));
            Ok(())
        }
        None if root.is_none() => {
            *root = Some((name, tree));
            Ok(())
        }
        None => Err(Malformed::Syntax("more than one root".to_owned())),
    }
}

fn append(open: &mut [(String, Tree)], text: &str) -> Result<(), Malformed> {
    match open.last_mut() {
        Some((_, tree)) => {
            tree.text.get_or_insert_default().push_str(text);
            Ok(())
        }
        None if text.trim().is_empty() => Ok(()),
        None => Err(Malformed::Syntax("text outside the root".to_owned())),
    }
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NODES, Malformed, Tree};

    #[test]
    fn both_spellings_give_one_tree() {
        let json = Tree::from_json(
            br#"{"port":{"$":8080,"@enabled":"true"},"app":"A","list":[{"a":1},{"a":2}],"none":null}"#,
            MAX_NODES,
        )
        .unwrap();
        let (root, xml) = Tree::from_xml(
            br#"<?xml version="1.0"?><r><port enabled="true">8080</port><app> A </app>
                <list><a>1</a></list><list><a>2</a></list></r>"#,
            MAX_NODES,
        )
        .unwrap();
        assert_eq!(root, "r");
        for tree in [&json, &xml] {
            let port = tree.child("port").unwrap();
            assert_eq!(port.text.as_deref(), Some("8080"));
            assert_eq!(port.attribute("enabled"), Some("true"));
            assert_eq!(tree.child("app").unwrap().text.as_deref(), Some("A"));
            let items: Vec<_> = tree
                .each("list")
                .map(|i| i.child("a").unwrap().text.clone().unwrap())
                .collect();
            assert_eq!(items, ["1", "2"]);
            assert!(tree.child("none").is_none());
        }
    }

    #[test]
    fn hostile_bodies_are_refused() {
        let deep_json = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
        let deep_xml = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        let wide_xml = format!("<r>{}</r>", "<a/>".repeat(MAX_NODES + 1));
        let very_deep = "[".repeat(100_000);
        let json = |body: &str| Tree::from_json(body.as_bytes(), MAX_NODES).unwrap_err();
        let xml = |body: &str| Tree::from_xml(body.as_bytes(), MAX_NODES).unwrap_err();
        assert_eq!(json(&deep_json), Malformed::TooBig);
        assert!(matches!(json(&very_deep), Malformed::Syntax(_)));
        assert!(matches!(json("[]"), Malformed::Syntax(_)));
        assert!(matches!(json(""), Malformed::Syntax(_)));
        assert_eq!(xml(&deep_xml), Malformed::TooBig);
        assert_eq!(xml(&wide_xml), Malformed::TooBig);
        let entity = [
            r#"<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>"#,
            r#"<!DOCTYPE r><r/>"#,
            r#"<r>&x;</r>"#,
            r#"<r a="&x;"/>"#,
            r#"<r>&#0;</r>"#,
        ];
        for body in entity {
            assert_eq!(xml(body), Malformed::Entity, "{body}");
        }
        for body in [
            "", "<r>", "<r></s>", "<r/><r/>", "x<r/>", "<r a=1/>", "</r>", "<",
        ] {
            assert!(matches!(xml(body), Malformed::Syntax(_)), "{body}");
        }
        assert!(Tree::from_xml(b"\xff\xfe", MAX_NODES).is_err());
    }

    #[test]
    fn the_five_entities_and_character_references_are_text() {
        let (_, tree) = Tree::from_xml(
            b"<r a='&lt;&#x41;'>&lt;&amp;&gt;&quot;&apos;&#65;<![CDATA[<x>]]></r>",
            MAX_NODES,
        )
        .unwrap();
        assert_eq!(tree.text.as_deref(), Some("<&>\"'A<x>"));
        assert_eq!(tree.attribute("a"), Some("<A"));
    }
}
