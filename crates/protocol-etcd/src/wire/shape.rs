//! What each message looks like: its fields by number and by name. Written by the build from `proto/`, used where messages are JSON.

// A table is written for every message, and not every one is the root of a call.
#![allow(dead_code)]

/// A message.
#[derive(Debug)]
pub(crate) struct MessageShape {
    /// In the order of the definition, which is the order of JSON.
    pub(crate) fields: &'static [FieldShape],
}

/// A field of a message.
#[derive(Debug)]
pub(crate) struct FieldShape {
    pub(crate) number: u32,
    /// As the definition spells it, and as answers do: `range_end`.
    pub(crate) name: &'static str,
    /// As JSON may spell it as well: `rangeEnd`.
    pub(crate) json_name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// The full name of the group of which only one field may be set.
    pub(crate) oneof: Option<&'static str>,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Message(&'static MessageShape),
    Enum(&'static EnumShape),
}

impl Kind {
    /// The name that errors give to the type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Message(_) => "message",
            Kind::Enum(_) => "enum",
        }
    }
}

/// Names and numbers of an enumeration.
#[derive(Debug)]
pub(crate) struct EnumShape {
    pub(crate) values: &'static [(&'static str, i32)],
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));
