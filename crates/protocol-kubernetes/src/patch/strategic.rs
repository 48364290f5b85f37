//! Strategic merge patches: as JSON merge patches, but lists are joined by their items' keys, and a patch may hold directives.

use serde_json::{Map, Value};

use crate::schema::{Join, Type, field};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to a value of the type `of`.
///
/// # Errors
/// A directive that cannot be followed.
pub(super) fn apply(target: &mut Value, patch: &Value, of: Option<&Type>) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some(other) => {
            return Err(format!(
                "unknown patch type: {other} in map: {}",
                go_map(patch)
            ));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else {
        return Ok(());
    };
    if let Some(keep) = patch.get(RETAIN) {
        let keep = keep.as_array().ok_or("$retainKeys is a list of fields")?;
        map.retain(|name, _| keep.iter().any(|kept| kept.as_str() == Some(name)));
    }
    for (name, values) in patch {
        if let Some(name) = name.strip_prefix(DELETE) {
            let gone = values.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(Value::Array(items)) = map.get_mut(name) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let of = field(of, name).or_else(|| inner(of));
        match (value, of) {
            (Value::Null, _) => {
                map.remove(name);
            }
            (Value::Array(items), Some(Type::List(inner, join, _))) if *join != Join::Replace => {
                let slot = map
                    .entry(name.as_str())
                    .or_insert_with(|| Value::Array(Vec::new()));
                if !slot.is_array() {
                    *slot = Value::Array(Vec::new());
                }
                if let Value::Array(target) = slot {
                    join_list(target, items, inner, *join)?;
                }
            }
            (value, of) => {
                let slot = map.entry(name.as_str()).or_insert(Value::Null);
                apply(slot, value, of)?;
            }
        }
    }
    for (name, order) in patch {
        if let Some(name) = name.strip_prefix(ORDER)
            && let (Some(Value::Array(items)), Some(order)) = (map.get_mut(name), order.as_array())
        {
            let key = match field(of, name) {
                Some(Type::List(_, Join::By(key), _)) => Some(*key),
                _ => None,
            };
            put_in_order(items, order, key);
        }
    }
    Ok(())
}

/// A map as Go prints it.
fn go_map(map: &Map<String, Value>) -> String {
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let fields: Vec<String> = map
        .iter()
        .map(|(name, value)| format!("{name}:{}", plain(value)))
        .collect();
    format!("map[{}]", fields.join(" "))
}

/// The type of a map's values.
fn inner(of: Option<&Type>) -> Option<&Type> {
    match of? {
        Type::Map(inner) => Some(inner),
        _ => None,
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let plain = patch.iter().filter(|(name, _)| !name.starts_with('$'));
    plain
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn join_list(
    target: &mut Vec<Value>,
    patch: &[Value],
    inner: &Type,
    join: Join,
) -> Result<(), String> {
    let Join::By(key) = join else {
        for value in patch {
            if !target.contains(value) {
                target.push(value.clone());
            }
        }
        return Ok(());
    };
    let directive = |item: &Value| {
        item.get(DIRECTIVE)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    // One item that says so replaces the whole list.
    if patch
        .iter()
        .any(|item| directive(item).as_deref() == Some("replace"))
    {
        let rest = patch.iter().filter(|item| directive(item).is_none());
        *target = rest.cloned().collect();
        return Ok(());
    }
    for item in patch {
        let own = item.get(key);
        let Some(own) = own else {
            return Err(format!(
                "map: {} does not contain declared merge key: {key}",
                item.as_object().map_or_else(|| item.to_string(), go_map)
            ));
        };
        let found = target.iter().position(|one| one.get(key) == Some(own));
        match (directive(item).as_deref(), found) {
            (Some("delete"), _) => target.retain(|one| one.get(key) != Some(own)),
            (_, Some(at)) => apply(&mut target[at], item, Some(inner))?,
            (_, None) => {
                let mut made = Value::Object(Map::new());
                apply(&mut made, item, Some(inner))?;
                target.push(made);
            }
        }
    }
    Ok(())
}

/// Items in the order given; those that it does not name come after.
fn put_in_order(items: &mut [Value], order: &[Value], key: Option<&str>) {
    let place = |item: &Value| {
        let found = order.iter().position(|wanted| match key {
            Some(key) => wanted.get(key) == item.get(key),
            None => wanted == item,
        });
        found.unwrap_or(usize::MAX)
    };
    items.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut target: Value, patch: Value) -> Value {
        apply(&mut target, &patch, Some(&Type::Object("Service"))).unwrap();
        target
    }

    #[test]
    fn lists_are_joined_by_their_keys() {
        let service = json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}], "externalIPs": ["1.1.1.1"]}});
        let rows = [
            (
                json!({"spec": {"ports": [{"port": 81, "name": "b"}]}}),
                json!([{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]),
            ),
            (
                json!({"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}),
                json!([{"port": 81}]),
            ),
            (
                json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 9}]}}),
                json!([{"port": 9}]),
            ),
            (
                json!({"spec": {"$setElementOrder/ports": [{"port": 82}, {"port": 81}, {"port": 80}], "ports": [{"port": 82}]}}),
                json!([{"port": 82}, {"port": 81}, {"port": 80, "name": "a"}]),
            ),
        ];
        for (patch, expected) in rows {
            assert_eq!(patched(service.clone(), patch)["spec"]["ports"], expected);
        }
        let replaced = patched(
            service.clone(),
            json!({"spec": {"externalIPs": ["2.2.2.2"]}}),
        );
        assert_eq!(replaced["spec"]["externalIPs"], json!(["2.2.2.2"]));
        assert!(
            apply(
                &mut service.clone(),
                &json!({"spec": {"ports": [{"name": "x"}]}}),
                Some(&Type::Object("Service"))
            )
            .is_err()
        );
    }

    #[test]
    fn maps_take_directives() {
        let object =
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}});
        assert_eq!(
            patched(object.clone(), patch),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}, "finalizers": ["y", "z"]}})
        );
        let patch = json!({"metadata": {"labels": {"$patch": "replace", "z": "1"}, "$retainKeys": ["labels"]}});
        assert_eq!(
            patched(object, patch),
            json!({"metadata": {"labels": {"z": "1"}}})
        );
    }
}
