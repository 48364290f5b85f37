//! Bodies, read into the JSON they stand for: kubectl and client-go write their typed objects so. A field that is not in the list is refused
//! by its number rather than lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::MAGIC;
use crate::schema::{Field as Known, Numbered, Type, numbered};

/// How deep messages may nest.
const DEPTH: usize = 32;
/// A field as it stands in a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads the object in a body. `name` is the type that it should be.
///
/// # Errors
/// What cannot be read.
pub(crate) fn read(body: &[u8], name: &'static str) -> Result<Value, String> {
    let inner = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not begin with k8s\\0")?;
    let (mut raw, mut version, mut kind, mut encoded) =
        (&[][..], String::new(), String::new(), false);
    for field in fields(inner)? {
        match field {
            (1, Field::Bytes(meta)) => {
                for field in fields(meta)? {
                    match field {
                        (1, Field::Bytes(text)) => version = utf8(text)?,
                        (2, Field::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = bytes,
            (3, Field::Bytes(encoding)) => encoded |= !encoding.is_empty(),
            _ => {}
        }
    }
    if encoded {
        return Err("the object is encoded once more".into());
    }
    let mut object = message(raw, name, DEPTH)?;
    if !version.is_empty() {
        object["apiVersion"] = version.into();
    }
    if !kind.is_empty() {
        object["kind"] = kind.into();
    }
    Ok(object)
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
    Ok(text.to_owned())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("the message ends early")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".into())
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= bytes.len());
    let (taken, rest) = bytes.split_at(count.ok_or("the message ends early")?);
    *bytes = rest;
    Ok(taken)
}

fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Bytes(take(&mut bytes, 4)?),
            other => return Err(format!("there is no wire type {other}")),
        };
        found.push((key >> 3, field));
    }
    Ok(found)
}

fn message(bytes: &[u8], name: &'static str, depth: usize) -> Result<Value, String> {
    let mut map = Map::new();
    fill(&mut map, bytes, name, depth)?;
    Ok(Value::Object(map))
}

/// Reads the fields of a message of the type `name` into `map`.
fn fill(
    map: &mut Map<String, Value>,
    bytes: &[u8],
    name: &'static str,
    depth: usize,
) -> Result<(), String> {
    let depth = depth
        .checked_sub(1)
        .ok_or("the message is nested too deep")?;
    for (number, field) in fields(bytes)? {
        match (numbered(name, number), field) {
            (Some(Numbered::Field(key, known)), field) => {
                one(map, key, known, &field, name, depth)?;
            }
            (Some(Numbered::Inlined(inner)), Field::Bytes(bytes)) => {
                fill(map, bytes, inner, depth)?;
            }
            // What is empty says nothing.
            (None, Field::Bytes([]) | Field::Number(0)) => {}
            _ => {
                return Err(format!(
                    "{name} has no field {number} that can be read; send JSON"
                ));
            }
        }
    }
    Ok(())
}

/// Reads one field into `map`.
fn one(
    map: &mut Map<String, Value>,
    key: &'static str,
    known: &'static Known,
    field: &Field<'_>,
    name: &str,
    depth: usize,
) -> Result<(), String> {
    match &known.of {
        Type::List(inner, ..) => {
            let slot = map.entry(key).or_insert_with(|| json!([]));
            let Value::Array(items) = slot else {
                return Ok(());
            };
            match (&**inner, field) {
                // Numbers may come in one piece.
                (Type::Int, Field::Bytes(packed)) => {
                    let mut packed = *packed;
                    while !packed.is_empty() {
                        items.push((varint(&mut packed)? as i64).into());
                    }
                }
                (inner, field) => items.extend(value(inner, field, key, depth, true)?),
            }
        }
        Type::Map(inner) => {
            let Field::Bytes(entry) = field else {
                return Err(format!("{name}.{key} is no map"));
            };
            let (mut own, mut held) = (String::new(), Value::Null);
            for (number, field) in fields(entry)? {
                match (number, field) {
                    (1, Field::Bytes(text)) => own = utf8(text)?,
                    (2, field) => {
                        held = value(inner, &field, key, depth, true)?.unwrap_or_default();
                    }
                    _ => {}
                }
            }
            if held.is_null() {
                held = "".into();
            }
            let slot = map.entry(key).or_insert_with(|| json!({}));
            slot[own] = held;
        }
        of => {
            if let Some(value) = value(of, field, key, depth, known.optional)? {
                join(map, key, value);
            }
        }
    }
    Ok(())
}

/// A message that comes in pieces is all of them together; of anything else the last one counts.
fn join(map: &mut Map<String, Value>, key: &'static str, value: Value) {
    match (map.get_mut(key), value) {
        (Some(Value::Object(before)), Value::Object(after)) => before.extend(after),
        (_, value) => drop(map.insert(key.to_owned(), value)),
    }
}

