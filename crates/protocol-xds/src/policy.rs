//! How a service wants to be called: what its metadata says under keys that begin with `xds-`.
//!
//! A service's own metadata comes first (Nacos has a place for it). Where it says nothing, that of the first endpoint that says something
//! counts, which is how a Consul or Eureka registration says it. A value that cannot be read is as if it were not there, and `why` tells.

use std::str::FromStr;

use portolan_catalog::{Meta, ServiceKey, State};
use prost_types::Duration;

/// What all keys begin with.
const PREFIX: &str = "xds-";

/// How callers spread their calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Balance {
    #[default]
    RoundRobin,
    LeastRequest,
    RingHash,
    Random,
    Maglev,
}

/// Whom callers prefer that say where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// Those of their region.
    #[default]
    Region,
    /// Those of their zone, then those of their region.
    Zone,
    /// Nobody.
    Nobody,
}

/// What a proxy speaks to instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// What the caller spoke.
    #[default]
    AsAsked,
    Http1,
    Http2,
}

/// How a service wants to be called. What is none is left to the client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    pub(crate) balance: Balance,
    pub(crate) prefer: Prefer,
    pub(crate) spoken: Spoken,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) breaker: Breaker,
    pub(crate) retry: Retry,
    pub(crate) outlier: Outlier,
}

/// Circuit breakers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub(crate) connections: Option<u32>,
    pub(crate) pending: Option<u32>,
    pub(crate) requests: Option<u32>,
    pub(crate) retries: Option<u32>,
}

/// Retries, if `on` is not empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Retry {
    pub(crate) on: String,
    pub(crate) times: Option<u32>,
    pub(crate) per_try: Option<Duration>,
    pub(crate) back_off: Option<Duration>,
    pub(crate) max_back_off: Option<Duration>,
}

/// Outlier detection, if anything is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outlier {
    pub(crate) consecutive: Option<u32>,
    pub(crate) interval: Option<Duration>,
    pub(crate) ejection: Option<Duration>,
    pub(crate) percent: Option<u32>,
    pub(crate) failure_percent: Option<u32>,
}

impl Policy {
    /// The policy of a service, and what of its words could not be understood.
    pub(crate) fn of(state: &State, service: &ServiceKey) -> (Policy, Vec<String>) {
        let own = state.service(service).map(|row| &row.settings.meta);
        if let Some(meta) = own.filter(|meta| says(meta)) {
            return Policy::read(meta);
        }
        let first = state
            .endpoints(service)
            .map(|row| &row.primary().meta)
            .find(|meta| says(meta));
        first.map_or_else(Default::default, Policy::read)
    }

    fn read(meta: &Meta) -> (Policy, Vec<String>) {
        let mut policy = Policy::default();
        let mut wrong = Vec::new();
        for (key, value) in meta.iter() {
            let Some(word) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if policy.set(word, value).is_none() {
                wrong.push(format!("\"{key}\" = \"{value}\""));
            }
        }
        (policy, wrong)
    }

    fn set(&mut self, word: &str, value: &str) -> Option<()> {
        match word {
            "lb-policy" => self.balance = balance(value)?,
            "prefer" => {
                self.prefer = match value {
                    "region" => Prefer::Region,
                    "zone" => Prefer::Zone,
                    "none" => Prefer::Nobody,
                    _ => return None,
                }
            }
            "protocol" => {
                self.spoken = match value {
                    "http" | "http1" => Spoken::Http1,
                    "http2" | "grpc" => Spoken::Http2,
                    _ => return None,
                }
            }
            "connect-timeout" => self.connect_timeout = Some(positive(value)?),
            "timeout" => self.timeout = Some(positive(value)?),
            "max-connections" => self.breaker.connections = Some(number(value)?),
            "max-pending-requests" => self.breaker.pending = Some(number(value)?),
            "max-requests" => self.breaker.requests = Some(number(value)?),
            "max-retries" => self.breaker.retries = Some(number(value)?),
            "retry-on" => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_,. ".contains(&b);
                if value.is_empty() || !value.bytes().all(plain) {
                    return None;
                }
                value.clone_into(&mut self.retry.on);
            }
            "num-retries" => self.retry.times = Some(number(value).filter(|times| *times > 0)?),
            "per-try-timeout" => self.retry.per_try = Some(positive(value)?),
            "retry-back-off" => self.retry.back_off = Some(positive(value)?),
            "retry-max-back-off" => self.retry.max_back_off = Some(positive(value)?),
            "outlier-consecutive-5xx" => self.outlier.consecutive = Some(number(value)?),
            "outlier-interval" => self.outlier.interval = Some(positive(value)?),
            "outlier-ejection-time" => self.outlier.ejection = Some(positive(value)?),
            "outlier-max-percent" => self.outlier.percent = Some(percent(value)?),
            "outlier-failure-percent" => self.outlier.failure_percent = Some(percent(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn says(meta: &Meta) -> bool {
    meta.iter().any(|(key, _)| key.starts_with(PREFIX))
}

fn balance(value: &str) -> Option<Balance> {
    Some(match value {
        "round_robin" => Balance::RoundRobin,
        "least_request" => Balance::LeastRequest,
        "ring_hash" => Balance::RingHash,
        "random" => Balance::Random,
        "maglev" => Balance::Maglev,
        _ => return None,
    })
}

fn number<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

fn percent(value: &str) -> Option<u32> {
    number(value).filter(|percent| *percent <= 100)
}

/// A time such as `250ms`, `5s`, `2m` or `1h`, more than none and at most a day.
fn positive(value: &str) -> Option<Duration> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &value[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let ms = number::<u32>(digits).and_then(|number| u64::from(number).checked_mul(unit))?;
    if ms == 0 || ms > 86_400_000 {
        return None;
    }
    Some(Duration {
        seconds: (ms / 1000) as i64,
        nanos: (ms % 1000 * 1_000_000) as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let rows = [
            ("xds-timeout", "250ms", true),
            ("xds-timeout", "1h", true),
            ("xds-timeout", "0s", false),
            ("xds-timeout", "-1s", false),
            ("xds-timeout", "25h", false),
            ("xds-timeout", "5", false),
            ("xds-timeout", "é", false),
            ("xds-max-requests", "0", true),
            ("xds-max-requests", "4294967296", false),
            ("xds-lb-policy", "ring_hash", true),
            ("xds-lb-policy", "best", false),
            ("xds-retry-on", "unavailable,5xx", true),
            ("xds-retry-on", "a\nb", false),
            ("xds-num-retries", "0", false),
            ("xds-outlier-max-percent", "101", false),
            ("xds-unheard-of", "1", false),
            ("other", "1", true),
        ];
        for (key, value, fine) in rows {
            let (policy, wrong) = Policy::read(&[(key, value)].into_iter().collect());
            assert_eq!(wrong.is_empty(), fine, "{key} {value}: {policy:?}");
            assert!(fine || policy == Policy::default(), "{key} {value}");
        }
    }
}
