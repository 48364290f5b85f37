//! The log.

use super::super::bounds::bounds;
use super::super::key::{Area, one};

pub(super) static AREA: Area = Area {
    heading: "Logging",
    keys: &[
        one!("log-format", "FORMAT", "human or json", log.format),
        one!(
            "log-level",
            "FILTER",
            "error, warn, info, debug or trace, also per crate: info,portolan_replica=debug",
            log.level
        ),
        one!(
            "log-queue",
            "LINES",
            "Lines that wait for a slow reader of the log; further ones are dropped and counted",
            log.queue
        ),
    ],
    bounds: bounds! {
        "log-queue" size log.queue, 1, 10_000_000, Ones;
    },
};
