//! Version 2 in the protobuf in which kubectl asks for it: messages as gnostic has them, with only what the document has.

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::protobuf::Writer;

type Written = Result<(), Infallible>;

/// Writes the document.
pub(super) fn write(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let written = out_document(&mut out, document);
    match written {
        Ok(()) => out.into_bytes(),
        Err(never) => match never {},
    }
}

fn out_document(out: &mut Writer, document: &Value) -> Written {
    text(out, 1, &document["swagger"]);
    out.inside(2, |info| {
        text(info, 1, &document["info"]["title"]);
        text(info, 2, &document["info"]["version"]);
        Written::Ok(())
    })?;
    out.inside(8, |paths| {
        named(paths, 2, map(&document["paths"]), path_item)
    })?;
    out.inside(9, |definitions| {
        named(definitions, 1, map(&document["definitions"]), schema)
    })
}

fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(out: &mut Writer, number: u64, value: &Value) {
    if let Some(value) = value.as_str() {
        out.text(number, value);
    }
}

fn truth(out: &mut Writer, number: u64, value: &Value) {
    if value == true {
        out.number(number, 1);
    }
}

/// Entries of a map: their names, and what they are.
fn named<'a>(
    out: &mut Writer,
    number: u64,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    write: fn(&mut Writer, &Value) -> Written,
) -> Written {
    for (name, value) in entries {
        out.inside(number, |entry| {
            entry.text(1, name);
            entry.inside(2, |inner| write(inner, value))
        })?;
    }
    Ok(())
}

/// The fields that begin with `x-`.
fn extensions(out: &mut Writer, number: u64, value: &Value) -> Written {
    let own = map(value).filter(|(name, _)| name.starts_with("x-"));
    named(out, number, own, |any, value| {
        // JSON is YAML.
        any.text(2, &value.to_string());
        Ok(())
    })
}

fn path_item(out: &mut Writer, item: &Value) -> Written {
    for (number, verb) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (8, "patch"),
    ] {
        if !item[verb].is_null() {
            out.inside(number, |inner| operation(inner, &item[verb]))?;
        }
    }
    Ok(())
}

fn operation(out: &mut Writer, operation: &Value) -> Written {
    text(out, 5, &operation["operationId"]);
    items(&operation["produces"]).for_each(|value| text(out, 6, value));
    items(&operation["consumes"]).for_each(|value| text(out, 7, value));
    for one in items(&operation["parameters"]) {
        out.inside(8, |item| item.inside(1, |inner| parameter(inner, one)))?;
    }
    out.inside(9, |responses| {
        named(
            responses,
            1,
            map(&operation["responses"]),
            |value, answer| {
                value.inside(1, |response| {
                    text(response, 1, &answer["description"]);
                    response.inside(2, |item| {
                        item.inside(1, |inner| schema(inner, &answer["schema"]))
                    })
                })
            },
        )
    })?;
    extensions(out, 13, operation)
}

fn parameter(out: &mut Writer, parameter: &Value) -> Written {
    let place = parameter["in"].as_str();
    if place == Some("body") {
        return out.inside(1, |body| {
            text(body, 2, &parameter["name"]);
            text(body, 3, &parameter["in"]);
            truth(body, 4, &parameter["required"]);
            body.inside(5, |inner| schema(inner, &parameter["schema"]))
        });
    }
    let (kind, of, unique) = match place {
        Some("path") => (4, 5, 19),
        _ => (3, 6, 20),
    };
    out.inside(2, |other| {
        other.inside(kind, |inner| {
            truth(inner, 1, &parameter["required"]);
            text(inner, 2, &parameter["in"]);
            text(inner, 4, &parameter["name"]);
            text(inner, of, &parameter["type"]);
            truth(inner, unique, &parameter["uniqueItems"]);
            Written::Ok(())
        })
    })
}

fn schema(out: &mut Writer, value: &Value) -> Written {
    text(out, 1, &value["$ref"]);
    text(out, 2, &value["format"]);
    text(out, 4, &value["description"]);
    if !value["additionalProperties"].is_null() {
        out.inside(21, |item| {
            item.inside(1, |inner| schema(inner, &value["additionalProperties"]))
        })?;
    }
    if !value["type"].is_null() {
        out.inside(22, |of| {
            text(of, 1, &value["type"]);
            Written::Ok(())
        })?;
    }
    if !value["items"].is_null() {
        out.inside(23, |item| {
            item.inside(1, |inner| schema(inner, &value["items"]))
        })?;
    }
    if !value["properties"].is_null() {
        out.inside(25, |all| named(all, 1, map(&value["properties"]), schema))?;
    }
    extensions(out, 31, value)
}
