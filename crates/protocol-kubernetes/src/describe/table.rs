//! The forms in which an object is answered: itself, a row of a table, or its metadata alone.

use portolan_catalog::Timestamp;
use serde_json::{Value, json};

use super::columns::{Column, cells, columns};
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

impl Form {
    /// The form that the parameters of an accepted type ask for; none when there is no such form.
    pub(crate) fn of<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Form> {
        let (mut form, mut version, mut group) = ("", "", "");
        for (name, value) in parameters {
            match name {
                "as" => form = value,
                "v" => version = value,
                "g" => group = value,
                _ => {}
            }
        }
        let version = match (group, version) {
            (_, "v1") => Some("meta.k8s.io/v1"),
            ("meta.k8s.io", "v1beta1") => Some("meta.k8s.io/v1beta1"),
            _ => None,
        };
        match form {
            "" => Some(Form::Object),
            "Table" => version.map(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => version.map(Form::Partial),
            _ => None,
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
