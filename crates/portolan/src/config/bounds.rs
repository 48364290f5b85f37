//! Values that are too small or too large to be meant, each refused with what would do.

use std::time::Duration;

use super::Config;
use super::value::{Setting, print_bytes};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Ones,
    Bytes,
    Milliseconds,
}

/// One key's bounds, both inclusive.
struct Bound {
    key: &'static str,
    of: fn(&Config) -> u64,
    least: u64,
    most: u64,
    unit: Unit,
}

const ANY: u64 = u64::MAX;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: u64 = 86_400_000;

fn whole(value: impl Into<u64>) -> u64 {
    value.into()
}

fn size(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn ms(value: Duration) -> u64 {
    u64::try_from(value.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! bounds {
    ($($key:literal $of:ident $($field:ident).+, $least:expr, $most:expr, $unit:ident;)*) => {
        &[$(Bound {
            key: $key,
            of: |config| $of(config.$($field).+),
            least: $least,
            most: $most,
            unit: Unit::$unit,
        }),*]
    };
}

/// Keys that are not here take every value of their type.
static BOUNDS: &[Bound] = bounds! {
    "worker-threads" size worker_threads, 0, 1024, Ones;
    "log-queue" size log.queue, 1, 10_000_000, Ones;
    "limit-connections" size limits.connections, 1, ANY, Ones;
    "limit-connections-per-peer" size limits.connections_per_peer, 1, ANY, Ones;
    "limit-streams-per-connection" whole limits.streams_per_connection, 1, ANY, Ones;
    "limit-header-bytes" size limits.header_bytes, 8 * KIB, 16 * MIB, Bytes;
    "limit-header-count" size limits.header_count, 16, 10_000, Ones;
    "limit-header-timeout" ms limits.header_timeout, 100, DAY, Milliseconds;
    "limit-body-bytes" size limits.body_bytes, KIB, 1024 * MIB, Bytes;
    "limit-decompressed-bytes" size limits.decompressed_bytes, KIB, 1024 * MIB, Bytes;
    "limit-body-timeout" ms limits.body_timeout, 100, DAY, Milliseconds;
    "limit-linger-bytes" size limits.linger_bytes, 0, 16 * 1024 * MIB, Bytes;
    "limit-linger-timeout" ms limits.linger_timeout, 0, DAY, Milliseconds;
    "limit-write-timeout" ms limits.write_timeout, 100, DAY, Milliseconds;
    "limit-idle-timeout" ms limits.idle_timeout, 100, 365 * DAY, Milliseconds;
    "limit-keepalive-interval" ms limits.keepalive_interval, 1000, DAY, Milliseconds;
    "limit-keepalive-timeout" ms limits.keepalive_timeout, 100, DAY, Milliseconds;
    // What reads JSON goes no deeper.
    "limit-json-depth" size limits.json_depth, 8, 127, Ones;
    "limit-drain-timeout" ms limits.drain_timeout, 0, DAY, Milliseconds;
    "history-age" whole retention.age_ms, 0, 365 * DAY, Milliseconds;
    "history-memory-bytes" whole retention.memory_bytes, MIB, 1024 * 1024 * MIB, Bytes;
    // So that the largest request fits.
    "storage-segment-bytes" whole storage.segment_bytes, 2 * MIB, 1024 * MIB, Bytes;
    "storage-queue" size storage.queue, 1, 10_000_000, Ones;
    "storage-queue-wait" ms storage.queue_wait, 0, DAY, Milliseconds;
    "storage-decision-timeout" ms storage.decision_timeout, 100, DAY, Milliseconds;
    "etcd-request-bytes" size etcd.request_bytes, KIB, 512 * MIB, Bytes;
    "etcd-progress-interval" ms etcd.progress_interval, 100, DAY, Milliseconds;
    "guard-share" whole guard.share, 0, 1000, Ones;
    "guard-service-share" whole guard.service_share, 0, 1000, Ones;
    "check-probes" size checks.probes, 1, 100_000, Ones;
    "check-output-interval" ms checks.output_interval, 1000, DAY, Milliseconds;
    "dns-negative-ttl" ms dns.negative_ttl, 0, 5000, Milliseconds;
    "dns-max-udp-size" whole dns.max_udp_size, 512, 65_467, Bytes;
    "dns-cluster-max-udp-size" whole dns.cluster_max_udp_size, 512, 65_467, Bytes;
    "dns-cache-bytes" size dns.cache_bytes, MIB, ANY, Bytes;
    "dns-workers" size dns.workers, 0, 1024, Ones;
    "dns-tcp-idle" ms dns.tcp_idle, 100, DAY, Milliseconds;
};

/// Checks the value that `key` has now.
pub(super) fn check(key: &str, config: &Config) -> Result<(), String> {
    let Some(bound) = BOUNDS.iter().find(|bound| bound.key == key) else {
        return Ok(());
    };
    let value = (bound.of)(config);
    let print = |value: u64| match bound.unit {
        Unit::Ones => value.to_string(),
        Unit::Bytes => print_bytes(value),
        Unit::Milliseconds => Duration::from_millis(value).print(),
    };
    if value < bound.least {
        return Err(format!(
            "{} is too little; the least is {}",
            print(value),
            print(bound.least)
        ));
    }
    if value > bound.most {
        return Err(format!(
            "{} is too much; the most is {}",
            print(value),
            print(bound.most)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
    use super::*;

    #[test]
    fn every_bound_is_of_a_key_and_every_default_is_within() {
        for bound in BOUNDS {
            assert!(
                KEYS.iter().any(|key| key.name == bound.key),
                "{}",
                bound.key
            );
            check(bound.key, &Config::default()).unwrap();
        }
    }
}
