//! etcd's own limits.

use super::super::bounds::{DAY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "etcd",
    keys: &[
        bytes!(
            "etcd-request-bytes",
            "Size of what one etcd request may keep",
            etcd.request_bytes
        ),
        bytes!(
            "etcd-quota-backend-bytes",
            "Size of log and snapshots beyond which etcd writes are refused, as by etcd's --quota-backend-bytes",
            etcd.quota_bytes
        ),
        one!(
            "etcd-progress-interval",
            "TIME",
            "Time between progress notifications of a quiet etcd watch",
            etcd.progress_interval
        ),
    ],
    bounds: bounds! {
        "etcd-request-bytes" size etcd.request_bytes, KIB, 512 * MIB, Bytes;
        "etcd-quota-backend-bytes" whole etcd.quota_bytes, MIB, 1 << 50, Bytes;
        "etcd-progress-interval" ms etcd.progress_interval, 100, DAY, Milliseconds;
    },
};
