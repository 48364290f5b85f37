//! The bounds of a port, each with its default.

use std::time::Duration;

/// Bounds that hold for each port. Every field is a configuration key and shows up in `portolan_limit`, and in `portolan_limit_used`
/// where more than the crossing can be seen.
///
/// Time spent by a handler is bounded by no field here: a long poll of ten minutes and a watch of a week are ordinary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one port. The next one is answered 503 (HTTP) or closed. Default 20,000.
    pub connections: usize,
    /// Open connections of one port from one peer address. The next one is answered 429 (HTTP) or closed.
    /// High by default, because behind a loopback port all clients share one address. Default 16,384.
    pub connections_per_peer: usize,
    /// Requests in flight on one HTTP/2 connection; HTTP/1.1 has one at a time. Default 4,096.
    pub streams_per_connection: u32,
    /// Bytes of one request's head. More is answered 431. Default 64 KiB.
    pub header_bytes: usize,
    /// Header fields of one HTTP/1.1 request. More is answered 431. Default 128.
    pub header_count: usize,
    /// Time from the first byte of a request's head (for a new connection: from accept) to its last. Default 10 s.
    pub header_timeout: Duration,
    /// Bytes of a request's body, unless the port or the handler says otherwise. More is answered 413. Default 1.5 MiB.
    pub body_bytes: usize,
    /// Bytes of a snapshot that is restored through a port. All of it is in memory while it is. Default 1 GiB.
    pub snapshot_bytes: usize,
    /// Bytes a compressed request body may unpack to. Default 8 MiB.
    pub decompressed_bytes: usize,
    /// Time for a request's body once a handler waits for it, plus one second per 16 KiB received. Not applied to gRPC
    /// (HTTP/2 with that content type), whose streams are bodies that stay open. Default 20 s.
    pub body_timeout: Duration,
    /// Bytes that are read, into nothing, of a peer that is still sending when its HTTP/1.1 connection is closed, so that it gets to read
    /// why. Default 32 MiB.
    pub linger_bytes: usize,
    /// Time for that. Default 10 s.
    pub linger_timeout: Duration,
    /// How long a peer may refuse to take bytes before its connection is closed. Default 30 s.
    pub write_timeout: Duration,
    /// How long a connection may stay open without a request in flight. Default 5 min.
    pub idle_timeout: Duration,
    /// HTTP/2 streams that were reset by the peer before they were accepted ("rapid reset"). Default 64.
    pub pending_reset_streams: usize,
    /// HTTP/2: a connection silent for this long is asked for a sign of life. Default 60 s.
    pub keepalive_interval: Duration,
    /// HTTP/2: time to answer that question. Default 20 s.
    pub keepalive_timeout: Duration,
    /// Nesting of JSON that handlers accept, see [`json_depth_within`](crate::json_depth_within). Default 64.
    pub json_depth: usize,
    /// Time that open requests have to end after [`ServerContext::drain`](crate::ServerContext::drain). Default 5 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 20_000,
            connections_per_peer: 16_384,
            streams_per_connection: 4_096,
            header_bytes: 64 << 10,
            header_count: 128,
            header_timeout: Duration::from_secs(10),
            body_bytes: 3 << 19,
            snapshot_bytes: 1 << 30,
            decompressed_bytes: 8 << 20,
            body_timeout: Duration::from_secs(20),
            linger_bytes: 32 << 20,
            linger_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            pending_reset_streams: 64,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            json_depth: 64,
            drain_timeout: Duration::from_secs(5),
        }
    }
}
