//! Query strings: the parameters every read understands, and Go's booleans.

use super::duration::parse_duration;
use crate::error::Failure;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
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

/// Whether a `Cache-Control` header can be read: the directives with a number have one.
pub(crate) fn is_cache_control(header: &[u8]) -> bool {
    header
        .to_ascii_lowercase()
        .split(|byte| *byte == b',')
        .all(|directive| {
            let directive = directive.trim_ascii();
            let seconds = [&b"max-age="[..], b"stale-if-error="]
                .into_iter()
                .find_map(|name| directive.strip_prefix(name));
            seconds.is_none_or(|text| {
                std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok())
            })
        })
}

/// What is written as it is in a query string.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

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
    ///
    /// # Errors
    /// The sentence of Go's `strconv.ParseUint`; what status it has differs from call to call.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        if !self.has(name) {
            return Ok(None);
        }
        let text = self.get(name);
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits {
            "value out of range"
        } else {
            "invalid syntax"
        };
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(format!("strconv.ParseUint: parsing {text:?}: {why}")),
        }
    }

    /// Refuses more than one of `flags`, which exclude one another.
    ///
    /// # Errors
    /// 400 with all parameters, sorted by name.
    pub(crate) fn at_most_one_of(&self, flags: &[&str]) -> Result<(), Failure> {
        if flags.iter().filter(|flag| self.has(flag)).count() < 2 {
            return Ok(());
        }
        let mut pairs = self.pairs.clone();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let encode = |text: &str| {
            utf8_percent_encode(text, QUERY)
                .to_string()
                .replace("%20", "+")
        };
        let shown: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect();
        Err(Failure::bad(format!(
            "Conflicting flags: {}\n",
            shown.join("&")
        )))
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
            stale |= parse_duration(params.get("max_stale")).is_ok_and(|nanos| nanos > 0);
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
    fn a_bound_of_nothing_asks_for_nothing_stale() {
        assert_eq!(
            read("max_stale=0s").unwrap().consistency,
            Consistency::Leader
        );
        assert_eq!(
            read("max_stale=x").unwrap_err(),
            "Invalid max_stale value \"x\""
        );
    }

    #[test]
    fn cache_directives_have_numbers_where_they_need_them() {
        for header in ["no-cache", "max-age=0, must-revalidate", "MAX-AGE=5", ""] {
            assert!(is_cache_control(header.as_bytes()), "{header}");
        }
        for header in ["max-age=", "max-age=x", "no-cache, stale-if-error=1s"] {
            assert!(!is_cache_control(header.as_bytes()), "{header}");
        }
    }

    #[test]
    fn flags_that_exclude_each_other_are_told_as_go_does() {
        let params = Params::parse("cas=0&acquire=a+b&flags=1");
        assert!(params.at_most_one_of(&["cas", "release"]).is_ok());
        let refused = params.at_most_one_of(&["cas", "acquire"]).unwrap_err();
        assert_eq!(
            refused.text,
            "Conflicting flags: acquire=a+b&cas=0&flags=1\n"
        );
        assert_eq!(
            Params::parse("cas=x").number("cas").unwrap_err(),
            "strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert!(Params::parse("cas=+1").number("cas").is_err());
        assert_eq!(Params::parse("cas=7").number("cas"), Ok(Some(7)));
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
