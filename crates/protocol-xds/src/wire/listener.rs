//! `envoy.config.listener.v3`, and the filter for HTTP that every listener here has.

use prost::{Enumeration, Message, Oneof};

use super::{
    Any,
    core::{Address, ConfigSource},
    route::RouteConfiguration,
};

/// The filter of a listener that speaks HTTP.
pub const HTTP_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// The filter of HTTP that sends a request on.
pub const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

#[derive(Clone, PartialEq, Message)]
pub struct Listener {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub address: Option<Address>,
    #[prost(message, repeated, tag = "3")]
    pub filter_chains: Vec<FilterChain>,
    #[prost(enumeration = "TrafficDirection", tag = "16")]
    pub traffic_direction: i32,
    /// A listener that nobody connects to: the way of a gRPC channel to its routes.
    #[prost(message, optional, tag = "19")]
    pub api_listener: Option<ApiListener>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum TrafficDirection {
    Unspecified = 0,
    Inbound = 1,
    Outbound = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct ApiListener {
    #[prost(message, optional, tag = "1")]
    pub api_listener: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
    #[prost(string, tag = "7")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Filter {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "4")]
    pub typed_config: Option<Any>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpConnectionManager {
    #[prost(string, tag = "2")]
    pub stat_prefix: String,
    #[prost(oneof = "RouteSpecifier", tags = "3, 4")]
    pub routes: Option<RouteSpecifier>,
    #[prost(message, repeated, tag = "5")]
    pub http_filters: Vec<HttpFilter>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum RouteSpecifier {
    #[prost(message, tag = "3")]
    Rds(Rds),
    #[prost(message, tag = "4")]
    Inline(RouteConfiguration),
}

#[derive(Clone, PartialEq, Message)]
pub struct Rds {
    #[prost(message, optional, tag = "1")]
    pub config_source: Option<ConfigSource>,
    #[prost(string, tag = "2")]
    pub route_config_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpFilter {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "4")]
    pub typed_config: Option<Any>,
}
