//! Nacos' own limits.

use super::super::bounds::{ANY, DAY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "Nacos",
    keys: &[
        bytes!(
            "nacos-content-bytes",
            "Size of a configuration's content",
            nacos.content_bytes
        ),
        one!(
            "nacos-push-timeout",
            "TIME",
            "Time for a Nacos client to acknowledge a change before it is pushed again",
            nacos.push_timeout
        ),
        one!(
            "nacos-idle-timeout",
            "TIME",
            "Silence of a Nacos gRPC client after which it is asked for a sign of life; a quarter of it later it is closed",
            nacos.idle_timeout
        ),
        one!(
            "nacos-connections",
            "N",
            "Nacos gRPC connections",
            nacos.connections
        ),
        one!(
            "nacos-watched",
            "N",
            "Services, and configurations, that one Nacos gRPC connection follows",
            nacos.watched
        ),
        one!(
            "nacos-udp-clients",
            "N",
            "Services that clients of Nacos 1.x are told of by UDP",
            nacos.udp_clients
        ),
    ],
    bounds: bounds! {
        "nacos-content-bytes" size nacos.content_bytes, KIB, 10 * MIB, Bytes;
        "nacos-push-timeout" ms nacos.push_timeout, 100, DAY, Milliseconds;
        "nacos-idle-timeout" ms nacos.idle_timeout, 1000, DAY, Milliseconds;
        "nacos-connections" size nacos.connections, 1, ANY, Ones;
        "nacos-watched" size nacos.watched, 1, ANY, Ones;
        "nacos-udp-clients" size nacos.udp_clients, 0, ANY, Ones;
    },
};
