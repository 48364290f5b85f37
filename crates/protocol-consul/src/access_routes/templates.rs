//! Templated policies: what is built in, and what it stands for with a name filled in.

use super::{allowed, not_there, object, shapes};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use portolan_access::builtin::{self, TEMPLATES, Template};
use portolan_listener::Action;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn shape(template: &Template) -> Value {
    let schema = match template.named {
        true => {
            json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}).to_string()
        }
        false => String::new(),
    };
    json!({
        "TemplateName": template.name, "Schema": schema, "Template": template.text, "Description": template.description,
    })
}

/// GET /v1/acl/templated-policies
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Read)?;
    let rows: Map<String, Value> = TEMPLATES
        .iter()
        .map(|template| (template.name.to_owned(), shape(template)))
        .collect();
    Reply::json(&rows)
}

/// GET /v1/acl/templated-policy/name/:name
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Read)?;
    let name = request.named("name", "Missing templated policy Name")?;
    let template = builtin::template(&name).ok_or_else(not_there)?;
    Reply::json(&shape(template))
}

/// POST /v1/acl/templated-policy/preview/:name
pub(crate) async fn preview(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Read)?;
    let name = request.named("name", "Missing templated policy Name")?;
    let template = builtin::template(&name).ok_or_else(not_there)?;
    let value = match template.named {
        true => {
            let body = object(&mut request, "Body").await?;
            Fields::of(&body, "body")?.text("name")?
        }
        false => String::new(),
    };
    shapes::named(template, &value)?;
    Reply::json(&json!({
        "ID": "", "Name": format!("synthetic-policy-{value}"), "Description": format!("synthetic policy generated from templated policy: {name}"),
        "Rules": builtin::filled(template, &value),
    }))
}
