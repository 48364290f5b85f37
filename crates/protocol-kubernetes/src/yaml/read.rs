//! YAML as JSON, within bounds and without recursion.
//!
//! Anchors and aliases are followed, but a document in which they stand for more than it could well say itself is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use super::{is_null, truth};

/// How deep a document may nest: as deep as JSON may, which is read back from what is made here.
const DEPTH: usize = 100;
/// Values in a document: an object of the largest size has fewer.
const NODES: usize = 500_000;
/// Values that all aliases of a document may stand for together, and their bytes.
const REPEATED: Cost = Cost {
    nodes: 10_000,
    bytes: 256 << 10,
    depth: DEPTH,
};

/// What a value weighs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    /// How deep it nests.
    depth: usize,
}

impl Cost {
    fn of_text(bytes: usize) -> Cost {
        Cost {
            nodes: 1,
            bytes,
            depth: 0,
        }
    }

    /// Takes in something that stands inside.
    fn add(&mut self, inner: Cost) {
        self.nodes += inner.nodes;
        self.bytes += inner.bytes;
        self.depth = self.depth.max(inner.depth + 1);
    }
}

/// Whose value comes next in a map.
enum Key {
    Named(String),
    /// `<<`: fields of another map.
    Merge,
}

/// A list or a map that is not complete.
struct Open {
    value: Value,
    /// The key whose value comes next.
    key: Option<Key>,
    anchor: usize,
    cost: Cost,
    /// What `<<` brought.
    merged: Map<String, Value>,
}

struct Reader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Value, Cost)>,
    nodes: usize,
    repeated: Cost,
    document: Option<Value>,
}

/// Reads one document; what is empty is null.
///
/// # Errors
/// What is wrong with it, in words of one line.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    // kubectl sends JSON and calls it YAML.
    if bytes.first() == Some(&b'{')
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return Ok(value);
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| "yaml: control characters are not allowed")?;
    let options = granit_parser::options! {
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    let mut reader = Reader {
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        repeated: Cost::default(),
        document: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, _) = event.map_err(|error| format!("yaml: {error}"))?;
        reader.event(event)?;
    }
    Ok(reader.document.unwrap_or_default())
}

impl Reader {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) if self.document.is_some() => {
                Err("yaml: expected a single document".into())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let cost = Cost::of_text(text.len());
                if self.wants_key() {
                    self.anchor(anchor, &Value::from(&*text), cost)?;
                    let is_merge = text == "<<" && style == ScalarStyle::Plain;
                    return self.key(text.into_owned(), is_merge);
                }
                let value = scalar(text, style, tag.as_deref())?;
                self.anchor(anchor, &value, cost)?;
                self.value(value, cost)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Value::Array(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(Value::Object(Map::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(mut done) => {
                    if let Value::Object(map) = &mut done.value {
                        for (name, value) in done.merged {
                            map.entry(name).or_insert(value);
                        }
                    }
                    self.anchor(done.anchor, &done.value, done.cost)?;
                    self.value(done.value, done.cost)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor),
            Event::UnresolvedAlias(name) => {
                Err(format!("yaml: unknown anchor '{name}' referenced"))
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        let open = self.open.last();
        open.is_some_and(|open| open.value.is_object() && open.key.is_none())
    }

    fn begin(&mut self, value: Value, anchor: usize) -> Result<(), String> {
        if self.wants_key() {
            return Err("yaml: a key has to be a text".into());
        }
        if self.open.len() >= DEPTH {
            return Err("yaml: exceeded max depth".into());
        }
        self.open.push(Open {
            value,
            key: None,
            anchor,
            cost: Cost::of_text(0),
            merged: Map::new(),
        });
        Ok(())
    }

    /// Keeps what an anchor names: a second time beside the document itself, so that it counts as an alias does.
    fn anchor(&mut self, anchor: usize, value: &Value, cost: Cost) -> Result<(), String> {
        if anchor != 0 {
            self.repeat(cost)?;
            self.anchors.insert(anchor, (value.clone(), cost));
        }
        Ok(())
    }

    fn repeat(&mut self, cost: Cost) -> Result<(), String> {
        self.repeated.nodes += cost.nodes;
        self.repeated.bytes += cost.bytes;
        match self.repeated.nodes > REPEATED.nodes || self.repeated.bytes > REPEATED.bytes {
            true => Err("yaml: document contains excessive aliasing".into()),
            false => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize) -> Result<(), String> {
        let found = self.anchors.get(&anchor);
        // An anchor inside itself is not there yet.
        let cost = found.ok_or("yaml: an anchor contains itself")?.1;
        self.repeat(cost)?;
        if self.open.len() + cost.depth > DEPTH {
            return Err("yaml: document contains excessive aliasing".into());
        }
        let found = self.anchors.get(&anchor);
        let value = found.map_or(Value::Null, |(value, _)| value.clone());
        if self.wants_key() {
            return match value {
                Value::String(text) => self.key(text, false),
                _ => Err("yaml: a key has to be a text".into()),
            };
        }
        self.value(value, cost)
    }

    fn key(&mut self, text: String, is_merge: bool) -> Result<(), String> {
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if open.value.get(&text).is_some() && !is_merge {
            return Err(format!("yaml: key {text:?} already set in map"));
        }
        open.key = Some(match is_merge {
            true => Key::Merge,
            false => Key::Named(text),
        });
        Ok(())
    }

    fn value(&mut self, value: Value, cost: Cost) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err("yaml: the document has too many values".into());
        }
        let Some(open) = self.open.last_mut() else {
            self.document = Some(value);
            return Ok(());
        };
        open.cost.add(cost);
        match (&mut open.value, open.key.take()) {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(_), Some(Key::Merge)) => merge(&mut open.merged, value)?,
            (Value::Object(map), Some(Key::Named(key))) => drop(map.insert(key, value)),
            _ => {}
        }
        Ok(())
    }
}

/// What `<<` brings: fields that are not there.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    let all = match value {
        Value::Array(items) => items,
        value => vec![value],
    };
    for one in all {
        let Value::Object(fields) = one else {
            return Err("yaml: map merge requires map or sequence of maps as the value".into());
        };
        for (name, value) in fields {
            map.entry(name).or_insert(value);
        }
    }
    Ok(())
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag.map(Tag::suffix) {
        Some("str") => return Ok(Value::from(text.into_owned())),
        Some("binary") => {
            let packed: String = text.split_whitespace().collect();
            let bytes = STANDARD
                .decode(packed)
                .map_err(|_| "yaml: !!binary value contains invalid base64 data")?;
            return Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        }
        _ => {}
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::from(text.into_owned()));
    }
    if is_null(&text) {
        return Ok(Value::Null);
    }
    if let Some(truth) = truth(&text) {
        return Ok(truth.into());
    }
    Ok(match number(&text) {
        Some(number) => Value::Number(number),
        None => Value::from(text.into_owned()),
    })
}

