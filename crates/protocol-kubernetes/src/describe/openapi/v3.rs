//! Version 3: a document for each group.

use serde_json::{Map, Value, json};

use super::{PATCHES, gvk, paths_of, type_name};
use crate::kind::{Access, KINDS, Kind, group_version, groups};
use crate::schema::{Join, Type, types};

/// `/openapi/v3`: where the description of each group is.
pub(crate) fn index() -> Value {
    let paths = groups().into_iter().map(|(group, version)| {
        let path = path_of(group, version);
        let url = format!(
            "/openapi/v3/{path}?hash={}",
            crate::describe::discovery::VERSION
        );
        (path, json!({"serverRelativeURL": url}))
    });
    json!({"paths": paths.collect::<Map<_, _>>()})
}

fn path_of(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// `/openapi/v3/PATH`; none when there is no such group.
pub(crate) fn document(path: &str) -> Option<Value> {
    let (group, version) = groups()
        .into_iter()
        .find(|(group, version)| path_of(group, version) == path)?;
    let kinds: Vec<&Kind> = KINDS
        .into_iter()
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    let mut paths = Map::new();
    for kind in &kinds {
        let [list, one_path] = paths_of(kind);
        if kind.access == Access::Review {
            paths.insert(list, json!({"post": operation(kind, "post")}));
            continue;
        }
        let reading = operation(kind, "get");
        let mut collection = json!({"get": operation(kind, "list")});
        let mut one = json!({"get": reading});
        if kind.access == Access::Full {
            collection["post"] = operation(kind, "post");
            one["put"] = operation(kind, "put");
            one["patch"] = operation(kind, "patch");
            one["delete"] = operation(kind, "delete");
        }
        paths.insert(list, collection);
        paths.insert(one_path, one);
    }
    let schemas: Map<String, Value> = types()
        .map(|(name, fields)| {
            let own: Vec<Value> = kinds
                .iter()
                .filter(|kind| kind.schema == name)
                .map(|kind| gvk(kind))
                .collect();
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(field, of)| ((*field).to_owned(), schema(&of.of)))
                .collect();
            let mut schema = json!({"type": "object", "description": format!("{name} as the API has it."), "properties": properties});
            if !own.is_empty() {
                schema["x-kubernetes-group-version-kind"] = own.into();
            }
            (type_name(name), schema)
        })
        .collect();
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::describe::discovery::VERSION, "x-group": group_version(group, version)},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn operation(kind: &Kind, verb: &str) -> Value {
    let reference = json!({"$ref": format!("#/components/schemas/{}", type_name(kind.schema))});
    let content = json!({"application/json": {"schema": reference}});
    let mut operation = json!({
        "operationId": format!("{verb}{}{}", kind.version, kind.kind),
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": gvk(kind),
    });
    if matches!(verb, "post" | "put" | "patch") {
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        operation["parameters"] = ["dryRun", "fieldManager", "fieldValidation"]
            .map(parameter)
            .to_vec()
            .into();
        let bodies: Map<String, Value> = match verb {
            "patch" => PATCHES
                .iter()
                .map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "object"}})))
                .collect(),
            _ => [("application/json".to_owned(), json!({"schema": reference}))]
                .into_iter()
                .collect(),
        };
        operation["requestBody"] = json!({"content": bodies, "required": true});
    }
    operation
}

fn schema(of: &Type) -> Value {
    match of {
        Type::Text => json!({"type": "string"}),
        Type::Int => json!({"type": "integer", "format": "int32"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
        Type::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Type::IntOrText => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Type::Fields => json!({"type": "object"}),
        Type::Map(inner) => json!({"type": "object", "additionalProperties": schema(inner)}),
        Type::Object(name) => {
            json!({"allOf": [{"$ref": format!("#/components/schemas/{}", type_name(name))}]})
        }
        Type::List(inner, join, _) => {
            let mut list = json!({"type": "array", "items": schema(inner)});
            match join {
                Join::Replace => list["x-kubernetes-list-type"] = "atomic".into(),
                Join::Values => list["x-kubernetes-patch-strategy"] = "merge".into(),
                Join::By(key) => {
                    list["x-kubernetes-patch-strategy"] = "merge".into();
                    list["x-kubernetes-patch-merge-key"] = (*key).into();
                }
            }
            list
        }
    }
}