/// A field's value; none when it says nothing. `said`: what is empty says something as well.
fn value(
    of: &'static Type,
    field: &Field<'_>,
    key: &str,
    depth: usize,
    said: bool,
) -> Result<Option<Value>, String> {
    let wrong = || Err(format!("{key} is of another type"));
    Ok(match (of, field) {
        (Type::Int, Field::Number(number)) => {
            let signed = *number as i64;
            (said || signed != 0).then(|| signed.into())
        }
        (Type::Bool, Field::Number(number)) => {
            (said || *number != 0).then(|| (*number != 0).into())
        }
        (Type::Text, Field::Bytes(bytes)) => (said || !bytes.is_empty())
            .then(|| utf8(bytes))
            .transpose()?
            .map(Value::from),
        (Type::Bytes, Field::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        (Type::Object(name), Field::Bytes(bytes)) => Some(message(bytes, name, depth)?),
        (Type::Fields, Field::Bytes(bytes)) => managed(bytes)?,
        (Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrText, Field::Bytes(bytes)) => {
            special(of, bytes)?
        }
        _ => return wrong(),
    })
}

/// A set of fields: its JSON is the only field of a message.
fn managed(bytes: &[u8]) -> Result<Option<Value>, String> {
    let mut set = None;
    for field in fields(bytes)? {
        if let (1, Field::Bytes(text)) = field {
            set = Some(serde_json::from_slice(text).map_err(|error| error.to_string())?);
        }
    }
    Ok(set)
}

/// Messages that are texts or numbers in JSON.
fn special(of: &Type, bytes: &[u8]) -> Result<Option<Value>, String> {
    let mut numbers = [0_i64; 3];
    let mut text = None;
    for (number, field) in fields(bytes)? {
        match field {
            Field::Number(value) => {
                if let Some(slot) = usize::try_from(number)
                    .ok()
                    .and_then(|n| numbers.get_mut(n))
                {
                    *slot = value as i64;
                }
            }
            Field::Bytes(value) => text = Some(utf8(value)?),
        }
    }
    let [_, first, second] = numbers;
    Ok(match of {
        Type::IntOrText if first == 0 => Some(second.into()),
        Type::Quantity | Type::IntOrText => text.map(Value::from),
        _ if first == 0 && second == 0 => None,
        of => {
            let nanos = i32::try_from(second).unwrap_or_default();
            let at = jiff::Timestamp::new(first, nanos).map_err(|error| error.to_string())?;
            Some(match of {
                Type::MicroTime => format!("{at:.6}").into(),
                _ => jiff::Timestamp::from_second(first)
                    .unwrap_or_default()
                    .to_string()
                    .into(),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_service_is_read() {
        let target = [vec![8, 0, 16, 0x90, 0x3f], field(3, b"")].concat();
        let port = [
            field(1, b""),
            field(2, b"TCP"),
            vec![24, 80],
            field(4, &target),
            vec![40, 0],
        ]
        .concat();
        let selector = [field(1, b"app"), field(2, b"web")].concat();
        let spec = [
            field(1, &port),
            field(2, &selector),
            field(3, b"None"),
            field(10, b""),
            vec![0xa0, 1, 0],
        ]
        .concat();
        let label = [field(1, b"a"), field(2, b"")].concat();
        let meta = [
            field(1, b"web"),
            field(2, b""),
            field(8, b""),
            field(11, &label),
        ]
        .concat();
        let raw = [field(1, &meta), field(2, &spec), field(3, &field(1, b""))].concat();
        let read = read(&body("Service", &raw), "Service").unwrap();
        assert_eq!(
            read,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"a": ""}},
                "spec": {"ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}], "selector": {"app": "web"}, "clusterIP": "None", "allocateLoadBalancerNodePorts": false},
                "status": {"loadBalancer": {}},
            })
        );
    }

    #[test]
    fn times_and_what_cannot_be_read() {
        let time = [
            vec![8, 0x80, 0xe2, 0xcf, 0xaa, 6],
            vec![16, 0x80, 0x84, 0xaf, 0x5f],
        ]
        .concat();
        let spec = field(4, &time);
        let lease = read(&body("Lease", &field(2, &spec)), "Lease").unwrap();
        assert_eq!(lease["spec"]["renewTime"], "2023-11-14T22:13:20.200000Z");
        let unknown = field(15, b"x");
        assert!(read(&body("Pod", &unknown), "Pod").is_err());
        for bad in [&b""[..], b"k8s\0\x12\xff", b"k8s\0\x12\x05", b"{}"] {
            assert!(read(bad, "Pod").is_err(), "{bad:?}");
        }
    }
}
