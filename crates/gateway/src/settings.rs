//! How the gateway is served.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the gateway is served: plain values from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The domain in which every service has a name: `web.gateway.localhost`. Default `gateway.localhost`.
    pub domain: Arc<str>,
    /// Whether the first label of any host is the name of a service. Default false.
    pub host_label: bool,
    /// A file to which a line of JSON is added for each request; none by default.
    pub access_log: Option<PathBuf>,
    /// Threads. Default 0: one for each core.
    pub workers: usize,
    /// Time for a connection to an endpoint. Default 1 s.
    pub connect_timeout: Duration,
    /// Time until the head of an answer, while no part of the request is on its way. A service's `timeout` comes before it. Default 60 s.
    pub timeout: Duration,
    /// How long a connection to an endpoint may wait for its next request. Default 30 s: servers close theirs, and a request that meets the
    /// close is lost unless it may be repeated.
    pub upstream_idle: Duration,
    /// Connections to one endpoint that may wait for their next request, for each thread. Default 64.
    pub upstream_idle_connections: usize,
    /// Requests that one service may have under way, for each thread. Default 1024; more are answered 503.
    pub requests_per_service: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            domain: "gateway.localhost".into(),
            host_label: false,
            access_log: None,
            workers: 0,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(30),
            upstream_idle_connections: 64,
            requests_per_service: 1024,
        }
    }
}
