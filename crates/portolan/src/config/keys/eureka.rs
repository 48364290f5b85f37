//! The other servers of a Eureka cluster.

use super::super::bounds::bounds;
use super::super::key::{Area, many};

pub(super) static AREA: Area = Area {
    heading: "Eureka",
    keys: &[many!(
        "eureka-peer",
        "URL",
        "Service URL of another Eureka server, such as http://10.0.0.1:8761/eureka/: what it has is taken over at the start, and both tell each other what clients do",
        eureka.peers
    )],
    bounds: bounds! {},
};
