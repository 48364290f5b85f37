//! One object: JSON as a client wrote it, stored with its type and metadata first, so that a read puts the version in without parsing.

use bytes::{BufMut, Bytes, BytesMut};
use portolan_catalog::{Record, Revision, Timestamp};
use serde_json::{Map, Value};

use crate::kind::Kind;

/// What stands before the metadata's fields.
const METADATA: &[u8] = b"\"metadata\":{";

/// The stored form: type, metadata without a version, then the rest.
pub(crate) fn encode(kind: &Kind, object: &Value) -> Bytes {
    let mut bytes = Vec::with_capacity(512);
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    let mut metadata = map
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    metadata.remove("resourceVersion");
    bytes.extend_from_slice(b"{\"apiVersion\":\"");
    bytes.extend_from_slice(kind.api_version().as_bytes());
    bytes.extend_from_slice(b"\",\"kind\":\"");
    bytes.extend_from_slice(kind.kind.as_bytes());
    bytes.extend_from_slice(b"\",");
    let mut put = |name: &str, value: &Value| {
        // Writing JSON into memory cannot fail.
        let _name = serde_json::to_writer(&mut bytes, name);
        bytes.push(b':');
        let _value = serde_json::to_writer(&mut bytes, value);
        bytes.push(b',');
    };
    put("metadata", &Value::Object(metadata));
    let rest = map
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
    rest.for_each(|(name, value)| put(name, value));
    bytes.pop();
    bytes.push(b'}');
    bytes.into()
}

/// Puts the version into a stored object. `typed`: with its apiVersion and kind, which items of lists go without.
pub(crate) fn render(out: &mut BytesMut, stored: &[u8], revision: Revision, typed: bool) {
    let Some(at) = stored
        .windows(METADATA.len())
        .position(|window| window == METADATA)
    else {
        out.extend_from_slice(stored);
        return;
    };
    if typed {
        out.extend_from_slice(&stored[..at]);
    } else {
        out.put_u8(b'{');
    }
    let (before, after) = stored[at..].split_at(METADATA.len());
    out.extend_from_slice(before);
    out.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if after.first() != Some(&b'}') {
        out.put_u8(b',');
    }
    out.extend_from_slice(after);
}

/// A record's object, with its version.
pub(crate) fn decode(record: &Record) -> Value {
    decode_at(record, record.modified)
}

/// A record's object as of a revision: of one that was removed, that of the removal.
pub(crate) fn decode_at(record: &Record, revision: Revision) -> Value {
    let mut object: Value = serde_json::from_slice(&record.bytes()).unwrap_or_default();
    set_version(&mut object, revision);
    object
}

/// Sets the version.
pub(crate) fn set_version(object: &mut Value, revision: Revision) {
    if object.is_object() {
        metadata_mut(object).insert("resourceVersion".into(), revision.to_string().into());
    }
}

/// The text at a path of an object; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A field of the metadata.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// A label.
pub(crate) fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(name)?.as_str()
}

/// Items of a list at a path; none when it is not there.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The metadata, made where there is none.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(object, "metadata")
}

/// A field that is a map, made where there is none. `object` is one.
pub(crate) fn map_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let slot = &mut object[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        // It was made one a line before.
        _ => unreachable!("a map that was just made"),
    }
}

/// A time as objects have it: seconds, UTC.
pub(crate) fn time(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

/// The milliseconds of a time that an object has.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// A new identity.
pub(crate) fn uid() -> String {
    uuid::Uuid::from_bytes(portolan_environment::uuid()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::{SERVICES, find};

    #[test]
    fn a_version_goes_in_without_parsing() {
        let object = json!({"data": {"\"metadata\":{": "x"}, "metadata": {"name": "a", "resourceVersion": "7"}});
        let kind = find("", "v1", "configmaps").unwrap();
        let stored = encode(kind, &object);
        let mut out = BytesMut::new();
        render(&mut out, &stored, Revision(12), true);
        let read: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "12"}, "data": {"\"metadata\":{": "x"}})
        );
        let mut item = BytesMut::new();
        render(
            &mut item,
            &encode(&SERVICES, &json!({})),
            Revision(3),
            false,
        );
        assert_eq!(&item[..], br#"{"metadata":{"resourceVersion":"3"}}"#);
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(time(Timestamp(1_700_000_000_999)), "2023-11-14T22:13:20Z");
        assert_eq!(millis("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(millis("yesterday"), None);
    }
}
