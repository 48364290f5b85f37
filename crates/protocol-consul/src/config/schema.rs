//! The shape of config entries: names and kinds of fields, in a table for each kind of entry, and one reader for all tables.
//!
//! Invariants
//! - What is read comes out in one spelling, with empty fields left out: equal entries are equal values, and equal bytes.
//! - Keys are taken in any case and in snake case, numbers in texts, one thing where a list is wanted, a list of one where an object is:
//!   what HashiCorp's configuration language makes of a file is read as what was meant.

use crate::wire::{fold, parse_duration, print_duration};
use serde_json::{Map, Number, Value};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    Flag,
    Whole,
    Real,
    /// A duration, shown as Go prints it.
    Span,
    /// A duration, shown in nanoseconds.
    Nanos,
    Texts,
    Wholes,
    /// A map of texts.
    Strings,
    /// Whatever it is, as it is.
    Any,
    One(&'static [Field]),
    Many(&'static [Field]),
    /// A map of objects by a name.
    Named(&'static [Field]),
}

/// When a field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// When there is something in it.
    Filled,
    /// When it was said, also if it is 0 or empty.
    Said,
    Always,
}

/// A field of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    shape: Shape,
    shown: Shown,
}

impl Field {
    pub(super) const fn new(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            shape,
            shown: Shown::Filled,
        }
    }

    /// It is kept when it was said, also if it is 0.
    pub(super) const fn said(self) -> Self {
        Self {
            shown: Shown::Said,
            ..self
        }
    }

    /// It is shown also where it was not said.
    pub(super) const fn always(self) -> Self {
        Self {
            shown: Shown::Always,
            ..self
        }
    }
}

/// Fields of every kind that mean nothing here: indexes that are sent back, and the places of Consul Enterprise.
const PASSED_OVER: [&str; 7] = [
    "createindex",
    "modifyindex",
    "hash",
    "namespace",
    "partition",
    "peer",
    "samenessgroup",
];

/// Reads an object by its table.
///
/// # Errors
/// The words of Consul's decoder for what does not fit.
pub(super) fn read(value: &Value, fields: &[Field]) -> Result<Value, String> {
    let mut unknown = Vec::new();
    let made = object(value, fields, "", &mut unknown)?;
    match unknown.len() {
        0 => Ok(made),
        1 => Err(format!("1 error occurred:\n\t* {}\n\n", unknown[0])),
        count => Err(format!(
            "{count} errors occurred:\n\t* {}\n\n",
            unknown.join("\n\t* ")
        )),
    }
}

fn object(
    value: &Value,
    fields: &[Field],
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Value, String> {
    let mut made = Map::new();
    let map = match value {
        Value::Null => &Map::new(),
        Value::Object(map) => map,
        // Blocks of a file are lists of objects.
        Value::Array(items) => match items.as_slice() {
            [] => &Map::new(),
            [Value::Object(map)] => map,
            _ => return Err(unfit(path, "a map", value)),
        },
        other => return Err(unfit(path, "a map", other)),
    };
    for (key, value) in map {
        let folded = fold(key);
        let place = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        match fields.iter().find(|field| fold(field.name) == folded) {
            Some(field) => {
                if value.is_null() {
                    continue;
                }
                let read = shaped(value, field.shape, &place, unknown)?;
                if field.shown != Shown::Filled || !is_empty(&read) {
                    made.insert(field.name.to_owned(), read);
                }
            }
            None if PASSED_OVER.contains(&&*folded) => elsewhere(&folded, value, &place)?,
            None => unknown.push(format!("invalid config key {place:?}")),
        }
    }
    for field in fields.iter().filter(|field| field.shown == Shown::Always) {
        if !made.contains_key(field.name) {
            let nothing = match field.shape {
                Shape::One(inner) => object(&Value::Null, inner, path, unknown)?,
                shape => zero(shape),
            };
            made.insert(field.name.to_owned(), nothing);
        }
    }
    Ok(made.into())
}

/// What is meant for places that there are not is refused; the default ones may be named.
fn elsewhere(key: &str, value: &Value, place: &str) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match key {
        "namespace" if !matches!(text, "" | "default") => Err(format!(
            "{place}: Namespaces are a Consul Enterprise feature"
        )),
        "partition" if !matches!(text, "" | "default") => Err(format!(
            "{place}: Partitions are a Consul Enterprise feature"
        )),
        "peer" if !text.is_empty() => Err(format!(
            "{place}: this server does not peer with other clusters"
        )),
        "samenessgroup" if !text.is_empty() => Err(format!(
            "{place}: Sameness groups are a Consul Enterprise feature"
        )),
        _ => Ok(()),
    }
}

