//! The parameters of one request: of the query and of a form, in that order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use portolan_listener::{Caller, Request, read_body_decoded};
use serde_json::Value;

use super::Form;
use crate::app::App;
use crate::auth;
use crate::error::Problem;
use crate::names::ServiceName;
use crate::translate::{self, Checked};
use crate::wire::instance::{self as wire, text_of};

/// One request, read.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    pub(crate) form: Form,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pairs: Vec<(String, String)>,
}

/// Parameters of one request at most.
const PAIRS: usize = 1_000;

impl Asked {
    /// Reads query and form.
    pub(crate) async fn read(
        app: Arc<App>,
        mut request: Request,
        form: Form,
    ) -> Result<Asked, Problem> {
        let caller = Caller::of(&request);
        let mut pairs = decode(request.uri().query().unwrap_or_default())?;
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let is_form = kind.is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let has_body = *request.method() != Method::GET && *request.method() != Method::HEAD;
        if is_form && has_body {
            let limits = caller.context().limits().clone();
            let most = crate::BODY_BYTES;
            let body =
                read_body_decoded(&mut request, most, most.max(limits.decompressed_bytes)).await?;
            let body =
                std::str::from_utf8(&body).map_err(|_| Problem::invalid("the form is not text"))?;
            pairs.extend(decode(body.trim())?);
        }
        if pairs.len() > PAIRS {
            return Err(Problem::invalid("too many parameters"));
        }
        let token = pairs.iter().find(|(name, _)| name == auth::PARAMETER);
        let token = token.map(|(_, token)| token.trim());
        let caller = app.auth.identified(caller, token);
        Ok(Asked {
            app,
            caller,
            form,
            method: request.method().clone(),
            headers: request.headers().clone(),
            pairs,
        })
    }

    /// The first value of a parameter; an empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.trim().is_empty())
    }

    /// The first value of a parameter, empty or not.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first of several spellings.
    pub(crate) fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A parameter, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A parameter that has to be there.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Problem> {
        self.get(name).ok_or(Problem::Missing(name))
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.get(name).map(str::trim) {
            None => Ok(None),
            Some(text)
                if ["true", "on", "yes", "1"]
                    .iter()
                    .any(|it| text.eq_ignore_ascii_case(it)) =>
            {
                Ok(Some(true))
            }
            Some(text)
                if ["false", "off", "no", "0"]
                    .iter()
                    .any(|it| text.eq_ignore_ascii_case(it)) =>
            {
                Ok(Some(false))
            }
            Some(text) => Err(Problem::invalid(format!(
                "{name} {text:?} is not true or false"
            ))),
        }
    }

    pub(crate) fn whole(&self, name: &'static str) -> Result<Option<i64>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Problem::invalid(format!(
                    "{name} {text:?} is not a whole number"
                ))),
            },
        }
    }

    pub(crate) fn number(&self, name: &'static str) -> Result<Option<f64>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                Ok(_) | Err(_) => Err(Problem::invalid(format!("{name} {text:?} is not a number"))),
            },
        }
    }

    /// Number and size of the page that is asked for.
    pub(crate) fn page(&self, size: usize) -> Result<(usize, usize), Problem> {
        let whole = |number: Option<i64>, default: usize| match number {
            Some(number @ 1..) => usize::try_from(number).unwrap_or(usize::MAX),
            Some(_) | None => default,
        };
        Ok((
            whole(self.whole("pageNo")?, 1),
            whole(self.whole("pageSize")?, size).min(10_000),
        ))
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.text("namespaceId")
    }

    /// The service that is named.
    pub(crate) fn service(&self) -> Result<ServiceName, Problem> {
        let name = self.required("serviceName")?;
        Ok(ServiceName::new(
            self.namespace(),
            self.text("groupName"),
            name,
        )?)
    }

    /// A threshold between nought and one, in thousandths.
    pub(crate) fn threshold(&self) -> Result<Option<u32>, Problem> {
        match self.number("protectThreshold")? {
            None => Ok(None),
            Some(part) if (0.0..=1.0).contains(&part) => Ok(Some((part * 1000.0).round() as u32)),
            Some(part) => Err(Problem::invalid(format!(
                "protectThreshold {part} is not between 0 and 1"
            ))),
        }
    }

    /// The metadata, if it is given.
    pub(crate) fn metadata(&self) -> Result<Option<BTreeMap<String, String>>, Problem> {
        self.given("metadata").map(metadata).transpose()
    }

    /// The instance that is described, checked.
    pub(crate) fn instance(&self) -> Result<Checked, Problem> {
        self.required("ip")?;
        self.required("port")?;
        let sent = wire::Instance {
            ip: self.get("ip").map(str::to_owned),
            port: self.whole("port")?,
            weight: self.number("weight")?,
            healthy: self.flag("healthy")?,
            enabled: match self.flag("enabled")? {
                Some(enabled) => Some(enabled),
                None => self.flag("enable")?,
            },
            ephemeral: self.flag("ephemeral")?,
            cluster_name: self.any(&["clusterName", "cluster"]).map(str::to_owned),
            metadata: self.metadata()?.unwrap_or_default(),
        };
        Ok(translate::checked(&sent)?)
    }
}

/// The pairs of a query or form.
pub(crate) fn decode(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let part = |part: &str| -> Result<String, Problem> {
        let spaced: Cow<'_, str> = match part.contains('+') {
            true => part.replace('+', " ").into(),
            false => part.into(),
        };
        let decoded = percent_decode_str(&spaced).decode_utf8();
        let decoded = decoded.map_err(|_| Problem::invalid("a parameter is not text"))?;
        Ok(decoded.into_owned())
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(key)?, part(value)?))
        })
        .collect()
}

/// Metadata as a JSON object or as `key=value,key=value`.
pub(crate) fn metadata(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return Ok(BTreeMap::new());
    }
    if text.starts_with('{') {
        let pairs: BTreeMap<String, Value> = serde_json::from_str(text)
            .map_err(|_| Problem::invalid(format!("metadata {text:?} is not a JSON object")))?;
        let pairs = pairs.into_iter();
        return Ok(pairs
            .filter_map(|(key, value)| Some((key, text_of(value)?)))
            .collect());
    }
    text.split(',')
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Problem::invalid(format!("metadata {text:?} is not key=value,key=value"))
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_metadata() {
        assert_eq!(
            decode("a=1&b=%E4%B8%AD+x&c").unwrap(),
            [("a", "1"), ("b", "中 x"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(decode("a=%ff").is_err());
        let rows = [
            ("", ""),
            ("null", ""),
            (r#"{"a":"b","n":1}"#, "a=b,n=1"),
            ("a=b, c=d", "a=b,c=d"),
        ];
        for (text, expected) in rows {
            let pairs = metadata(text).unwrap();
            let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(pairs.join(","), expected, "{text}");
        }
        assert!(metadata("nonsense").is_err() && metadata("{").is_err());
    }
}
