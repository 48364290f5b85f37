//! The other servers.

use super::super::key::{Area, many, one};

pub(super) static AREA: Area = Area {
    heading: "Cluster",
    keys: &[
        one!(
            "cluster-listen",
            "ADDR",
            "Address for other servers; clusters of several servers are not built yet",
            cluster_listen
        ),
        many!(
            "join",
            "ADDR",
            "A server to join; clusters of several servers are not built yet",
            join
        ),
    ],
    bounds: &[],
};
