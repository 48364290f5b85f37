//! Services and their endpoints as one thread of the gateway has them: balancers, connections, what is counted.

mod cluster;
mod connect;
mod endpoint;

pub(crate) use cluster::{Chosen, Cluster};
pub(crate) use connect::{Http1, Http2, http1 as open_http1, http2 as open_http2};
pub(crate) use endpoint::Endpoint;
