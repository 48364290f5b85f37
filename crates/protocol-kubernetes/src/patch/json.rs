//! JSON patches, RFC 6902, within bounds: neither many operations nor copies of copies make an object that nobody sent.

use serde_json::Value;

/// Operations in one patch, as in the API server.
const OPERATIONS: usize = 10_000;
/// Bytes that all copies of one patch may add.
const COPIED: usize = 3 << 20;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    op: Op,
    path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Add(Value),
    Remove,
    Replace(Value),
    Move(Vec<String>),
    Copy(Vec<String>),
    Test(Value),
}

/// Reads a patch.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(patch: &Value) -> Result<Vec<Operation>, String> {
    let all = patch
        .as_array()
        .ok_or("a JSON patch is a list of operations")?;
    if all.len() > OPERATIONS {
        return Err(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}",
            all.len()
        ));
    }
    all.iter().map(operation).collect()
}

fn operation(one: &Value) -> Result<Operation, String> {
    let text = |field: &str| {
        let value = one[field].as_str();
        value.ok_or_else(|| format!("an operation needs {field:?}"))
    };
    let value = || {
        let value = one.get("value").cloned();
        value.ok_or_else(|| "the operation needs \"value\"".to_owned())
    };
    let op = match text("op")? {
        "add" => Op::Add(value()?),
        "remove" => Op::Remove,
        "replace" => Op::Replace(value()?),
        "move" => Op::Move(pointer(text("from")?)?),
        "copy" => Op::Copy(pointer(text("from")?)?),
        "test" => Op::Test(value()?),
        other => return Err(format!("unexpected operation kind {other:?}")),
    };
    let path = pointer(text("path")?)?;
    Ok(Operation { op, path })
}

fn pointer(text: &str) -> Result<Vec<String>, String> {
    match text.strip_prefix('/') {
        None if text.is_empty() => Ok(Vec::new()),
        None => Err(format!("{text:?} is not a path")),
        Some(rest) => Ok(rest
            .split('/')
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect()),
    }
}

/// Applies the operations, one after the other.
///
/// # Errors
/// Why one of them cannot be applied; `target` is of no meaning then.
pub(super) fn apply(target: &mut Value, operations: &[Operation]) -> Result<(), String> {
    let mut copied = 0;
    for operation in operations {
        let path = &operation.path;
        match &operation.op {
            Op::Add(value) => add(target, path, value.clone())?,
            Op::Remove => {
                remove(target, path)?;
            }
            Op::Replace(value) => *find(target, path)? = value.clone(),
            Op::Move(from) if path.starts_with(from) && path != from => {
                return Err("a value cannot be moved into itself".into());
            }
            Op::Move(from) => {
                let value = remove(target, from)?;
                add(target, path, value)?;
            }
            Op::Copy(from) => {
                let value = find(target, from)?.clone();
                copied += value.to_string().len();
                if copied > COPIED {
                    return Err(format!("copies of more than {COPIED} bytes"));
                }
                add(target, path, value)?;
            }
            Op::Test(value) => {
                if find(target, path).map(|found| &*found) != Ok(value) {
                    return Err(format!("testing path /{} failed", path.join("/")));
                }
            }
        }
    }
    Ok(())
}

fn missing(path: &[String]) -> String {
    format!("there is nothing at /{}", path.join("/"))
}

fn find<'a>(target: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    let mut here = target;
    for part in path {
        here = match here {
            Value::Object(map) => map.get_mut(part),
            Value::Array(items) => index(part, items.len()).and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or_else(|| missing(path))?;
    }
    Ok(here)
}

fn index(part: &str, length: usize) -> Option<usize> {
    let plain = part == "0" || !part.starts_with('0') && !part.starts_with('+');
    let at: usize = part.parse().ok().filter(|_| plain)?;
    (at <= length).then_some(at)
}

fn add(target: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *target = value;
        return Ok(());
    };
    match find(target, parents)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let at = match last.as_str() {
                "-" => Some(items.len()),
                part => index(part, items.len()),
            };
            items.insert(at.ok_or_else(|| missing(path))?, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(target: &mut Value, path: &[String]) -> Result<Value, String> {
    let Some((last, parents)) = path.split_last() else {
        return Err("the whole object cannot be removed".into());
    };
    match find(target, parents)? {
        Value::Object(map) => map.remove(last).ok_or_else(|| missing(path)),
        Value::Array(items) => match index(last, items.len()).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.remove(at)),
            None => Err(missing(path)),
        },
        _ => Err(missing(path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_do_what_the_rfc_says() {
        let rows = [
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                Some(json!({"a": [1, 2, 3]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                Some(json!({"a": [1, 2]})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "remove", "path": "/a"}]),
                Some(json!({})),
            ),
            (
                json!({"a/b": 1}),
                json!([{"op": "replace", "path": "/a~1b", "value": 2}]),
                Some(json!({"a/b": 2})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "move", "from": "/a", "path": "/b"}]),
                Some(json!({"b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                Some(json!({"a": 1, "b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 2}]),
                None,
            ),
            (
                json!({"a": 1}),
                json!([{"op": "remove", "path": "/b"}]),
                None,
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/01", "value": 2}]),
                None,
            ),
            (
                json!({"a": {}}),
                json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
                None,
            ),
        ];
        for (mut target, patch, expected) in rows {
            let applied = apply(&mut target, &read(&patch).unwrap());
            assert_eq!(applied.ok().map(|()| target), expected, "{patch}");
        }
        assert!(read(&json!({})).is_err());
        assert!(read(&json!([{"op": "twist", "path": "/a"}])).is_err());
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        let one = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = read(&Value::Array(vec![one; 60])).unwrap();
        let mut target = json!({"a": ["0123456789"]});
        assert!(apply(&mut target, &patch).unwrap_err().contains("copies"));
    }
}
