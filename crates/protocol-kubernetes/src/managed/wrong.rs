//! What is wrong with a configuration by its types, in the API server's words.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::words;
use crate::schema::{Keys, Type, fields};

/// What is wrong with a configuration by its types.
pub(super) fn wrong(schema: &'static str, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    check(&Type::Object(schema), value, "", &mut wrong);
    wrong
}

/// As many as an answer names.
const MOST: usize = 20;

fn check(of: &Type, value: &Value, path: &str, wrong: &mut Vec<String>) {
    if value.is_null() || wrong.len() >= MOST {
        return;
    }
    let expected = match of {
        Type::Map(_) | Type::Object(_) if !value.is_object() => "map",
        Type::List(..) if !value.is_array() => "list",
        Type::Text | Type::Time | Type::MicroTime | Type::Bytes if !value.is_string() => "string",
        Type::Int if !value.is_number() => "numeric (int or float)",
        Type::Bool if !value.is_boolean() => "boolean",
        _ => "",
    };
    if !expected.is_empty() {
        let got = match (expected, value) {
            ("numeric (int or float)", Value::String(_)) => "string".to_owned(),
            (_, Value::Object(_) | Value::Array(_)) => value.to_string(),
            (_, value) => format!("&value.valueUnstructured{{Value:{value}}}"),
        };
        wrong.push(format!("{path}: expected {expected}, got {got}"));
        return;
    }
    match (of, value) {
        (Type::Object(name), Value::Object(map)) => {
            let known = fields(name);
            for (name, value) in map {
                let path = format!("{path}.{name}");
                match known.and_then(|known| known.get(name.as_str())) {
                    Some(field) => check(&field.of, value, &path, wrong),
                    None => wrong.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (name, value) in map {
                check(inner, value, &format!("{path}.{name}"), wrong);
            }
        }
        (Type::List(inner, _, keys), Value::Array(items)) => {
            check_items(inner, keys, items, path, wrong);
        }
        _ => {}
    }
}

fn check_items(inner: &Type, keys: &Keys, items: &[Value], path: &str, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let step = match keys {
            Keys::Whole => format!("i:{index}"),
            Keys::Values => format!("v:{item}"),
            Keys::By(keys) => {
                let mut map = Map::new();
                for key in keys {
                    let default = match inner {
                        Type::Object(name) => {
                            fields(name).and_then(|fields| fields.get(key)?.implied())
                        }
                        _ => None,
                    };
                    let own = item.get(*key).filter(|value| !value.is_null()).cloned();
                    match own.or(default) {
                        Some(value) => drop(map.insert((*key).to_owned(), value)),
                        None => {
                            wrong.push(format!("{path}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"));
                            return;
                        }
                    }
                }
                format!("k:{}", Value::Object(map))
            }
        };
        let words = words(&step);
        if !seen.insert(step) {
            wrong.push(format!("{path}: duplicate entries for key {words}"));
            return;
        }
        check(inner, item, &format!("{path}{words}"), wrong);
    }
}
