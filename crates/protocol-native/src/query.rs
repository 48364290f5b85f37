//! Query strings and percent-encoded path parts.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use portolan_listener::Request;

use crate::error::Failure;

/// The parameters of a request. Names that a route does not know are refused, so that a misspelt filter does not select everything.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the parameters; each name must be one of `known`.
    pub(crate) fn of(request: &Request, known: &[&str]) -> Result<Query, Failure> {
        let mut pairs = Vec::new();
        let text = request.uri().query().unwrap_or("");
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decoded(&name.replace('+', " "))?.into_owned();
            if !known.contains(&&*name) {
                return Err(Failure::bad(format!(
                    "unknown parameter {name:?}; this takes {}",
                    list(known)
                )));
            }
            pairs.push((name, decoded(&value.replace('+', " "))?.into_owned()));
        }
        Ok(Query(pairs))
    }

    /// The value of a parameter, if it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// Whether a switch is on: there, and not `false` or `0`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.is_some_and(|(_, value)| value != "false" && value != "0")
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Failure::bad(format!("parameter {name}={text:?} is not a number")))
        };
        self.get(name).map(number).transpose()
    }
}

fn list(known: &[&str]) -> String {
    if known.is_empty() {
        "none".into()
    } else {
        known.join(", ")
    }
}

/// Text that may be percent-encoded.
pub(crate) fn decoded(text: &str) -> Result<Cow<'_, str>, Failure> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Failure::bad(format!("{text:?} is not percent-encoded UTF-8")))
}

/// Bytes that may be percent-encoded.
pub(crate) fn decoded_bytes(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}
