//! When many leases at once are rather our fault than theirs.

use super::super::bounds::bounds;
use super::super::key::{Area, one};

pub(super) static AREA: Area = Area {
    heading: "Mass-expiry guard",
    keys: &[
        one!(
            "guard-share",
            "THOUSANDTHS",
            "Share of all instances that must not fall silent at once",
            guard.share
        ),
        one!("guard-least", "N", "And at least so many", guard.least),
        one!(
            "guard-service-share",
            "THOUSANDTHS",
            "Share of one service's instances that must not fall silent at once",
            guard.service_share
        ),
        one!(
            "guard-service-least",
            "N",
            "And at least so many of it",
            guard.service_least
        ),
    ],
    bounds: bounds! {
        "guard-share" whole guard.share, 0, 1000, Ones;
        "guard-service-share" whole guard.service_share, 0, 1000, Ones;
    },
};
