//! Lists, in pages. All pages are of the first one's version.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use http::StatusCode;
use portolan_catalog::{Key, KeyRange, Record, Revision};
use portolan_listener::{Action, Caller, Response};
use serde_json::{Value, json};
use std::sync::Arc;

use super::state_at;
use crate::accept::Accepted;
use crate::app::{App, allow_selected};
use crate::describe::table::Form;
use crate::error::Failure;
use crate::kind::{Kind, SPACE};
use crate::media::{self, Media};
use crate::object;
use crate::params::{Params, Version};
use crate::protobuf::Writer;
use crate::respond;
use crate::selector::Selector;

/// Where a list goes on: after which key, as of which version; none for whatever there is now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    revision: Option<u64>,
    start: String,
}

impl Token {
    fn write(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision));
        let text = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.start});
        URL_SAFE_NO_PAD.encode(text.to_string())
    }

    fn read(text: &str) -> Result<Token, Failure> {
        let bad = || Failure::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if value["v"] != "meta.k8s.io/v1" {
            return Err(bad());
        }
        Ok(Token {
            revision: value["rv"].as_u64(),
            start: value["start"].as_str().ok_or_else(bad)?.to_owned(),
        })
    }
}

const GONE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// The part of a range that comes after what was listed.
fn rest_of(range: KeyRange, after: &str, kind: &Kind, namespace: Option<&str>) -> KeyRange {
    let prefix = match namespace {
        Some(namespace) => format!("{}/{namespace}/", kind.resource()),
        None => format!("{}/", kind.resource()),
    };
    let mut start = prefix.into_bytes();
    start.extend_from_slice(after.as_bytes());
    start.push(0);
    match range {
        KeyRange::Between(_, end) => KeyRange::Between(Key::from(&start[..]), end),
        other => other,
    }
}

/// The objects of a kind, or of one of its namespaces.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    kind: &'static Kind,
    namespace: Option<&str>,
    params: &Params,
    accepted: Accepted,
) -> Result<Response, Failure> {
    let selector = params.selector(kind);
    let name = selector.as_ref().ok().and_then(Selector::name);
    allow_selected(caller, Action::Read, kind, namespace, name)?;
    let selector = selector?;
    let asked = params.list_version()?;
    // An answer from what is here is one page, as the API server's cache gives it.
    let limit = params.limit()?.filter(|_| asked != Version::Any);
    let token = match params.get("continue") {
        "" => None,
        text => Some(Token::read(text)?),
    };
    let mut range = kind.range(namespace);
    let (state, exact) = match &token {
        None => (
            state_at(app, asked).await?,
            match asked {
                Version::Exact(number) => Some(number),
                _ => None,
            },
        ),
        Some(token) => {
            if !params.get("resourceVersion").is_empty() {
                return Err(Failure::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            range = rest_of(range, &token.start, kind, namespace);
            (
                state_at(app, Version::NotOlder(token.revision.unwrap_or(0))).await?,
                token.revision,
            )
        }
    };
    let revision = exact.map_or(state.revision(), Revision);
    let rows: Vec<(Key, Arc<Record>)> = if revision == state.revision() {
        state
            .range(SPACE, &range)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect()
    } else {
        let past = app.registry.past(Some(SPACE), revision);
        let past = past.map_err(|not| match (Failure::from(not), &token) {
            (gone, Some(token)) if gone.code == StatusCode::GONE => {
                let mut gone = Failure::expired(GONE);
                gone.go_on = Some(
                    Token {
                        revision: None,
                        start: token.start.clone(),
                    }
                    .write(),
                );
                gone
            }
            (other, _) => other,
        })?;
        past.range(SPACE, &range, usize::MAX)?.rows
    };
    let page = Page::of(rows, limit, &selector, revision, kind, namespace);
    Ok(page.answer(kind, params, accepted, app))
}

/// What one answer has.
struct Page {
    rows: Vec<Arc<Record>>,
    revision: Revision,
    go_on: Option<String>,
    remaining: Option<usize>,
}

impl Page {
    fn of(
        rows: Vec<(Key, Arc<Record>)>,
        limit: Option<usize>,
        selector: &Selector,
        revision: Revision,
        kind: &Kind,
        namespace: Option<&str>,
    ) -> Page {
        let count = rows.len();
        let limit = limit.unwrap_or(usize::MAX);
        let mut page = Page {
            rows: Vec::new(),
            revision,
            go_on: None,
            remaining: None,
        };
        let mut last: Option<Key> = None;
        for (key, record) in rows {
            if !selector.is_empty() && !selector.matches(&object::decode(&record)) {
                continue;
            }
            if page.rows.len() == limit {
                let prefix = match namespace {
                    Some(namespace) => kind.resource().len() + namespace.len() + 2,
                    None => kind.resource().len() + 1,
                };
                let start = last.as_ref().and_then(Key::as_text).unwrap_or_default();
                let start = start.get(prefix..).unwrap_or_default().to_owned();
                page.go_on = Some(
                    Token {
                        revision: Some(revision.0),
                        start,
                    }
                    .write(),
                );
                page.remaining = selector.is_empty().then(|| count - page.rows.len());
                break;
            }
            page.rows.push(record);
            last = Some(key);
        }
        page
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.go_on {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }

    fn answer(
        &self,
        kind: &'static Kind,
        params: &Params,
        accepted: Accepted,
        app: &App,
    ) -> Response {
        match accepted {
            Accepted::PLAIN => return respond::json(StatusCode::OK, self.json(kind)),
            Accepted {
                form: Form::Object,
                media: Media::Protobuf,
            } => {
                if let Ok(body) = self.protobuf(kind) {
                    let body = bytes::Bytes::from(body);
                    return respond::typed(StatusCode::OK, media::PROTOBUF, body.into());
                }
            }
            _ => {}
        }
        let objects: Vec<Value> = self.rows.iter().map(|row| object::decode(row)).collect();
        let now = app.registry.now();
        let body = accepted
            .form
            .many(kind, &objects, self.metadata(), params, now);
        accepted.answer_list(StatusCode::OK, &body, kind)
    }

    fn protobuf(&self, kind: &'static Kind) -> Result<Vec<u8>, serde_json::Error> {
        Writer::body(&kind.api_version(), &kind.list_kind(), |list| {
            list.inside(1, |metadata| {
                metadata.json("ListMeta", self.metadata().to_string().as_bytes())
            })?;
            for row in &self.rows {
                list.inside(2, |item| {
                    item.stored(kind.schema, &row.bytes(), row.modified)
                })?;
            }
            Ok(())
        })
    }

    fn json(&self, kind: &'static Kind) -> bytes::Bytes {
        let bytes: usize = self.rows.iter().map(|row| row.bytes().len() + 40).sum();
        let mut out = BytesMut::with_capacity(bytes + 256);
        let head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
            kind.list_kind(),
            kind.api_version(),
            self.metadata()
        );
        out.extend_from_slice(head.as_bytes());
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            object::render(&mut out, &row.bytes(), row.modified, false);
        }
        out.extend_from_slice(b"]}");
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        let token = Token {
            revision: Some(9),
            start: "default/a".into(),
        };
        assert_eq!(Token::read(&token.write()), Ok(token));
        for bad in ["x", "e30", "!!!"] {
            assert!(Token::read(bad).is_err());
        }
    }
}
