//! `envoy.config.cluster.v3`: how a service is called.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};
use prost_types::Duration;

use super::{Any, core::ConfigSource};

/// How Envoy speaks to the instances of a cluster.
pub const HTTP_OPTIONS: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// The key of [`HTTP_OPTIONS`] in a cluster.
pub const HTTP_OPTIONS_KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

#[derive(Clone, PartialEq, Message)]
pub struct Cluster {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(enumeration = "DiscoveryType", tag = "2")]
    pub r#type: i32,
    #[prost(message, optional, tag = "3")]
    pub eds_cluster_config: Option<EdsClusterConfig>,
    #[prost(message, optional, tag = "4")]
    pub connect_timeout: Option<Duration>,
    #[prost(enumeration = "LbPolicy", tag = "6")]
    pub lb_policy: i32,
    #[prost(message, optional, tag = "10")]
    pub circuit_breakers: Option<CircuitBreakers>,
    #[prost(message, optional, tag = "19")]
    pub outlier_detection: Option<OutlierDetection>,
    #[prost(btree_map = "string, message", tag = "36")]
    pub typed_extension_protocol_options: BTreeMap<String, Any>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum DiscoveryType {
    Static = 0,
    Eds = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum LbPolicy {
    RoundRobin = 0,
    LeastRequest = 1,
    RingHash = 2,
    Random = 3,
    Maglev = 5,
}

#[derive(Clone, PartialEq, Message)]
pub struct EdsClusterConfig {
    #[prost(message, optional, tag = "1")]
    pub eds_config: Option<ConfigSource>,
    #[prost(string, tag = "2")]
    pub service_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CircuitBreakers {
    #[prost(message, repeated, tag = "1")]
    pub thresholds: Vec<Thresholds>,
}

/// For requests of the default priority, which is 0.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Thresholds {
    #[prost(message, optional, tag = "2")]
    pub max_connections: Option<u32>,
    #[prost(message, optional, tag = "3")]
    pub max_pending_requests: Option<u32>,
    #[prost(message, optional, tag = "4")]
    pub max_requests: Option<u32>,
    #[prost(message, optional, tag = "5")]
    pub max_retries: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OutlierDetection {
    #[prost(message, optional, tag = "1")]
    pub consecutive_5xx: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub interval: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub base_ejection_time: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub max_ejection_percent: Option<u32>,
    #[prost(message, optional, tag = "6")]
    pub enforcing_success_rate: Option<u32>,
    #[prost(message, optional, tag = "16")]
    pub failure_percentage_threshold: Option<u32>,
    #[prost(message, optional, tag = "17")]
    pub enforcing_failure_percentage: Option<u32>,
}

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpProtocolOptions {
    #[prost(oneof = "Upstream", tags = "3, 4")]
    pub upstream: Option<Upstream>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Upstream {
    /// One version, whatever was asked with.
    #[prost(message, tag = "3")]
    Explicit(Explicit),
    /// The version that the request came with.
    #[prost(message, tag = "4")]
    AsAsked(AsAsked),
}

#[derive(Clone, PartialEq, Message)]
pub struct Explicit {
    #[prost(oneof = "Version", tags = "1, 2")]
    pub version: Option<Version>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Version {
    #[prost(message, tag = "1")]
    Http1(()),
    #[prost(message, tag = "2")]
    Http2(()),
}

#[derive(Clone, PartialEq, Message)]
pub struct AsAsked {
    #[prost(message, optional, tag = "1")]
    pub http1: Option<()>,
    #[prost(message, optional, tag = "2")]
    pub http2: Option<()>,
}
