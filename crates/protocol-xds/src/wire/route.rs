//! `envoy.config.route.v3`: which cluster a request goes to.

use prost::{Message, Oneof};
use prost_types::Duration;

#[derive(Clone, PartialEq, Message)]
pub struct RouteConfiguration {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub virtual_hosts: Vec<VirtualHost>,
    #[prost(bool, tag = "14")]
    pub ignore_port_in_host_matching: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct VirtualHost {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub domains: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub routes: Vec<Route>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Route {
    #[prost(message, optional, tag = "1")]
    pub r#match: Option<RouteMatch>,
    #[prost(oneof = "RouteKind", tags = "2, 18")]
    pub kind: Option<RouteKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum RouteKind {
    #[prost(message, tag = "2")]
    Route(RouteAction),
    /// The request has arrived where it was going: a gRPC server's own route.
    #[prost(message, tag = "18")]
    NonForwarding(()),
}

#[derive(Clone, PartialEq, Message)]
pub struct RouteMatch {
    #[prost(oneof = "PathSpecifier", tags = "1")]
    pub path: Option<PathSpecifier>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PathSpecifier {
    #[prost(string, tag = "1")]
    Prefix(String),
}

impl RouteMatch {
    /// Every path: the empty prefix, which has to be written.
    pub fn everything() -> RouteMatch {
        RouteMatch {
            path: Some(PathSpecifier::Prefix(String::new())),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct RouteAction {
    #[prost(oneof = "ClusterSpecifier", tags = "1")]
    pub cluster: Option<ClusterSpecifier>,
    /// Zero is no limit; absent is Envoy's 15 s.
    #[prost(message, optional, tag = "8")]
    pub timeout: Option<Duration>,
    #[prost(message, optional, tag = "9")]
    pub retry_policy: Option<RetryPolicy>,
    #[prost(message, optional, tag = "36")]
    pub max_stream_duration: Option<MaxStreamDuration>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ClusterSpecifier {
    #[prost(string, tag = "1")]
    Cluster(String),
}

#[derive(Clone, PartialEq, Message)]
pub struct RetryPolicy {
    #[prost(string, tag = "1")]
    pub retry_on: String,
    #[prost(message, optional, tag = "2")]
    pub num_retries: Option<u32>,
    #[prost(message, optional, tag = "3")]
    pub per_try_timeout: Option<Duration>,
    #[prost(message, optional, tag = "8")]
    pub retry_back_off: Option<RetryBackOff>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RetryBackOff {
    #[prost(message, optional, tag = "1")]
    pub base_interval: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    pub max_interval: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MaxStreamDuration {
    #[prost(message, optional, tag = "1")]
    pub max_stream_duration: Option<Duration>,
}
