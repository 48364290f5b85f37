//! The forms in which an object is answered: itself, a row of a table, or its metadata alone.

use http::HeaderMap;
use http::header::ACCEPT;
use portolan_catalog::Timestamp;
use serde_json::{Value, json};

use super::columns::{Column, cells, columns};
use crate::error::Failure;
use crate::kind::Kind;
use crate::params::Params;

/// In which form objects are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Object,
    /// As rows of a table of this version.
    Table(&'static str),
    /// Their metadata, of this version.
    Partial(&'static str),
}

/// What is answered.
const TYPES: [&str; 1] = ["application/json"];

impl Form {
    /// Reads what a client accepts: the first of its list that there is.
    ///
    /// # Errors
    /// 406 when there is none of it.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Form, Failure> {
        let mut any = false;
        for value in headers.get_all(ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default();
                if kind.is_empty() {
                    continue;
                }
                any = true;
                if !matches!(kind, "application/json" | "*/*" | "application/*") {
                    continue;
                }
                let (mut form, mut version, mut group) = ("", "", "");
                for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                    match name {
                        "as" => form = value,
                        "v" => version = value,
                        "g" => group = value,
                        _ => {}
                    }
                }
                let version = match (group, version) {
                    (_, "v1") => "meta.k8s.io/v1",
                    ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
                    _ => "",
                };
                match (form, version) {
                    ("", _) => return Ok(Form::Object),
                    ("Table", version) if !version.is_empty() => return Ok(Form::Table(version)),
                    ("PartialObjectMetadata" | "PartialObjectMetadataList", version)
                        if !version.is_empty() =>
                    {
                        return Ok(Form::Partial(version));
                    }
                    _ => {}
                }
            }
        }
        match any {
            false => Ok(Form::Object),
            true => Err(Failure::not_acceptable(&TYPES)),
        }
    }

    /// One object in this form.
    pub(crate) fn one(self, kind: &Kind, object: &Value, params: &Params, now: Timestamp) -> Value {
        match self {
            Form::Object => object.clone(),
            Form::Partial(version) => partial(object, version),
            Form::Table(_) => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                self.many(kind, std::slice::from_ref(object), metadata, params, now)
            }
        }
    }

    /// A list in this form.
    pub(crate) fn many(
        self,
        kind: &Kind,
        objects: &[Value],
        metadata: Value,
        params: &Params,
        now: Timestamp,
    ) -> Value {
        match self {
            Form::Object => json!({
                "kind": kind.list_kind(),
                "apiVersion": kind.api_version(),
                "metadata": metadata,
                "items": objects,
            }),
            Form::Partial(version) => {
                let items: Vec<Value> = objects.iter().map(|one| partial(one, version)).collect();
                json!({
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": version,
                    "metadata": metadata,
                    "items": items,
                })
            }
            Form::Table(version) => {
                let include = params.get("includeObject");
                let row = |object: &Value| {
                    let mut row = json!({"cells": cells(kind, object, now)});
                    match include {
                        "None" => {}
                        "Object" => row["object"] = object.clone(),
                        _ => row["object"] = partial(object, "meta.k8s.io/v1"),
                    }
                    row
                };
                let rows: Vec<Value> = objects.iter().map(row).collect();
                let definitions: Vec<Value> =
                    columns(kind).iter().map(Column::definition).collect();
                json!({
                    "kind": "Table",
                    "apiVersion": version,
                    "metadata": metadata,
                    "columnDefinitions": definitions,
                    "rows": rows,
                })
            }
        }
    }

    /// A bookmark in this form.
    pub(crate) fn bookmark(self, kind: &Kind, object: Value) -> Value {
        match self {
            Form::Object => object,
            Form::Partial(version) => partial(&object, version),
            Form::Table(version) => json!({
                "kind": "Table",
                "apiVersion": version,
                "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
                "columnDefinitions": columns(kind).iter().map(Column::definition).collect::<Vec<_>>(),
                "rows": [{"cells": cells(kind, &object, Timestamp(0)), "object": partial(&object, "meta.k8s.io/v1")}],
            }),
        }
    }
}

fn partial(object: &Value, version: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": object["metadata"]})
}

/// JSON as the answer has it.
pub(crate) fn text(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_is_taken() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            Form::of(&headers)
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(kubectl), Ok(Form::Table("meta.k8s.io/v1")));
        assert_eq!(
            of("application/vnd.kubernetes.protobuf, */*"),
            Ok(Form::Object)
        );
        assert_eq!(
            of("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Form::Partial("meta.k8s.io/v1"))
        );
        assert_eq!(
            of("application/vnd.kubernetes.protobuf").unwrap_err().code,
            406
        );
        assert_eq!(Form::of(&HeaderMap::new()), Ok(Form::Object));
    }
}
