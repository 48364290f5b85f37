//! A body against the list: fields nobody knows, values of another type.

use serde_json::Value;

use super::{Type, fields};

/// What is wrong with a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Paths of fields that nobody knows, which were taken out.
    pub(crate) unknown: Vec<String>,
    /// The first value of another type, in words.
    pub(crate) mistyped: Option<String>,
}

/// Unknown fields named in one answer.
const MOST: usize = 20;

/// Looks through `value`, which should be a `name`, and takes out what the API server would not keep.
pub(crate) fn check(name: &'static str, value: &mut Value) -> Checked {
    let mut checked = Checked::default();
    walk(&Type::Object(name), value, name, ["", ""], &mut checked);
    checked
}

/// `owner`: the type whose field it is; `paths`: that of the value, and that of its field as Go's reader names it.
fn walk(of: &Type, value: &mut Value, owner: &str, paths: [&str; 2], checked: &mut Checked) {
    let [path, field] = paths;
    if value.is_null() {
        return;
    }
    let fits = match of {
        Type::Fields => true,
        Type::Text | Type::Time | Type::MicroTime | Type::Bytes => value.is_string(),
        Type::Int => value.is_i64() || value.is_u64(),
        Type::Bool => value.is_boolean(),
        Type::Quantity => value.is_string() || value.is_number(),
        Type::IntOrText => value.is_string() || value.is_i64() || value.is_u64(),
        Type::Map(_) | Type::Object(_) => value.is_object(),
        Type::List(..) => value.is_array(),
    };
    if !fits {
        checked.mistyped.get_or_insert_with(|| {
            format!(
                "json: cannot unmarshal {} into Go struct field {owner}{}{field} of type {}",
                kind_of(value),
                if field.is_empty() { "" } else { "." },
                go_type(of)
            )
        });
        return;
    }
    let joined = |path: &str, name: &str| match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    };
    match (of, value) {
        (Type::Object(name), Value::Object(map)) => {
            let Some(known) = fields(name) else { return };
            map.retain(|own, value| {
                let path = joined(path, own);
                match known.get(own.as_str()) {
                    Some(known) => {
                        let field = joined(field, own);
                        walk(&known.of, value, name, [&path, &field], checked);
                    }
                    None if checked.unknown.len() < MOST => {
                        checked.unknown.push(path);
                        return false;
                    }
                    None => return false,
                }
                // Null is what is not there.
                !value.is_null()
            });
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (name, value) in map {
                let path = joined(path, name);
                walk(inner, value, owner, [&path, field], checked);
            }
        }
        (Type::List(inner, ..), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                walk(inner, item, owner, [&path, field], checked);
            }
        }
        _ => {}
    }
}

/// The type of a value, as Go's reader calls it.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(of: &Type) -> String {
    match of {
        Type::Text | Type::Quantity | Type::IntOrText => "string".into(),
        Type::Int => "int32".into(),
        Type::Bool => "bool".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Fields => "v1.FieldsV1".into(),
        Type::Map(inner) => format!("map[string]{}", go_type(inner)),
        Type::Object(name) => format!("v1.{name}"),
        Type::List(inner, ..) => format!("[]{}", go_type(inner)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_and_wrong_types_are_named_by_their_path() {
        let mut body = json!({"metadata": {"name": "x", "finalizers": null}, "spec": {"foo": 1, "ports": [{"port": 80, "x": 1}]}});
        let checked = check("Service", &mut body);
        assert_eq!(checked.unknown, ["spec.foo", "spec.ports[0].x"]);
        assert_eq!(checked.mistyped, None);
        assert_eq!(
            body,
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}})
        );
        let checked = check("Service", &mut json!({"spec": {"ports": [{"port": "80"}]}}));
        assert_eq!(
            checked.mistyped.as_deref(),
            Some(
                "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"
            )
        );
    }
}
