//! Selectors of labels and fields, as clients write them in queries.

use serde_json::Value;

use crate::error::Failure;
use crate::kind::Kind;
use crate::names::{is_label_value, is_qualified};
use crate::object::{label, meta, text};

/// Requirements in one selector.
const MOST: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Need {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

/// What objects have to be like; without requirements every one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<(String, Need)>,
    /// Field, whether it is to be equal, value.
    fields: Vec<(String, bool, String)>,
}

impl Selector {
    /// Reads both selectors of a query.
    ///
    /// # Errors
    /// 400 with what cannot be read, or which field cannot be asked for.
    pub(crate) fn read(kind: &Kind, labels: &str, fields: &str) -> Result<Selector, Failure> {
        let selector = Selector {
            labels: read_labels(labels).map_err(|why| {
                Failure::bad_request(format!("unable to parse requirement: {why}"))
            })?,
            fields: read_fields(kind, fields)?,
        };
        match selector.labels.len().max(selector.fields.len()) > MOST {
            true => Err(Failure::bad_request(format!(
                "a selector has at most {MOST} requirements"
            ))),
            false => Ok(selector),
        }
    }

    /// Whether everything matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The name that objects must have, if they must have one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, equal, _)| field == "metadata.name" && *equal)
            .map(|(_, _, name)| name.as_str())
    }

    /// Whether an object is like that.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|(name, need)| need.met(label(object, name)))
            && self
                .fields
                .iter()
                .all(|(field, equal, value)| (field_of(object, field) == *value) == *equal)
    }
}

impl Need {
    fn met(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Need::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Need::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Need::Exists => value.is_some(),
            Need::Absent => value.is_none(),
            Need::Greater(than) => number().is_some_and(|number| number > *than),
            Need::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

/// A field as selectors see it: text, also where it is a truth value; empty when it is not there.
fn field_of(object: &Value, field: &str) -> String {
    match field {
        "metadata.name" => meta(object, "name").to_owned(),
        "metadata.namespace" => meta(object, "namespace").to_owned(),
        // Of events: who reported it.
        "source" => match text(object, "/source/component") {
            "" => text(object, "/reportingComponent").to_owned(),
            component => component.to_owned(),
        },
        "status.podIPs" => text(object, "/status/podIP").to_owned(),
        _ => {
            let pointer = format!("/{}", field.replace('.', "/"));
            match object.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(truth)) => truth.to_string(),
                _ if matches!(field, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
                _ => String::new(),
            }
        }
    }
}

fn read_fields(kind: &Kind, text: &str) -> Result<Vec<(String, bool, String)>, Failure> {
    let mut all = Vec::new();
    for part in split_escaped(text)
        .into_iter()
        .filter(|part| !part.is_empty())
    {
        let found = ["!=", "==", "="].into_iter().find_map(|operator| {
            let (field, value) = part.split_once(operator)?;
            Some((field, operator != "!=", value))
        });
        let Some((field, equal, value)) = found else {
            return Err(Failure::bad_request(format!(
                "invalid selector: {text:?}; can't understand {part:?}"
            )));
        };
        let known = matches!(field, "metadata.name" | "metadata.namespace")
            || kind.selectable.contains(&field);
        if !known {
            return Err(Failure::bad_request(format!(
                "field label not supported: {field}"
            )));
        }
        let value = value
            .replace("\\,", ",")
            .replace("\\=", "=")
            .replace("\\\\", "\\");
        all.push((field.to_owned(), equal, value));
    }
    Ok(all)
}

/// Splits at commas that no backslash stands before.
fn split_escaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' if !escaped => escaped = true,
            b',' if !escaped => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => escaped = false,
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits at commas outside of parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn read_labels(text: &str) -> Result<Vec<(String, Need)>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    split_requirements(text)
        .into_iter()
        .map(|part| read_requirement(part.trim()))
        .collect()
}

fn read_requirement(text: &str) -> Result<(String, Need), String> {
    let named = |name: &str, need: Need| {
        let name = name.trim();
        match is_qualified(name) {
            true => Ok((name.to_owned(), need)),
            false => Err(format!("found {name:?}, expected: a label's name")),
        }
    };
    let one = |value: &str| {
        let value = value.trim();
        match is_label_value(value) {
            true => Ok(vec![value.to_owned()]),
            false => Err(format!("values: Invalid value: {value:?}")),
        }
    };
    if let Some(name) = text.strip_prefix('!') {
        return named(name, Need::Absent);
    }
    if let Some(open) = text.find('(') {
        let (head, rest) = text.split_at(open);
        let inside = rest
            .strip_prefix('(')
            .and_then(|rest| rest.trim_end().strip_suffix(')'))
            .ok_or_else(|| format!("found {rest:?}, expected: ')'"))?;
        let values: Result<Vec<_>, _> = inside.split(',').map(one).collect();
        let values: Vec<String> = values?.into_iter().flatten().collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(name), Some("in"), None) => named(name, Need::In(values)),
            (Some(name), Some("notin"), None) => named(name, Need::NotIn(values)),
            _ => Err(format!("found {head:?}, expected: in, notin")),
        };
    }
    if let Some((name, value)) = text.split_once("!=") {
        return named(name, Need::NotIn(one(value)?));
    }
    for operator in ["==", "="] {
        if let Some((name, value)) = text.split_once(operator) {
            return named(name, Need::In(one(value)?));
        }
    }
    for (operator, greater) in [('>', true), ('<', false)] {
        if let Some((name, value)) = text.split_once(operator) {
            let number = value.trim().parse().map_err(|_| {
                format!("for 'Gt', 'Lt' operators, the value must be an integer: {value:?}")
            })?;
            let need = if greater {
                Need::Greater(number)
            } else {
                Need::Less(number)
            };
            return named(name, need);
        }
    }
    named(text, Need::Exists)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::SERVICES;

    #[test]
    fn selectors_choose() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "2"}},
            "spec": {"clusterIP": "10.96.0.9", "type": "ClusterIP"},
        });
        let rows = [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,tier in (1, 2)", "", true),
            ("app!=web", "", false),
            ("other!=web,!other", "", true),
            ("app notin (a,b),tier", "", true),
            ("tier>1,tier<3", "", true),
            ("tier>2", "", false),
            ("", "metadata.name=web,spec.clusterIP!=None", true),
            ("", "spec.type=NodePort", false),
            (
                "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
                "spec.clusterIP!=None",
                true,
            ),
        ];
        for (labels, fields, expected) in rows {
            let selector = Selector::read(&SERVICES, labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        let only = Selector::read(&SERVICES, "", "metadata.name=web").unwrap();
        assert_eq!(only.name(), Some("web"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (labels, fields, word) in [
            ("a in (x", "", "expected"),
            ("a b", "", "label's name"),
            ("a=b c", "", "Invalid value"),
            ("a>x", "", "integer"),
            ("", "spec.nope=1", "field label not supported: spec.nope"),
            ("", "metadata.name", "can't understand"),
        ] {
            let failure = Selector::read(&SERVICES, labels, fields).unwrap_err();
            assert!(failure.message.contains(word), "{failure}");
        }
    }
}
