//! A request's query: what lists, watches and writes may ask for, and which of it contradicts itself.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::error::{Cause, Failure};
use crate::kind::Kind;
use crate::selector::Selector;

/// What a version in a query means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Nothing was said: the latest.
    Latest,
    /// Whatever is here.
    Any,
    /// At least that one.
    NotOlder(u64),
    /// That one.
    Exact(u64),
}

/// Bytes of a manager's name.
pub(crate) const MANAGER: usize = 128;

/// Whether unknown fields are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    Strict,
    Warn,
    Ignore,
}

/// The query of a request.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    values: BTreeMap<String, String>,
}

impl Params {
    /// Reads a query. Of equal names the first one counts.
    pub(crate) fn read(query: &str) -> Params {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                let spaced = text.replace('+', " ");
                percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
            };
            values.entry(decode(name)).or_insert_with(|| decode(value));
        }
        Params { values }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// A truth value: `true` or `1`; also the bare name, as the API server reads it.
    pub(crate) fn truth(&self, name: &str) -> bool {
        match self.values.get(name) {
            None => false,
            Some(value) => !matches!(value.as_str(), "false" | "0"),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.truth("watch")
    }

    /// Rows of a page; none for all.
    pub(crate) fn limit(&self) -> Result<Option<usize>, Failure> {
        let limit = self.number("limit")?.filter(|limit| *limit > 0);
        Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let seconds = self
            .number("timeoutSeconds")?
            .filter(|seconds| *seconds > 0);
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.min(86_400))))
    }

    pub(crate) fn selector(&self, kind: &Kind) -> Result<Selector, Failure> {
        Selector::read(kind, self.get("labelSelector"), self.get("fieldSelector"))
    }

    fn version_number(&self) -> Result<Option<u64>, Failure> {
        match self.get("resourceVersion") {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Failure::list_options(&[Cause::invalid(
                    "resourceVersion",
                    &Value::from(text),
                    "must be a decimal number",
                )])),
            },
        }
    }

    /// Which version a get asks for.
    pub(crate) fn get_version(&self) -> Result<Version, Failure> {
        Ok(match self.version_number()? {
            None => Version::Latest,
            Some(0) => Version::Any,
            Some(number) => Version::NotOlder(number),
        })
    }

    /// Which version a list asks for.
    pub(crate) fn list_version(&self) -> Result<Version, Failure> {
        let (version, matching) = (self.version_number()?, self.get("resourceVersionMatch"));
        let mut causes = Vec::new();
        let cause = |field: &str, why: &str| Cause::forbidden(field, why);
        if self.values.contains_key("sendInitialEvents") {
            causes.push(cause(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        if !matching.is_empty() {
            if version.is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                causes.push(cause("resourceVersionMatch", why));
            }
            if !self.get("continue").is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                causes.push(cause("resourceVersionMatch", why));
            }
            match matching {
                "NotOlderThan" => {}
                "Exact" if version == Some(0) => {
                    let why =
                        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                    causes.push(cause("resourceVersionMatch", why));
                }
                "Exact" => {}
                other => causes.push(Cause::unsupported(
                    "resourceVersionMatch",
                    &Value::from(other),
                    &["Exact", "NotOlderThan", ""],
                )),
            }
        }
        if !causes.is_empty() {
            return Err(Failure::list_options(&causes));
        }
        Ok(match version {
            None => Version::Latest,
            Some(0) => Version::Any,
            Some(number) if matching == "Exact" => Version::Exact(number),
            // A page of a given version, without saying how it is meant, is of exactly that one.
            Some(number) if matching.is_empty() && self.limit()?.is_some() => {
                Version::Exact(number)
            }
            Some(number) => Version::NotOlder(number),
        })
    }

    /// From where a watch goes on, and whether it begins with what there is and a bookmark.
    pub(crate) fn watch_version(&self) -> Result<(Version, bool), Failure> {
        let (version, matching) = (self.version_number()?, self.get("resourceVersionMatch"));
        let initial = self.truth("sendInitialEvents");
        let mut causes = Vec::new();
        if self.values.contains_key("sendInitialEvents") {
            if matching != "NotOlderThan" {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                causes.push(Cause::forbidden("resourceVersionMatch", why));
            }
            if initial && !self.truth("allowWatchBookmarks") {
                let why = "sendInitialEvents requires setting allowWatchBookmarks to true";
                causes.push(Cause::forbidden("allowWatchBookmarks", why));
            }
        } else if !matching.is_empty() {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden("resourceVersionMatch", why));
        }
        if !self.get("continue").is_empty() {
            causes.push(Cause::forbidden(
                "continue",
                "continue is forbidden for watch",
            ));
        }
        if !causes.is_empty() {
            return Err(Failure::list_options(&causes));
        }
        let version = match version {
            None => Version::Latest,
            Some(0) => Version::Any,
            Some(number) => Version::NotOlder(number),
        };
        Ok((version, initial))
    }

    /// Whether a write is only tried.
    pub(crate) fn dry_run(&self) -> Result<bool, Failure> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Failure::invalid_of(
                "CreateOptions",
                "meta.k8s.io",
                "",
                &[Cause::unsupported("dryRun", &Value::from(other), &["All"])],
            )),
        }
    }

    /// Whether an apply takes what others own.
    pub(crate) fn force(&self) -> bool {
        self.truth("force")
    }

    /// What a write says of who writes.
    ///
    /// # Errors
    /// 422 when it contradicts what is written.
    pub(crate) fn writes(&self, method: &Method, is_apply: bool) -> Result<(), Failure> {
        let options = match *method {
            Method::PATCH => "PatchOptions",
            Method::PUT => "UpdateOptions",
            Method::POST => "CreateOptions",
            _ => return Ok(()),
        };
        let manager = self.get("fieldManager");
        let mut causes = Vec::new();
        if is_apply && manager.is_empty() {
            let why = "is required for apply patch";
            causes.push(Cause::required("fieldManager", why));
        }
        if manager.len() > MANAGER {
            let why = format!("may not be more than {MANAGER} bytes");
            causes.push(Cause::too_long("fieldManager", &why));
        }
        let unprintable = manager.chars().enumerate().find(|(_, c)| c.is_control());
        if let Some((at, c)) = unprintable {
            let why = format!(
                "invalid character U+{:04X} (at position {at})",
                u32::from(c)
            );
            causes.push(Cause::invalid("fieldManager", &Value::from(manager), &why));
        }
        if *method == Method::PATCH && !is_apply && self.values.contains_key("force") {
            let why = "may not be specified for non-apply patch";
            causes.push(Cause::forbidden("force", why));
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Failure::invalid_of(options, "meta.k8s.io", "", &causes)),
        }
    }

    pub(crate) fn validation(&self) -> Result<Validation, Failure> {
        match self.get("fieldValidation") {
            "Strict" => Ok(Validation::Strict),
            "Ignore" => Ok(Validation::Ignore),
            "" | "Warn" => Ok(Validation::Warn),
            other => Err(Failure::invalid_of(
                "CreateOptions",
                "meta.k8s.io",
                "",
                &[Cause::unsupported(
                    "fieldValidation",
                    &Value::from(other),
                    &["Ignore", "Strict", "Warn"],
                )],
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_mean_what_is_said_beside_them() {
        let list = |query: &str| Params::read(query).list_version();
        assert_eq!(list(""), Ok(Version::Latest));
        assert_eq!(list("resourceVersion=0"), Ok(Version::Any));
        assert_eq!(list("resourceVersion=7"), Ok(Version::NotOlder(7)));
        assert_eq!(list("resourceVersion=7&limit=5"), Ok(Version::Exact(7)));
        assert_eq!(
            list("resourceVersion=7&resourceVersionMatch=Exact"),
            Ok(Version::Exact(7))
        );
        for query in [
            "resourceVersionMatch=Exact",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersion=5&resourceVersionMatch=Sometimes",
            "sendInitialEvents=true",
            "resourceVersion=x",
        ] {
            let failure = list(query).unwrap_err();
            assert!(
                failure
                    .message
                    .starts_with("ListOptions.meta.k8s.io \"\" is invalid"),
                "{failure}"
            );
        }
        let watch = |query: &str| Params::read(query).watch_version();
        assert_eq!(
            watch("resourceVersion=3"),
            Ok((Version::NotOlder(3), false))
        );
        let streaming =
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1";
        assert_eq!(watch(streaming), Ok((Version::Latest, true)));
        for query in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan",
        ] {
            assert!(watch(query).is_err(), "{query}");
        }
    }
}
