//! What one port takes, from all and from one.

use super::super::bounds::{ANY, DAY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "Limits of each port",
    keys: &[
        one!(
            "limit-connections",
            "N",
            "Open connections",
            limits.connections
        ),
        one!(
            "limit-connections-per-peer",
            "N",
            "Open connections from one address",
            limits.connections_per_peer
        ),
        one!(
            "limit-streams-per-connection",
            "N",
            "Requests in flight on one HTTP/2 connection",
            limits.streams_per_connection
        ),
        bytes!(
            "limit-header-bytes",
            "Size of a request's head",
            limits.header_bytes
        ),
        one!(
            "limit-header-count",
            "N",
            "Header fields of one request",
            limits.header_count
        ),
        one!(
            "limit-header-timeout",
            "TIME",
            "Time for a request's head to arrive",
            limits.header_timeout
        ),
        bytes!(
            "limit-body-bytes",
            "Size of a request's body",
            limits.body_bytes
        ),
        bytes!(
            "limit-snapshot-bytes",
            "Size of a snapshot that is restored over HTTP",
            limits.snapshot_bytes
        ),
        bytes!(
            "limit-decompressed-bytes",
            "Size a compressed body may unpack to",
            limits.decompressed_bytes
        ),
        one!(
            "limit-body-timeout",
            "TIME",
            "Time for a request's body to arrive",
            limits.body_timeout
        ),
        bytes!(
            "limit-linger-bytes",
            "What is read of a client that is still sending when it has been refused",
            limits.linger_bytes
        ),
        one!(
            "limit-linger-timeout",
            "TIME",
            "Time for that",
            limits.linger_timeout
        ),
        one!(
            "limit-write-timeout",
            "TIME",
            "How long a client may refuse to take bytes",
            limits.write_timeout
        ),
        one!(
            "limit-idle-timeout",
            "TIME",
            "How long a connection may be open without a request",
            limits.idle_timeout
        ),
        one!(
            "limit-pending-reset-streams",
            "N",
            "HTTP/2 streams reset before they were accepted",
            limits.pending_reset_streams
        ),
        one!(
            "limit-keepalive-interval",
            "TIME",
            "Silence after which an HTTP/2 client is asked for a sign of life",
            limits.keepalive_interval
        ),
        one!(
            "limit-keepalive-timeout",
            "TIME",
            "Time for that sign of life",
            limits.keepalive_timeout
        ),
        one!(
            "limit-json-depth",
            "N",
            "Nesting of JSON",
            limits.json_depth
        ),
        one!(
            "limit-drain-timeout",
            "TIME",
            "Time that open requests have to end when the server stops",
            limits.drain_timeout
        ),
    ],
    bounds: bounds! {
        "limit-connections" size limits.connections, 1, ANY, Ones;
        "limit-connections-per-peer" size limits.connections_per_peer, 1, ANY, Ones;
        "limit-streams-per-connection" whole limits.streams_per_connection, 1, ANY, Ones;
        "limit-header-bytes" size limits.header_bytes, 8 * KIB, 16 * MIB, Bytes;
        "limit-header-count" size limits.header_count, 16, 10_000, Ones;
        "limit-header-timeout" ms limits.header_timeout, 100, DAY, Milliseconds;
        "limit-body-bytes" size limits.body_bytes, KIB, 1024 * MIB, Bytes;
        "limit-snapshot-bytes" size limits.snapshot_bytes, MIB, 64 * 1024 * MIB, Bytes;
        "limit-decompressed-bytes" size limits.decompressed_bytes, KIB, 1024 * MIB, Bytes;
        "limit-body-timeout" ms limits.body_timeout, 100, DAY, Milliseconds;
        "limit-linger-bytes" size limits.linger_bytes, 0, 16 * 1024 * MIB, Bytes;
        "limit-linger-timeout" ms limits.linger_timeout, 0, DAY, Milliseconds;
        "limit-write-timeout" ms limits.write_timeout, 100, DAY, Milliseconds;
        "limit-idle-timeout" ms limits.idle_timeout, 100, 365 * DAY, Milliseconds;
        "limit-keepalive-interval" ms limits.keepalive_interval, 1000, DAY, Milliseconds;
        "limit-keepalive-timeout" ms limits.keepalive_timeout, 100, DAY, Milliseconds;
        // What reads JSON goes no deeper.
        "limit-json-depth" size limits.json_depth, 8, 127, Ones;
        "limit-drain-timeout" ms limits.drain_timeout, 0, DAY, Milliseconds;
    },
};
