//! `acl auth-method` and `acl binding-rule`: whose tokens are believed, and what their bearers get.

use serde_json::{Map, Value, json};

use super::acl::{delete, failed, list, object, texts, write};
use super::http::escape;
use super::plain_calls::read_file;
use super::{Command, Done, Failure, Row, text_of};
use crate::go_flags::{Flag, truth, value};

macro_rules! row {
    ($name:literal, $flags:expr, $run:path, $about:literal) => {
        Row {
            name: $name,
            flags: $flags,
            run: |command| Box::pin($run(command)),
            about: $about,
        }
    };
}

/// The rows of these commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Row] = &[
    row!("acl auth-method create", METHOD, method_create, "Create an ACL auth method"),
    row!("acl auth-method delete", METHOD, method_delete, "Delete an ACL auth method"),
    row!("acl auth-method list", METHOD, method_list, "Lists ACL auth methods"),
    row!("acl auth-method read", METHOD, method_read, "Read an ACL auth method"),
    row!("acl auth-method update", METHOD, method_update, "Update an ACL auth method"),
    row!("acl binding-rule create", RULE, rule_create, "Create an ACL binding rule"),
    row!("acl binding-rule delete", RULE, rule_delete, "Delete an ACL binding rule"),
    row!("acl binding-rule list", RULE, rule_list, "Lists ACL binding rules"),
    row!("acl binding-rule read", RULE, rule_read, "Read an ACL binding rule"),
    row!("acl binding-rule update", RULE, rule_update, "Update an ACL binding rule"),
];

const METHOD: &[Flag] = &[
    value("name"),
    value("type"),
    value("display-name"),
    value("description"),
    value("max-token-ttl"),
    value("token-locality"),
    value("config"),
    truth("no-merge"),
    truth("meta"),
    value("format"),
];
const RULE: &[Flag] = &[
    value("id"),
    value("method"),
    value("description"),
    value("bind-type"),
    value("bind-name"),
    value("bind-vars"),
    value("selector"),
    truth("no-merge"),
    truth("meta"),
    value("format"),
];

fn needed<'a>(command: &'a Command<'_>, flag: &str) -> Result<&'a str, Failure> {
    let given = command.typed.get(flag).filter(|given| !given.is_empty());
    given.ok_or_else(|| Failure::new(format!("Missing required '-{flag}' flag")))
}

fn lines(row: &Value, meta: bool, fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (title, key) in fields {
        text.push_str(&format!(
            "{:<15}{}\n",
            format!("{title}:"),
            text_of(row, key)
        ));
    }
    if meta {
        text.push_str(&format!("Create Index:  {}\n", row["CreateIndex"]));
        text.push_str(&format!("Modify Index:  {}\n", row["ModifyIndex"]));
    }
    text
}

fn method_text(row: &Value, meta: bool) -> String {
    let mut fields = vec![("Name", "Name"), ("Type", "Type")];
    for key in ["DisplayName", "MaxTokenTTL", "TokenLocality"] {
        if !text_of(row, key).is_empty() {
            fields.push((key, key));
        }
    }
    fields.push(("Description", "Description"));
    let mut text = lines(row, meta, &fields);
    if !row["Config"].is_null() {
        let config = serde_json::to_string_pretty(&row["Config"]).unwrap_or_default();
        text.push_str(&format!("Config:\n{config}\n"));
    }
    text
}

fn rule_text(row: &Value, meta: bool) -> String {
    let fields = [
        ("ID", "ID"),
        ("AuthMethod", "AuthMethod"),
        ("Description", "Description"),
        ("BindType", "BindType"),
        ("BindName", "BindName"),
        ("Selector", "Selector"),
    ];
    lines(row, meta, &fields)
}

/// What a method was told to be.
fn method(command: &Command<'_>, body: &mut Map<String, Value>) -> Result<(), Failure> {
    let fields = [
        ("display-name", "DisplayName"),
        ("description", "Description"),
        ("max-token-ttl", "MaxTokenTTL"),
        ("token-locality", "TokenLocality"),
    ];
    texts(command, body, &fields);
    if let Some(given) = command.typed.get("config") {
        let bytes = match given.strip_prefix('@') {
            Some(path) => read_file(path)?,
            None if given == "-" => read_file("-")?,
            None => given.as_bytes().to_vec(),
        };
        let config: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(format!(
                "Error parsing JSON for auth method config: {error}"
            ))
        })?;
        body.insert("Config".to_owned(), config);
    }
    Ok(())
}

