//! JSON to messages, in one pass over the text and without a tree in between.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portolan_catalog::Revision;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAGIC;
use crate::schema::{Field, Type, fields};

/// Bytes of a message, which is written from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Writer {
    /// A body that holds an object of this type: what `content` writes is the object.
    pub(crate) fn body(
        api_version: &str,
        kind: &str,
        content: impl FnOnce(&mut Writer) -> Result<(), serde_json::Error>,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut writer = Writer {
            out: MAGIC.to_vec(),
        };
        writer.inside(1, |meta| {
            meta.text(1, api_version);
            meta.text(2, kind);
            Ok(())
        })?;
        writer.inside(2, content)?;
        Ok(writer.out)
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// A field that is a text.
    pub(crate) fn text(&mut self, number: u64, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// A field that is bytes.
    pub(crate) fn bytes(&mut self, number: u64, bytes: &[u8]) {
        varint(&mut self.out, number << 3 | 2);
        varint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// A field that is a number.
    pub(crate) fn number(&mut self, number: u64, value: u64) {
        varint(&mut self.out, number << 3);
        varint(&mut self.out, value);
    }

    /// A field that is a message.
    pub(crate) fn inside<E>(
        &mut self,
        number: u64,
        content: impl FnOnce(&mut Writer) -> Result<(), E>,
    ) -> Result<(), E> {
        varint(&mut self.out, number << 3 | 2);
        // Most messages are short: one byte is kept free for the length, and more are made if it needs them.
        let at = self.out.len();
        self.out.push(0);
        content(self)?;
        let length = self.out.len() - at - 1;
        let mut size = Vec::new();
        varint(&mut size, length as u64);
        self.out.splice(at..=at, size);
        Ok(())
    }

    /// The fields of a stored object, with its version.
    pub(crate) fn stored(
        &mut self,
        schema: &'static str,
        json: &[u8],
        revision: Revision,
    ) -> Result<(), serde_json::Error> {
        // Metadata in two pieces is one.
        self.inside(1, |metadata| -> Result<(), serde_json::Error> {
            metadata.text(6, &revision.to_string());
            Ok(())
        })?;
        self.json(schema, json)
    }

    /// The fields of an object of the type `schema`.
    pub(crate) fn json(
        &mut self,
        schema: &'static str,
        json: &[u8],
    ) -> Result<(), serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        Message {
            schema,
            writer: self,
        }
        .deserialize(&mut reader)
    }
}

/// A body with an object as a client is shown it.
///
/// # Errors
/// A value of another type than its field's.
pub(crate) fn object(
    value: &serde_json::Value,
    schema: &'static str,
) -> Result<Vec<u8>, serde_json::Error> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let json = serde_json::to_vec(value)?;
    Writer::body(&text("apiVersion"), &text("kind"), |writer| {
        writer.json(schema, &json)
    })
}

/// A body with a stored object.
///
/// # Errors
/// As [`object`].
pub(crate) fn stored(
    api_version: &str,
    kind: &str,
    schema: &'static str,
    json: &[u8],
    revision: Revision,
) -> Result<Vec<u8>, serde_json::Error> {
    Writer::body(api_version, kind, |writer| {
        writer.stored(schema, json, revision)
    })
}

/// One event of a watch, with its length in front.
pub(crate) fn frame(word: &str, object: &[u8]) -> Vec<u8> {
    let mut writer = Writer { out: vec![0; 4] };
    writer.text(1, word);
    let nested: Result<(), std::convert::Infallible> = writer.inside(2, |raw| {
        raw.bytes(1, object);
        Ok(())
    });
    match nested {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let length = u32::try_from(writer.out.len() - 4).unwrap_or(u32::MAX);
    writer.out[..4].copy_from_slice(&length.to_be_bytes());
    writer.out
}

/// An object, whose fields are those of a type.
struct Message<'a> {
    schema: &'static str,
    writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of the type {}", self.schema)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(self.schema))? {
            let Some((field, number)) = field.and_then(|field| Some((field, field.number?))) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let mut one = |writer: &mut Writer| {
                map.next_value_seed(Slot {
                    of: &field.of,
                    number,
                    writer,
                })
            };
            match field.inside {
                Some(outer) => self.writer.inside(outer, one)?,
                None => one(self.writer)?,
            }
        }
        Ok(())
    }
}

/// A field's name, which leads to the field.
struct Name(&'static str);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a field of {}", self.0)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(fields(self.0).and_then(|known| known.get(name)))
    }
}

/// One field's value.
struct Slot<'a> {
    of: &'static Type,
    number: u64,
    writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if *self.of == Type::Fields {
            let raw: &RawValue = serde::Deserialize::deserialize(reader)?;
            return self.writer.inside(self.number, |set| {
                set.text(1, raw.get());
                Ok(())
            });
        }
        reader.deserialize_any(self)
    }
}

