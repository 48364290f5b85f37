//! ZooKeeper's own limits.

use super::super::bounds::{ANY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, many, one};

pub(super) static AREA: Area = Area {
    heading: "ZooKeeper",
    keys: &[
        one!(
            "zookeeper-connections-per-address",
            "N",
            "Open connections from one address, 0 for no limit (maxClientCnxns)",
            zookeeper.connections_per_address
        ),
        bytes!(
            "zookeeper-frame-bytes",
            "Size of one message of a client (jute.maxbuffer); the connection of a longer one is closed",
            zookeeper.frame_bytes
        ),
        many!(
            "zookeeper-words",
            "WORD",
            "Four-letter words that are answered, * for all (4lw.commands.whitelist)",
            zookeeper.words
        ),
    ],
    bounds: bounds! {
        "zookeeper-connections-per-address" size zookeeper.connections_per_address, 0, ANY, Ones;
        "zookeeper-frame-bytes" size zookeeper.frame_bytes, KIB, 64 * MIB, Bytes;
    },
};
