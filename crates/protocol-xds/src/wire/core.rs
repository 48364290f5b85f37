//! `envoy.config.core.v3`: what all resources are made of, and what a client says of itself.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};
use prost_types::Struct;

/// Who asks.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub cluster: String,
    #[prost(message, optional, tag = "4")]
    pub locality: Option<Locality>,
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    #[prost(string, tag = "7")]
    pub user_agent_version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Locality {
    #[prost(string, tag = "1")]
    pub region: String,
    #[prost(string, tag = "2")]
    pub zone: String,
    #[prost(string, tag = "3")]
    pub sub_zone: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub filter_metadata: BTreeMap<String, Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint32, tag = "3")]
    pub port_value: u32,
}

impl Address {
    /// An address of TCP.
    pub fn tcp(ip: std::net::IpAddr, port: u16) -> Address {
        Address {
            socket_address: Some(SocketAddress {
                address: ip.to_string(),
                port_value: port.into(),
            }),
        }
    }
}

/// Where further resources come from.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigSource {
    #[prost(oneof = "Source", tags = "3")]
    pub source: Option<Source>,
    #[prost(enumeration = "ApiVersion", tag = "6")]
    pub resource_api_version: i32,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Source {
    /// The stream that all types share.
    #[prost(message, tag = "3")]
    Ads(()),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum ApiVersion {
    Auto = 0,
    V3 = 2,
}

impl ConfigSource {
    /// The stream that all types share.
    pub fn ads() -> ConfigSource {
        ConfigSource {
            source: Some(Source::Ads(())),
            resource_api_version: ApiVersion::V3.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum HealthStatus {
    Unknown = 0,
    Healthy = 1,
    Unhealthy = 2,
    Draining = 3,
    Timeout = 4,
    Degraded = 5,
}