fn unfit(path: &str, wanted: &str, got: &Value) -> String {
    let kind = match got {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!(
        "1 error(s) decoding:\n\n* '{path}' expected type '{wanted}', got unconvertible type '{kind}'"
    )
}

fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::Span => "".into(),
        Shape::Flag => false.into(),
        Shape::Whole | Shape::Real | Shape::Nanos => 0.into(),
        Shape::Texts | Shape::Wholes | Shape::Many(_) => Value::Array(Vec::new()),
        Shape::Strings | Shape::Any | Shape::One(_) | Shape::Named(_) => Value::Object(Map::new()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // An object that was given means something, even if it says nothing.
        Value::Object(_) => false,
    }
}

fn shaped(
    value: &Value,
    shape: Shape,
    place: &str,
    unknown: &mut Vec<String>,
) -> Result<Value, String> {
    Ok(match shape {
        Shape::Text => text(value, place)?.into(),
        Shape::Flag => match value {
            Value::Bool(_) => value.clone(),
            Value::Number(number) => (number.as_f64() != Some(0.0)).into(),
            Value::String(text) => match crate::wire::parse_bool(text) {
                Some(truth) => truth.into(),
                None if text.is_empty() => false.into(),
                None => return Err(unfit(place, "bool", value)),
            },
            other => return Err(unfit(place, "bool", other)),
        },
        Shape::Whole => whole(value, place)?.into(),
        Shape::Real => match value {
            Value::Number(_) => value.clone(),
            Value::String(text) => text
                .parse()
                .ok()
                .and_then(Number::from_f64)
                .ok_or_else(|| unfit(place, "float32", value))?
                .into(),
            other => return Err(unfit(place, "float32", other)),
        },
        Shape::Span => match nanos(value, place)? {
            0 => "".into(),
            nanos => print_duration(nanos).into(),
        },
        Shape::Nanos => nanos(value, place)?.into(),
        Shape::Texts => list(value)
            .map(|item| text(item, place).map(Value::from))
            .collect::<Result<_, _>>()?,
        Shape::Wholes => list(value)
            .map(|item| whole(item, place).map(Value::from))
            .collect::<Result<_, _>>()?,
        Shape::Strings => {
            let mut made = Map::new();
            for (key, value) in entries(value, place)? {
                made.insert(key.clone(), text(value, place)?.into());
            }
            made.into()
        }
        Shape::Any => plain(value).clone(),
        Shape::One(fields) => object(value, fields, place, unknown)?,
        Shape::Many(fields) => {
            let mut made = Vec::new();
            for (at, item) in list(value).enumerate() {
                made.push(object(item, fields, &format!("{place}[{at}]"), unknown)?);
            }
            made.into()
        }
        Shape::Named(fields) => {
            let mut made = Map::new();
            for (key, value) in entries(value, place)? {
                let inner = object(value, fields, &format!("{place}[{key}]"), unknown)?;
                made.insert(key.clone(), inner);
            }
            made.into()
        }
    })
}

/// A list of one object, as blocks of a file come, is that object.
fn plain(value: &Value) -> &Value {
    match value {
        Value::Array(items) => match items.as_slice() {
            [one @ Value::Object(_)] => one,
            _ => value,
        },
        _ => value,
    }
}

/// The items of a list; one thing is a list of it.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn entries<'a>(value: &'a Value, place: &str) -> Result<serde_json::map::Iter<'a>, String> {
    match plain(value) {
        Value::Object(map) => Ok(map.iter()),
        other => Err(unfit(place, "a map", other)),
    }
}

fn text(value: &Value, place: &str) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(if *value { "1" } else { "0" }.to_owned()),
        other => Err(unfit(place, "string", other)),
    }
}

fn whole(value: &Value, place: &str) -> Result<i64, String> {
    let read = match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let number = number.as_f64().filter(|number| number.abs() < 9.0e15)?;
            Some(number as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    read.ok_or_else(|| unfit(place, "int", value))
}

fn nanos(value: &Value, place: &str) -> Result<i64, String> {
    match value {
        Value::String(text) if text.is_empty() => Ok(0),
        Value::String(text) => parse_duration(text)
            .map_err(|why| format!("1 error(s) decoding:\n\n* error decoding '{place}': {why}")),
        other => whole(other, place),
    }
}
