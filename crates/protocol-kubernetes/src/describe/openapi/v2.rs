//! Version 2, as kubectl before 1.25 reads it: definitions, and for each change of an object which parameters it takes.

use serde_json::{Map, Value, json};

use super::{PATCHES, gvk, paths_of, type_name};
use crate::describe::discovery::VERSION;
use crate::kind::{Access, KINDS, Kind};
use crate::media;
use crate::schema::{Field, Join, Keys, Type, types};

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for kind in KINDS {
        let [list, one] = paths_of(kind);
        if kind.access == Access::Review {
            paths.insert(list, json!({"post": operation(kind, "post")}));
            continue;
        }
        let mut collection = json!({"get": operation(kind, "list")});
        let mut object = json!({"get": operation(kind, "get")});
        if kind.access == Access::Full {
            collection["post"] = operation(kind, "post");
            for verb in ["put", "patch", "delete"] {
                object[verb] = operation(kind, verb);
            }
        }
        paths.insert(list, collection);
        paths.insert(one, object);
    }
    let definitions: Map<String, Value> = types()
        .map(|(name, fields)| {
            let own: Vec<Value> = KINDS
                .iter()
                .filter(|kind| kind.schema == name)
                .map(|kind| gvk(kind))
                .collect();
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(field, of)| ((*field).to_owned(), property(of)))
                .collect();
            let mut definition = json!({"type": "object", "properties": properties});
            if !own.is_empty() {
                definition["x-kubernetes-group-version-kind"] = own.into();
            }
            (type_name(name), definition)
        })
        .collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": definitions,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{}", type_name(name))})
}

fn operation(kind: &Kind, verb: &str) -> Value {
    let mut parameters = Vec::new();
    if kind.namespaced {
        parameters
            .push(json!({"name": "namespace", "in": "path", "required": true, "type": "string"}));
    }
    if !matches!(verb, "list" | "post") {
        parameters.push(json!({"name": "name", "in": "path", "required": true, "type": "string"}));
    }
    if matches!(verb, "post" | "put" | "patch") {
        let schema = match verb {
            "patch" => json!({"type": "object"}),
            _ => reference(kind.schema),
        };
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        let query = |name: &str| json!({"name": name, "in": "query", "type": "string", "uniqueItems": true});
        parameters.extend(["dryRun", "fieldManager", "fieldValidation"].map(query));
        if verb == "patch" {
            parameters.push(
                json!({"name": "force", "in": "query", "type": "boolean", "uniqueItems": true}),
            );
        }
    }
    let consumes: &[&str] = match verb {
        "patch" => &PATCHES,
        _ => &["*/*"],
    };
    json!({
        "operationId": format!("{verb}{}{}", kind.version, kind.kind),
        "consumes": consumes,
        "produces": media::ALL,
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": reference(kind.schema)}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": gvk(kind),
    })
}

fn property(field: &Field) -> Value {
    let mut property = schema(&field.of);
    if let Type::List(_, join, keys) = &field.of {
        match join {
            Join::Replace => {}
            Join::Values => property["x-kubernetes-patch-strategy"] = "merge".into(),
            Join::By(key) => {
                property["x-kubernetes-patch-strategy"] = "merge".into();
                property["x-kubernetes-patch-merge-key"] = (*key).into();
            }
        }
        property["x-kubernetes-list-type"] = match keys {
            Keys::Whole => "atomic".into(),
            Keys::Values => "set".into(),
            Keys::By(keys) => {
                property["x-kubernetes-list-map-keys"] = json!(keys);
                "map".into()
            }
        };
    }
    if field.whole {
        property["x-kubernetes-map-type"] = "atomic".into();
    }
    property
}

fn schema(of: &Type) -> Value {
    match of {
        Type::Text | Type::Quantity => json!({"type": "string"}),
        Type::Int => json!({"type": "integer", "format": "int32"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
        Type::IntOrText => json!({"type": "string", "format": "int-or-string"}),
        Type::Fields => json!({"type": "object"}),
        Type::Map(inner) => json!({"type": "object", "additionalProperties": schema(inner)}),
        Type::Object(name) => reference(name),
        Type::List(inner, ..) => json!({"type": "array", "items": schema(inner)}),
    }
}
