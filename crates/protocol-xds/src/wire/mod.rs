//! The protocol's own messages, in its own words: of each only the fields that are read or written here.
//!
//! Numbers and types of fields are those of Envoy's v3 API. A field that is not here is skipped when it is read, so whatever else a client
//! says of itself costs nothing.

#![allow(
    missing_docs,
    reason = "the words and their meaning are the protocol's"
)]

pub mod cluster;
pub mod core;
pub mod discovery;
pub mod endpoint;
pub mod listener;
pub mod route;

use bytes::Bytes;
use prost::Message;

/// What comes before a message's name in a type URL.
pub const PREFIX: &str = "type.googleapis.com/";

pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const ASSIGNMENT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A message whose type is said beside it.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Packs a message under its type URL.
    pub fn pack(type_url: &str, message: &impl Message) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value: message.encode_to_vec().into(),
        }
    }
}
