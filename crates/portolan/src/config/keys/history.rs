//! How much of the past is kept.

use std::time::Duration;

use super::super::bounds::{ANY, DAY, MIB, bounds};
use super::super::key::{Area, Key, Shape, bytes, one};
use super::super::value::Setting;

pub(super) static AREA: Area = Area {
    heading: "History",
    keys: &[
        Key {
            name: "history-age",
            shape: Shape::One,
            hint: "TIME",
            help: "How long changes are kept, for watches that resume, reads at an earlier time and why",
            set: |config, text| {
                let age = Duration::parse(text)?.as_millis();
                config.retention.age_ms = u64::try_from(age).unwrap_or(u64::MAX);
                Ok(())
            },
            clear: |_| {},
            show: |config| Duration::from_millis(config.retention.age_ms).print(),
        },
        one!(
            "history-changes",
            "N",
            "How many changes are kept; 0 is no bound",
            retention.changes
        ),
        bytes!(
            "history-bytes",
            "How large the files of changes may be; never more than a tenth of what the disk has for them",
            retention.disk_bytes
        ),
        bytes!(
            "history-memory-bytes",
            "How much memory the newest changes may take; older ones are in files",
            retention.memory_bytes
        ),
    ],
    bounds: bounds! {
        "history-age" whole retention.age_ms, 1000, 365 * DAY, Milliseconds;
        "history-bytes" whole retention.disk_bytes, MIB, ANY, Bytes;
        "history-memory-bytes" whole retention.memory_bytes, MIB, 1024 * 1024 * MIB, Bytes;
    },
};
