//! Query strings: the parameters every read understands, and Go's booleans.

use super::duration::parse_duration;
use crate::error::Failure;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::time::Duration;

/// The wait of a blocking query that names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);
/// The longest wait; longer ones are shortened, not refused.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The decoded pairs of a query string, in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    pub(crate) fn parse(query: &'a str) -> Self {
        let decode = |text: &'a str| -> Cow<'a, str> {
            if !text.contains(['%', '+']) {
                return Cow::Borrowed(text);
            }
            let spaced = text.replace('+', " ");
            Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
        };
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// Whether the parameter is there at all, with any value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key == name)
    }

    /// The first value, empty when absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// Every value of a repeatable parameter.
    pub(crate) fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// A flag: absent is off, bare is on, otherwise Go's booleans.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match (self.has(name), self.get(name)) {
            (false, _) => Ok(false),
            (true, "") => Ok(true),
            (true, text) => {
                parse_bool(text).ok_or_else(|| Failure::bad(format!("Invalid value for ?{name}")))
            }
        }
    }

    /// An unsigned number, none when absent.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        if !self.has(name) {
            return Ok(None);
        }
        let text = self.get(name);
        text.parse().map(Some).map_err(|_| {
            Failure::bad(format!(
                "Invalid value for ?{name}: {text:?} is not an unsigned number"
            ))
        })
    }

    /// Whether nothing but the parameters of a plain or blocking default read is there, so that a prepared answer fits.
    pub(crate) fn only(&self, known: &[&str]) -> bool {
        self.pairs
            .iter()
            .all(|(key, _)| known.contains(&key.as_ref()))
    }
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// What a leader would answer under its lease.
    Leader,
    /// Whatever this server has.
    Stale,
    /// Confirmed by a majority after the request came in.
    Consistent,
}

impl Consistency {
    /// The word of `X-Consul-Effective-Consistency`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Stale => "stale",
            Self::Consistent => "consistent",
        }
    }
}

/// The common parameters of reads.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    /// Zero answers at once.
    pub(crate) index: u64,
    /// Without the random part that is added.
    pub(crate) wait: Duration,
    pub(crate) consistency: Consistency,
    pub(crate) cached: bool,
}

impl ReadOptions {
    /// Reads `index`, `wait`, `stale`, `consistent`, `leader`, `max_stale`, `cached`.
    ///
    /// # Errors
    /// 400 with Consul's sentences.
    pub(crate) fn parse(params: &Params<'_>) -> Result<Self, Failure> {
        let wait = match params.get("wait") {
            "" => DEFAULT_WAIT,
            text => match parse_duration(text) {
                Ok(0) => DEFAULT_WAIT,
                Ok(nanos) if nanos > 0 => {
                    Duration::from_nanos(nanos.unsigned_abs()).min(LONGEST_WAIT)
                }
                _ => return Err(Failure::bad("Invalid wait time")),
            },
        };
        let index = match params.get("index") {
            "" => 0,
            text => text.parse().map_err(|_| Failure::bad("Invalid index"))?,
        };
        let mut stale = params.has("stale");
        let consistent = params.has("consistent");
        if !params.get("max_stale").is_empty() {
            if parse_duration(params.get("max_stale")).is_err() {
                return Err(Failure::bad(format!(
                    "Invalid max_stale value {:?}",
                    params.get("max_stale")
                )));
            }
            // Every answer here is younger than any bound a client can give, so the bound is always met.
            stale = true;
        }
        if params.has("leader") {
            stale = false;
        }
        let cached = params.has("cached");
        if stale && consistent {
            return Err(Failure::bad(
                "Cannot specify ?stale with ?consistent, conflicting semantics.",
            ));
        }
        if cached && consistent {
            return Err(Failure::bad(
                "Cannot specify ?cached with ?consistent, conflicting semantics.",
            ));
        }
        let consistency = match (stale, consistent) {
            (true, _) => Consistency::Stale,
            (_, true) => Consistency::Consistent,
            _ => Consistency::Leader,
        };
        Ok(Self {
            index,
            wait,
            consistency,
            cached,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<ReadOptions, String> {
        ReadOptions::parse(&Params::parse(query)).map_err(|failure| failure.text.into_owned())
    }

    #[test]
    fn waits_are_defaulted_and_clamped() {
        for (query, seconds) in [
            ("", 300),
            ("wait=0", 300),
            ("wait=0s", 300),
            ("wait=1h", 600),
            ("wait=5s", 5),
        ] {
            assert_eq!(
                read(query).unwrap().wait,
                Duration::from_secs(seconds),
                "{query}"
            );
        }
        for query in ["wait=10", "wait=nope", "wait=-1s"] {
            assert_eq!(read(query).unwrap_err(), "Invalid wait time");
        }
        assert_eq!(read("index=x").unwrap_err(), "Invalid index");
        assert_eq!(read("index=").unwrap().index, 0);
        assert_eq!(read("index=18446744073709551615").unwrap().index, u64::MAX);
    }

    #[test]
    fn consistency_conflicts_are_told() {
        assert_eq!(
            read("stale&consistent").unwrap_err(),
            "Cannot specify ?stale with ?consistent, conflicting semantics."
        );
        assert_eq!(
            read("cached&consistent").unwrap_err(),
            "Cannot specify ?cached with ?consistent, conflicting semantics."
        );
        assert_eq!(
            read("consistent=").unwrap().consistency,
            Consistency::Consistent
        );
        assert_eq!(
            read("max_stale=10s").unwrap().consistency,
            Consistency::Stale
        );
        assert_eq!(
            read("stale&leader").unwrap().consistency,
            Consistency::Leader
        );
    }

    #[test]
    fn parameters_are_decoded_once() {
        let params = Params::parse("filter=a+%3D%3D+b%2Bc&tag=x&tag=y&passing");
        assert_eq!(params.get("filter"), "a == b+c");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.flag("passing").map_err(|f| f.text), Ok(true));
        assert!(Params::parse("passing=nope").flag("passing").is_err());
        assert!(!Params::parse("passing=false").flag("passing").unwrap());
    }
}
