//! What every protocol shares between the socket and its own words: ports, limits, drain, decisions, routes, metrics.
//!
//! Promises
//! - A port that strangers can reach is opened only when that was asked for (`--insecure-listen`).
//! - Every queue, frame, connection count and wait has a bound in [`Limits`], and metrics show how near it is.
//! - A connection that sends its head or body drop by drop is closed within 30 seconds; a long poll is never cut.
//! - A web page cannot reach a loopback port by DNS rebinding, nor write to any port across origins ([`browser`]).
//! - A refusal reaches the client also while it is still sending: the server stops sending and reads on within bounds, then closes.
//! - A panic ends one request or one connection. It is counted and logged; the process goes on.
//! - An answer given without asking [`Caller::allow`] is counted; an end-to-end test keeps that count at zero.
//! - [`ServerContext::finish`] lets open requests end for a bounded time, then closes what is left.
//!
//! - What decides ([`Policy`]), who asks ([`Authenticator`]) and what the bytes go through ([`Handshake`]) can be plugged in; without them
//!   everybody is anonymous, may do everything, and sockets are bare.
//!
//! Deliberately absent: any protocol's words, the catalog's state, TLS and credentials of our own.
//!
//! Start reading at [`ServerContext`], then [`serve_http`]; a protocol's index is a table of [`Route`]s.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod acceptor;
mod access;
mod admission;
mod authenticator;
pub mod authority;
mod bind;
mod body;
pub mod browser;
mod caller;
mod connection_timeouts;
mod forwarded_writes;
mod gzip;
mod http_port;
mod json;
mod latency;
mod limits;
mod lingering_close;
mod meter;
mod metrics;
mod monitored_stream;
mod port_options;
mod request;
mod router;
mod server_context;
mod stream_port;
mod tls;
mod transport;

pub use access::{Action, AllowAll, Decision, Denied, Policy, Principal, Resource};
pub use authenticator::{Authenticator, Credentials, Unauthenticated};
pub use bind::{
    BindError, TcpPort, UdpPort, bind_tcp, bind_tcp_guarded, bind_udp, bind_udp_and_tcp,
};
pub use body::{Body, BoxError};
pub use caller::Caller;
pub use connection_timeouts::Busy;
pub use gzip::{accepts_gzip, gzip};
pub use http_port::{HttpOptions, Request, Response, serve_http, text};
pub use json::json_depth_within;
pub use latency::Latency;
pub use limits::Limits;
pub use meter::Meter;
pub use metrics::Metrics;
pub use monitored_stream::MonitoredStream;
pub use port_options::PortOptions;
pub use request::{BodyError, RequestBody, read_body, read_body_decoded};
pub use router::{Found, Handler, Methods, Params, Route, Router};
pub use server_context::{ServerContext, Settings};
pub use stream_port::{Messages, StreamConnection, StreamOptions, serve_stream};
pub use tls::{Spoken, Tls, TlsMaterial};
pub use transport::BoxFuture;
pub use transport::{ByteStream, Handshake, Secured, Transport};
