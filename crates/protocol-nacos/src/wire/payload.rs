//! The two messages of the gRPC services, written out by hand: a type name and JSON.
//!
//! ```proto
//! message Metadata { string type = 3; map<string, string> headers = 7; string clientIp = 8; }
//! message Payload { Metadata metadata = 2; google.protobuf.Any body = 3; }
//! service Request { rpc request(Payload) returns (Payload); }
//! service BiRequestStream { rpc requestBiStream(stream Payload) returns (stream Payload); }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

/// What a message is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    /// The simple name of the Java class, such as `InstanceRequest`.
    #[prost(string, tag = "3")]
    pub kind: String,
    /// Further words for it, such as `accessToken`.
    #[prost(btree_map = "string, string", tag = "7")]
    pub headers: BTreeMap<String, String>,
    /// The address that the client thinks it has.
    #[prost(string, tag = "8")]
    pub client_ip: String,
}

/// `google.protobuf.Any` as Nacos uses it: the type's address stays empty both ways.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Empty.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// JSON in UTF-8.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// One request or response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// What it is.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<Metadata>,
    /// Its fields.
    #[prost(message, optional, tag = "3")]
    pub body: Option<Any>,
}

impl Payload {
    /// A message of a kind, with JSON for its fields.
    pub fn new(kind: &str, json: impl Into<Bytes>) -> Payload {
        Payload {
            metadata: Some(Metadata {
                kind: kind.to_owned(),
                ..Metadata::default()
            }),
            body: Some(Any {
                type_url: String::new(),
                value: json.into(),
            }),
        }
    }

    /// Its kind, empty when it does not say.
    pub fn kind(&self) -> &str {
        self.metadata.as_ref().map_or("", |it| &it.kind)
    }

    /// A header beside the JSON.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.metadata.as_ref()?.headers;
        headers.get(name).map(String::as_str)
    }

    /// Its JSON; an absent body is an object without fields.
    pub fn json(&self) -> &[u8] {
        match &self.body {
            Some(body) if !body.value.is_empty() => &body.value,
            _ => b"{}",
        }
    }
}