/// A number as Go's reader takes it: also in bases of two, eight and sixteen, and with underscores.
fn number(text: &str) -> Option<Number> {
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1
        || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return None;
    }
    let plain = digits.replace('_', "");
    let based = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => Some((16, &plain[2..])),
        [b'0', b'b' | b'B', ..] => Some((2, &plain[2..])),
        [b'0', b'o' | b'O', ..] => Some((8, &plain[2..])),
        [b'0', rest @ ..] if !rest.is_empty() && rest.iter().all(u8::is_ascii_digit) => {
            Some((8, &plain[1..]))
        }
        _ => None,
    };
    let negative = text.starts_with('-');
    let whole = match based {
        Some((base, digits)) => u64::from_str_radix(digits, base).ok()?,
        None => match plain.parse::<u64>() {
            Ok(whole) => whole,
            Err(_) => {
                let fits = plain
                    .bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
                let value: f64 = fits.then(|| plain.parse().ok())??;
                return Number::from_f64(if negative { -value } else { value });
            }
        },
    };
    match negative {
        true => i64::try_from(whole).ok().map(|whole| (-whole).into()),
        false => Some(whole.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anchors_around_anchors_are_copies_too() {
        let inside = "1,".repeat(9_000);
        let open: String = (0..40).map(|n| format!("&a{n} [")).collect();
        let text = format!("{open}{inside}{}", "]".repeat(40));
        assert_eq!(
            read(text.as_bytes()).unwrap_err(),
            "yaml: document contains excessive aliasing"
        );
        assert!(read(format!("&a [{inside}]").as_bytes()).is_ok());
    }

    #[test]
    fn documents_are_read() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {\"on\": \"true\", no: yes}}\nspec:\n  ports:\n  - port: 80\n    targetPort: http\n  sessionAffinity: ~\n  mode: 0644\n  version: 1.20.2\n  half: .5\n  exp: 1e3\n  low: -12\n  tagged: !!str 12\n  text: |\n    a\n    b\n";
        assert_eq!(
            read(text.as_bytes()).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"on": "true", "no": true}},
                "spec": {
                    "ports": [{"port": 80, "targetPort": "http"}], "sessionAffinity": null, "mode": 420, "version": "1.20.2",
                    "half": 0.5, "exp": 1000.0, "low": -12, "tagged": "12", "text": "a\nb\n",
                },
            })
        );
        let merged = read(b"base: &x {b: 1, c: 2}\nown:\n  <<: *x\n  c: 3\nsame: *x\n").unwrap();
        assert_eq!(
            merged,
            json!({"base": {"b": 1, "c": 2}, "own": {"b": 1, "c": 3}, "same": {"b": 1, "c": 2}})
        );
        assert_eq!(read(b"{\"a\": [1]}").unwrap(), json!({"a": [1]}));
        assert_eq!(read(b"").unwrap(), Value::Null);
        assert_eq!(read(b"---\n7\n").unwrap(), json!(7));
        for bad in [
            "a: b: c",
            "a: 1\na: 2",
            "[",
            "a: *none",
            "a: 1\n---\nb: 2\n",
            "{a: 1}: 2",
            "a: &x [*x]",
            "<<: 1",
            "a: !!binary '*'",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_for_much_more_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let all = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{all}]\n"));
        }
        assert!(read(bomb.as_bytes()).unwrap_err().contains("excessive"));
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 18),
            ["*a"; 9].join(", ")
        );
        assert!(read(long.as_bytes()).unwrap_err().contains("excessive"));
        let mut deep = String::from("a0: &a0 [x]\n");
        for level in 1..200 {
            deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(read(deep.as_bytes()).unwrap_err().contains("excessive"));
        for open in ["[", "{a: ", "- "] {
            assert!(read(open.repeat(100_000).as_bytes()).is_err(), "{open}");
        }
        let deep = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth)));
        assert!(read(deep.collect::<String>().as_bytes()).is_err());
    }
}
