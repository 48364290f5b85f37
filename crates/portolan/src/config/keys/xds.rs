//! What xDS tells proxies, and its own limits.

use super::super::bounds::{ANY, KIB, MIB, bounds};
use super::super::key::{Area, Key, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "xDS",
    keys: &[
        Key {
            set: |config, text| {
                config.xds.egress = match text.trim() {
                    "off" => None,
                    text => Some(text.parse().map_err(|_| {
                        format!(
                            "{text:?} is not an address; write IP:PORT, such as 127.0.0.1:10000, or off"
                        )
                    })?),
                };
                Ok(())
            },
            show: |config| {
                let egress = config.xds.egress.map(|address| address.to_string());
                egress.unwrap_or_else(|| "off".to_owned())
            },
            ..one!(
                "xds-egress",
                "ADDR",
                "Where an Envoy is told to listen for calls to any service by its name; off tells it of no listener",
                xds.streams
            )
        },
        one!(
            "xds-streams",
            "N",
            "xDS streams that are open at a time",
            xds.streams
        ),
        one!(
            "xds-names",
            "N",
            "Resources that one xDS stream may ask for by name",
            xds.names
        ),
        bytes!(
            "xds-request-bytes",
            "Size of one xDS request",
            xds.request_bytes
        ),
    ],
    bounds: bounds! {
        "xds-streams" size xds.streams, 1, ANY, Ones;
        "xds-names" size xds.names, 1, ANY, Ones;
        "xds-request-bytes" size xds.request_bytes, 16 * KIB, 64 * MIB, Bytes;
    },
};
