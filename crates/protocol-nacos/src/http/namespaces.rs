//! Namespaces: the catalog's, in Nacos' words.

use portolan_catalog::{Command, Namespace, Protocol, Refusal, State};
use portolan_listener::{Action, Resource, Response};
use serde_json::{Value, json};

use super::Form;
use super::params::Asked;
use crate::config::read as configs;
use crate::error::{Code, Problem, json as json_answer, success};
use crate::names::{self, PUBLIC};

type Answer = Result<Response, Problem>;

/// Configurations that a namespace may have in the real server; shown, and no bound here.
const QUOTA: u32 = 200;

fn shown(form: Form, row: Option<&Namespace>, count: usize) -> Value {
    let (id, title, description, kind) = match row {
        None => (
            PUBLIC.to_owned(),
            PUBLIC.to_owned(),
            "Default Namespace".to_owned(),
            0,
        ),
        Some(row) => {
            let id = match names::nacos_namespace(&row.name) {
                // The spelling is the catalog's name, but for the two that are exchanged.
                id if id == *row.name => row.spelling.to_string(),
                id => id,
            };
            (id, row.title.to_string(), row.description.to_string(), 2)
        }
    };
    let id = match (form, row) {
        // In v1 and v2 the default has no id.
        (Form::V1 | Form::V1Config | Form::V2, None) => String::new(),
        _ => id,
    };
    json!({
        "namespace": id, "namespaceShowName": title, "namespaceDesc": description,
        "quota": QUOTA, "configCount": count, "type": kind,
    })
}

/// The declared namespaces but the default, and those that somebody uses without having declared them.
fn rows(state: &State) -> Vec<Namespace> {
    let declared = state
        .namespaces()
        .filter(|row| names::nacos_namespace(&row.name) != PUBLIC);
    declared.map(|row| (**row).clone()).collect()
}

pub(crate) async fn list(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Services)?;
    let state = asked.app.registry.snapshot();
    let counts = configs::counts(&state);
    let count = |row: Option<&Namespace>| {
        let id = row.map_or_else(
            || PUBLIC.to_owned(),
            |row| names::nacos_namespace(&row.name),
        );
        counts
            .iter()
            .filter(|(tenant, _)| tenant.eq_ignore_ascii_case(&id))
            .map(|(_, n)| n)
            .sum()
    };
    let mut all = vec![shown(asked.form, None, count(None))];
    all.extend(
        rows(&state)
            .iter()
            .map(|row| shown(asked.form, Some(row), count(Some(row)))),
    );
    Ok(match asked.form.enveloped() {
        true => success(all),
        false => json_answer(&json!({"code": 200, "message": null, "data": all})),
    })
}

fn id(asked: &Asked) -> &str {
    asked
        .any(&["namespaceId", "namespace", "customNamespaceId"])
        .unwrap_or_default()
}

pub(crate) async fn find(asked: Asked) -> Answer {
    if asked.form == Form::V1 && asked.get("show").is_none() && asked.get("namespaceId").is_none() {
        return list(asked).await;
    }
    asked.caller.allow(Action::Read, Resource::Services)?;
    let state = asked.app.registry.snapshot();
    let counts = configs::counts(&state);
    let id = id(&asked);
    let model = names::model_namespace(id);
    let count = |id: &str| counts.get(id).copied().unwrap_or(0);
    if names::nacos_namespace(&model) == PUBLIC {
        return Ok(asked.form.data(&shown(asked.form, None, count(PUBLIC))));
    }
    match state.namespace(&model) {
        Some(row) => Ok(asked.form.data(&shown(asked.form, Some(row), count(id)))),
        None => Err(no_namespace(id)),
    }
}

fn no_namespace(id: &str) -> Problem {
    Problem::coded(
        Code::NamespaceNotExist,
        format!("namespaceId [ {id} ] not exist"),
    )
}

/// Whether an id is that of a namespace that is there (`checkNamespaceIdExist`).
pub(crate) async fn exists(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Services)?;
    let state = asked.app.registry.snapshot();
    let model = names::model_namespace(id(&asked));
    let there = names::nacos_namespace(&model) == PUBLIC || state.namespace(&model).is_some();
    Ok(match asked.form {
        Form::V3 => success(usize::from(there)),
        form => form.data(&there),
    })
}

fn valid(id: &str) -> Result<(), Problem> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    match id.len() <= 128 && id.bytes().all(plain) {
        true => Ok(()),
        false => Err(Problem::coded(
            Code::IllegalNamespace,
            format!("namespaceId [{id}] mismatch the pattern"),
        )),
    }
}

/// Version 4 of RFC 9562, in its usual form.
fn fresh_id() -> String {
    let hex: String = portolan_environment::uuid()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

pub(crate) async fn create(asked: Asked) -> Answer {
    asked.caller.allow(Action::Write, Resource::Services)?;
    let title = asked.required("namespaceName")?;
    let id = match asked.any(&["customNamespaceId", "namespaceId"]) {
        Some(id) => id.trim().to_owned(),
        None => fresh_id(),
    };
    valid(&id)?;
    let model = names::model_namespace(&id);
    let state = asked.app.registry.snapshot();
    let declared = state
        .namespace(&model)
        .is_some_and(|row| row.declared_by.contains(Protocol::Nacos));
    if declared || names::nacos_namespace(&model) == PUBLIC {
        return Err(Problem::coded(
            Code::NamespaceExists,
            format!("namespaceId [{id}] already exist"),
        ));
    }
    declare(&asked, &id, title).await
}

async fn declare(asked: &Asked, id: &str, title: &str) -> Answer {
    let model = names::model_namespace(id);
    // Exchanged names are the catalog's, any other is spelled as the client spells it.
    let name = match model.eq_ignore_ascii_case(id) {
        true => id,
        false => &model,
    };
    let command = Command::DeclareNamespace {
        name: name.into(),
        title: title.into(),
        description: asked.text("namespaceDesc").into(),
        protocol: Protocol::Nacos,
    };
    asked.app.settle(&asked.caller, command).await?;
    Ok(asked.form.data(&true))
}

pub(crate) async fn update(asked: Asked) -> Answer {
    asked.caller.allow(Action::Write, Resource::Services)?;
    let id = id(&asked).trim().to_owned();
    if id.is_empty() {
        return Err(Problem::Missing("namespaceId"));
    }
    let title = asked.any(&["namespaceShowName", "namespaceName"]);
    let title = title.ok_or(Problem::Missing("namespaceName"))?.to_owned();
    if asked
        .app
        .registry
        .snapshot()
        .namespace(&names::model_namespace(&id))
        .is_none()
    {
        return Err(no_namespace(&id));
    }
    declare(&asked, &id, &title).await
}

pub(crate) async fn delete(asked: Asked) -> Answer {
    asked.caller.allow(Action::Write, Resource::Services)?;
    let id = asked.required("namespaceId")?;
    let command = Command::ForgetNamespace {
        name: names::model_namespace(id).into(),
        protocol: Protocol::Nacos,
    };
    match asked.app.settle(&asked.caller, command).await {
        Ok(_) => Ok(asked.form.data(&true)),
        Err(Problem::Refused(Refusal::NotEmpty)) => Err(Problem::coded(
            Code::IllegalNamespace,
            format!("namespace [{id}] has services; deregister them first"),
        )),
        Err(other) => Err(other),
    }
}
