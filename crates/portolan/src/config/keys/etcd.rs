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
        one!(
            "etcd-auth-token-ttl",
            "TIME",
            "Time that a token of etcd's users is good without being used, as etcd's --auth-token-ttl",
            etcd.token_ttl
        ),
        one!(
            "etcd-bcrypt-cost",
            "COST",
            "What hashing a password of etcd's users costs, as etcd's --bcrypt-cost; one more is twice the time",
            etcd.password_cost
        ),
    ],
    bounds: bounds! {
        "etcd-request-bytes" size etcd.request_bytes, KIB, 512 * MIB, Bytes;
        "etcd-quota-backend-bytes" whole etcd.quota_bytes, MIB, 1 << 50, Bytes;
        "etcd-progress-interval" ms etcd.progress_interval, 100, DAY, Milliseconds;
        "etcd-auth-token-ttl" ms etcd.token_ttl, 1000, 365 * DAY, Milliseconds;
        "etcd-bcrypt-cost" whole etcd.password_cost, 4, 31, Ones;
    },
};
