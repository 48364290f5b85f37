//! How a service wants to be called: what its metadata says.
//!
//! A service's own metadata comes first (Nacos has a place for it). Where it says nothing, that of the first endpoint that says something
//! counts, which is how a Consul or Eureka registration says it. A value that cannot be read is as if it were not there, and `why` tells.

use std::time::Duration;

use portolan_balance::Policy as Way;
use portolan_catalog::{EndpointRow, Meta, Service};

/// What a request's place is found by, for the ways that go by a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HashBy {
    /// The client's address.
    #[default]
    Source,
    /// A field of the head.
    Header(http::HeaderName),
    /// A cookie, which is set where it is missing.
    Cookie(String),
    /// The path.
    Path,
    /// A parameter of the query.
    Query(String),
}

/// How a service wants to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) way: Way,
    pub(crate) hash_by: HashBy,
    /// Time until the head of the answer, if not that of the gateway.
    pub(crate) timeout: Option<Duration>,
    /// HTTP/2 is spoken to the endpoints, whatever the caller spoke.
    pub(crate) grpc: bool,
}

/// The keys that are read.
const KEYS: [&str; 4] = ["lb", "lb-hash", "timeout", "protocol"];

impl Policy {
    /// The policy of a service, and what of its words could not be understood.
    pub(crate) fn of<'a>(
        service: Option<&Service>,
        mut endpoints: impl Iterator<Item = &'a EndpointRow>,
    ) -> (Policy, Vec<String>) {
        let says = |meta: &Meta| KEYS.iter().any(|key| meta.get(key).is_some());
        let own = service.map(|row| &row.settings.meta);
        if let Some(meta) = own.filter(|meta| says(meta)) {
            return Policy::read(meta);
        }
        let first = endpoints.find_map(|row| Some(&row.primary().meta).filter(|meta| says(meta)));
        first.map_or_else(Default::default, Policy::read)
    }

    fn read(meta: &Meta) -> (Policy, Vec<String>) {
        let mut policy = Policy::default();
        let mut wrong = Vec::new();
        for key in KEYS {
            if let Some(value) = meta.get(key)
                && policy.set(key, value.trim()).is_none()
            {
                wrong.push(format!("\"{key}\" = \"{value}\""));
            }
        }
        (policy, wrong)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "lb" => {
                self.way = match value {
                    "round_robin" => Way::RoundRobin,
                    "random" => Way::Random,
                    "least_request" => Way::LeastRequest,
                    "peak_ewma" => Way::PeakEwma,
                    "maglev" => Way::Maglev,
                    "ring" => Way::Ring,
                    "first" => Way::First,
                    _ => return None,
                }
            }
            "lb-hash" => {
                self.hash_by = match value.split_once(':') {
                    None if value == "source" => HashBy::Source,
                    None if value == "path" => HashBy::Path,
                    Some(("header", name)) => HashBy::Header(name.parse().ok()?),
                    Some(("cookie", name)) if is_token(name) => HashBy::Cookie(name.to_owned()),
                    Some(("query", name)) if !name.is_empty() => HashBy::Query(name.to_owned()),
                    _ => return None,
                }
            }
            "timeout" => self.timeout = Some(duration(value)?),
            "protocol" => {
                self.grpc = match value {
                    "grpc" => true,
                    "http" => false,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// Whether a word is a token of RFC 9110: the name of a cookie, a field or a method.
pub(crate) fn is_token(word: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(token)
}

/// A time such as `1s`, `500ms` or `2m`; not zero, at most a day.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (!time.is_zero() && time <= Duration::from_secs(86_400)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_and_what_is_wrong_is_told() {
        let meta = |pairs: &[(&str, &str)]| -> Meta { pairs.iter().copied().collect() };
        let rows = [
            ("lb", "maglev", true),
            ("lb", "least_request", true),
            ("lb", "fastest", false),
            ("lb-hash", "header:X-User", true),
            ("lb-hash", "cookie:sid", true),
            ("lb-hash", "cookie:a b", false),
            ("lb-hash", "source", true),
            ("lb-hash", "path", true),
            ("lb-hash", "query:user", true),
            ("lb-hash", "colour", false),
            ("timeout", "1s", true),
            ("timeout", "250ms", true),
            ("timeout", "0s", false),
            ("timeout", "soon", false),
            ("protocol", "grpc", true),
            ("protocol", "gopher", false),
        ];
        for (key, value, good) in rows {
            let (policy, wrong) = Policy::read(&meta(&[(key, value)]));
            assert_eq!(wrong.is_empty(), good, "{key}={value}");
            let default = value == "source";
            assert_eq!(
                policy != Policy::default(),
                good && !default,
                "{key}={value}"
            );
        }
    }
}
