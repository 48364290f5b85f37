//! The encodings of bodies and answers.

use bytes::Bytes;
use http::StatusCode;
use portolan_listener::Response;
use serde_json::Value;

use crate::{protobuf, respond, yaml};

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

pub(crate) const JSON: &str = respond::JSON;
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The encodings, as refusals name them.
pub(crate) const ALL: [&str; 3] = [JSON, YAML, PROTOBUF];
/// Those of watches.
pub(crate) const STREAMED: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

impl Media {
    /// The encoding of a body or of a range of types.
    pub(crate) fn of(content_type: &str) -> Option<Media> {
        match content_type {
            JSON | "*/*" | "application/*" => Some(Media::Json),
            YAML => Some(Media::Yaml),
            PROTOBUF => Some(Media::Protobuf),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Media::Json => JSON,
            Media::Yaml => YAML,
            Media::Protobuf => PROTOBUF,
        }
    }

    /// The type of a watch's answer.
    pub(crate) fn streamed(self) -> &'static str {
        match self {
            Media::Json | Media::Yaml => JSON,
            Media::Protobuf => STREAMED[1],
        }
    }

    /// An answer with a value of the type `schema`.
    pub(crate) fn answer(
        self,
        status: StatusCode,
        value: &Value,
        schema: &'static str,
    ) -> Response {
        let bytes: Bytes = match self {
            Media::Json => value.to_string().into(),
            Media::Yaml => yaml::write(value).into(),
            Media::Protobuf => match protobuf::object(value, schema) {
                Ok(bytes) => bytes.into(),
                // What was kept before its fields were known.
                Err(_) => return Media::Json.answer(status, value, schema),
            },
        };
        respond::typed(status, self.name(), bytes.into())
    }
}