/// `acl auth-method create`.
async fn method_create(command: &Command<'_>) -> Done {
    let (name, kind) = (needed(command, "name")?, needed(command, "type")?);
    let mut body = object(json!({"Name": name, "Type": kind}));
    method(command, &mut body)?;
    let path = "/v1/acl/auth-method";
    write(
        command,
        path,
        body.into(),
        "create new auth method",
        method_text,
    )
    .await
}

fn method_path(command: &Command<'_>) -> Result<String, Failure> {
    Ok(format!(
        "/v1/acl/auth-method/{}",
        escape(needed(command, "name")?)
    ))
}

/// `acl auth-method update`.
async fn method_update(command: &Command<'_>) -> Done {
    let path = method_path(command)?;
    let found = command.client()?.get(&path).await;
    let found = object(found.map_err(failed("find the auth method"))?);
    let mut body = match command.typed.is("no-merge") {
        true => object(json!({"Name": found.get("Name"), "Type": found.get("Type")})),
        false => found,
    };
    method(command, &mut body)?;
    write(
        command,
        &path,
        body.into(),
        "update auth method",
        method_text,
    )
    .await
}

/// `acl auth-method read`.
async fn method_read(command: &Command<'_>) -> Done {
    list(
        command,
        &method_path(command)?,
        "read the auth method",
        method_text,
    )
    .await
}

/// `acl auth-method delete`.
async fn method_delete(command: &Command<'_>) -> Done {
    let name = needed(command, "name")?;
    delete(command, &method_path(command)?, "auth-method", name).await
}

/// `acl auth-method list`.
async fn method_list(command: &Command<'_>) -> Done {
    list(
        command,
        "/v1/acl/auth-methods",
        "retrieve the auth method list",
        method_text,
    )
    .await
}

/// What a rule was told to be.
fn rule(command: &Command<'_>, body: &mut Map<String, Value>) -> Result<(), Failure> {
    let fields = [
        ("method", "AuthMethod"),
        ("description", "Description"),
        ("bind-type", "BindType"),
        ("bind-name", "BindName"),
        ("selector", "Selector"),
    ];
    texts(command, body, &fields);
    if let Some(given) = command.typed.get("bind-vars") {
        let (key, value) = given.split_once('=').unwrap_or((given, ""));
        if !key.eq_ignore_ascii_case("name") {
            return Err(Failure::new(format!(
                "Unknown variable {key:?} of -bind-vars"
            )));
        }
        body.insert("BindVars".to_owned(), json!({"Name": value}));
    }
    Ok(())
}

/// `acl binding-rule create`.
async fn rule_create(command: &Command<'_>) -> Done {
    needed(command, "method")?;
    needed(command, "bind-type")?;
    needed(command, "bind-name")?;
    let mut body = Map::new();
    rule(command, &mut body)?;
    let path = "/v1/acl/binding-rule";
    write(
        command,
        path,
        body.into(),
        "create new binding rule",
        rule_text,
    )
    .await
}

fn rule_path(command: &Command<'_>) -> Result<String, Failure> {
    Ok(format!(
        "/v1/acl/binding-rule/{}",
        escape(needed(command, "id")?)
    ))
}

/// `acl binding-rule update`.
async fn rule_update(command: &Command<'_>) -> Done {
    let path = rule_path(command)?;
    let found = command.client()?.get(&path).await;
    let found = object(found.map_err(failed("find the binding rule"))?);
    let mut body = match command.typed.is("no-merge") {
        true => object(json!({"ID": found.get("ID"), "AuthMethod": found.get("AuthMethod")})),
        false => found,
    };
    rule(command, &mut body)?;
    write(
        command,
        &path,
        body.into(),
        "update binding rule",
        rule_text,
    )
    .await
}

/// `acl binding-rule read`.
async fn rule_read(command: &Command<'_>) -> Done {
    list(
        command,
        &rule_path(command)?,
        "read the binding rule",
        rule_text,
    )
    .await
}

/// `acl binding-rule delete`.
async fn rule_delete(command: &Command<'_>) -> Done {
    let id = needed(command, "id")?;
    delete(command, &rule_path(command)?, "binding-rule", id).await
}

/// `acl binding-rule list`.
async fn rule_list(command: &Command<'_>) -> Done {
    let mut path = "/v1/acl/binding-rules".to_owned();
    if let Some(method) = command.typed.get("method") {
        path.push_str(&format!("?authmethod={}", escape(method)));
    }
    list(command, &path, "retrieve the binding rule list", rule_text).await
}