impl Slot<'_> {
    fn at(self, time: jiff::Timestamp) {
        let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
        let written: Result<(), std::convert::Infallible> =
            self.writer.inside(self.number, |message| {
                message.number(1, seconds as u64);
                if nanos != 0 {
                    message.number(2, u64::from(nanos.unsigned_abs()));
                }
                Ok(())
            });
        match written {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    fn whole<E: Error>(self, value: u64) -> Result<(), E> {
        match self.of {
            Type::Int => self.writer.number(self.number, value),
            Type::IntOrText => self.writer.inside(self.number, |message| {
                message.number(1, 0);
                message.number(2, value);
                Ok(())
            })?,
            Type::Quantity => self.writer.inside(self.number, |message| {
                message.text(1, &(value as i64).to_string());
                Ok(())
            })?,
            of => return Err(E::custom(format!("a number where there is {of:?}"))),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.of)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.of {
            Type::Bool => self.writer.number(self.number, u64::from(value)),
            of => return Err(E::custom(format!("a truth value where there is {of:?}"))),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(value as u64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.of {
            Type::Quantity => self.writer.inside(self.number, |message| {
                message.text(1, &value.to_string());
                Ok(())
            }),
            of => Err(E::custom(format!("a fraction where there is {of:?}"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.of {
            Type::Text => self.writer.text(self.number, text),
            Type::Bytes => {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                self.writer.bytes(self.number, &bytes);
            }
            Type::Time | Type::MicroTime => self.at(text.parse().map_err(E::custom)?),
            Type::Quantity => self.writer.inside(self.number, |message| {
                message.text(1, text);
                Ok(())
            })?,
            Type::IntOrText => self.writer.inside(self.number, |message| {
                message.number(1, 1);
                message.text(3, text);
                Ok(())
            })?,
            of => return Err(E::custom(format!("a text where there is {of:?}"))),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.of {
            Type::Object(schema) => self.writer.inside(self.number, |writer| {
                Message { schema, writer }.visit_map(map)
            }),
            Type::Map(inner) => {
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    self.writer.inside(self.number, |writer| {
                        writer.text(1, &name);
                        map.next_value_seed(Slot {
                            of: inner,
                            number: 2,
                            writer,
                        })
                    })?;
                }
                Ok(())
            }
            of => Err(A::Error::custom(format!("an object where there is {of:?}"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Type::List(inner, ..) = self.of else {
            return Err(A::Error::custom(format!(
                "a list where there is {:?}",
                self.of
            )));
        };
        loop {
            let item = Slot {
                of: inner,
                number: self.number,
                writer: self.writer,
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kind::KINDS;
    use crate::protobuf::read;

    /// A value of a type, with everything in it that there can be.
    fn filled(of: &Type, depth: usize) -> Value {
        match of {
            Type::Text => json!("text"),
            Type::Int => json!(-7),
            Type::Bool => json!(true),
            Type::Time => json!("2023-11-14T22:13:20Z"),
            Type::MicroTime => json!("2023-11-14T22:13:20.200000Z"),
            Type::Bytes => json!("AAEC"),
            Type::Quantity => json!("100Mi"),
            Type::IntOrText => json!("http"),
            Type::Fields => json!({"f:metadata": {"f:labels": {"f:a": {}}}}),
            Type::Map(inner) => json!({"key": filled(inner, depth)}),
            Type::List(inner, ..) => json!([filled(inner, depth), filled(inner, depth)]),
            Type::Object(name) if depth == 0 => {
                let _ = name;
                json!({})
            }
            Type::Object(name) => {
                let fields = fields(name).unwrap().iter();
                let fields = fields.filter(|(_, field)| field.number.is_some());
                fields
                    .map(|(name, field)| ((*name).to_owned(), filled(&field.of, depth - 1)))
                    .collect()
            }
        }
    }

    #[test]
    fn what_was_written_is_read_as_it_was() {
        for kind in KINDS {
            let mut whole = filled(&Type::Object(kind.schema), 9);
            whole["apiVersion"] = kind.api_version().into();
            whole["kind"] = kind.kind.into();
            let written = object(&whole, kind.schema).unwrap();
            assert_eq!(read(&written, kind.schema).unwrap(), whole, "{}", kind.kind);
        }
    }

    #[test]
    fn a_stored_object_gets_its_version() {
        let kind = KINDS[0];
        let json =
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#;
        let written = stored("v1", "ConfigMap", kind.schema, json, Revision(300)).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "300"}, "data": {"k": "v"},
        });
        assert_eq!(read(&written, kind.schema).unwrap(), expected);
        let long = "x".repeat(70_000);
        let big = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": long}});
        let written = object(&big, kind.schema).unwrap();
        assert_eq!(read(&written, kind.schema).unwrap(), big);
        assert!(object(&json!({"metadata": []}), kind.schema).is_err());
    }

    #[test]
    fn frames_say_how_long_they_are() {
        let framed = frame("ADDED", b"k8s\0");
        assert_eq!(framed, b"\0\0\0\x0f\x0a\x05ADDED\x12\x06\x0a\x04k8s\0");
    }
}
