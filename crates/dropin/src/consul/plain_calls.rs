//! `config` and `acl`: what the endpoint says, printed.

use std::path::Path;

use bytes::Bytes;
use http::{Method, StatusCode};
use portolan_hcl::parse;
use serde_json::Value;

use super::http::{escape, unexpected};
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, truth, value};

pub(super) const CONFIG: &[Flag] = &[
    value("kind"),
    value("name"),
    value("filename"),
    truth("cas"),
    value("modify-index"),
];
pub(super) const CONFIG_WRITE: &[Flag] = &[truth("cas"), value("modify-index")];
pub(super) const FORMAT: &[Flag] = &[value("format"), truth("meta")];

pub(super) fn read_file(path: &str) -> Result<Vec<u8>, Failure> {
    let read = match path {
        "-" => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
        }
        path => std::fs::read(Path::new(path)),
    };
    read.map_err(|error| Failure::new(format!("Error opening file {path}: {error}")))
}

fn needed<'a>(command: &'a Command<'_>, flag: &str) -> Result<&'a str, Failure> {
    let given = command.typed.get(flag).filter(|given| !given.is_empty());
    given.ok_or_else(|| Failure::new(format!("Must specify the -{flag} parameter")))
}

/// `config list -kind K`.
pub(super) async fn config_list(command: &Command<'_>) -> Done {
    let kind = needed(command, "kind")?;
    let listed = command
        .client()?
        .get(&format!("/v1/config/{}", escape(kind)))
        .await;
    let listed = listed.map_err(|why| {
        Failure::new(format!(
            "Error listing config entries for kind {kind:?}: {why}"
        ))
    })?;
    for entry in listed.as_array().into_iter().flatten() {
        say!("{}", text_of(entry, "Name"));
    }
    Ok(0)
}

/// `config read -kind K -name N`.
pub(super) async fn config_read(command: &Command<'_>) -> Done {
    let (kind, name) = (needed(command, "kind")?, needed(command, "name")?);
    let path = format!("/v1/config/{}/{}", escape(kind), escape(name));
    let entry = command.client()?.get(&path).await;
    let entry = entry
        .map_err(|why| Failure::new(format!("Error reading config entry {kind}/{name}: {why}")))?;
    let text =
        serde_json::to_string_pretty(&entry).map_err(|error| Failure::new(error.to_string()))?;
    say!("{text}");
    Ok(0)
}

/// `config write FILE`.
pub(super) async fn config_write(command: &Command<'_>) -> Done {
    let file = command.one("FILE")?;
    let bytes = read_file(file)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new(format!(
            "Failed to decode config entry input: {file} is not UTF-8"
        ))
    })?;
    let entry = parse(&text)
        .map_err(|why| Failure::new(format!("Failed to decode config entry input: {why}")))?;
    let kind = either(&entry, "Kind");
    let name = either(&entry, "Name");
    let mut path = "/v1/config".to_owned();
    if command.typed.is("cas") {
        path.push_str(&format!("?cas={}", needed(command, "modify-index")?));
    }
    let done = command.client()?.put(&path, entry.to_string()).await;
    let done = done
        .map_err(|why| Failure::new(format!("Error writing config entry {kind}/{name}: {why}")))?;
    match done.json()? == true {
        true => {
            say!("Config entry written: {kind}/{name}");
            Ok(0)
        }
        false => Err(Failure::new(format!(
            "Config entry not updated: {kind}/{name}"
        ))),
    }
}

/// A text by its name in either spelling.
fn either(entry: &Value, name: &str) -> String {
    let fields = entry.as_object().into_iter().flatten();
    let mut named = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let found = named.next().and_then(|(_, value)| value.as_str());
    found.unwrap_or_default().to_owned()
}

/// `config delete -kind K -name N`.
pub(super) async fn config_delete(command: &Command<'_>) -> Done {
    let (kind, name) = (needed(command, "kind")?, needed(command, "name")?);
    let mut path = format!("/v1/config/{}/{}", escape(kind), escape(name));
    if command.typed.is("cas") {
        path.push_str(&format!("?cas={}", needed(command, "modify-index")?));
    }
    let done = command
        .client()?
        .good(Method::DELETE, &path, Bytes::new())
        .await;
    done.map_err(|why| Failure::new(format!("Error deleting config entry {kind}/{name}: {why}")))?;
    say!("Config entry deleted: {kind}/{name}");
    Ok(0)
}

/// `acl bootstrap`.
pub(super) async fn acl_bootstrap(command: &Command<'_>) -> Done {
    let answer = command
        .client()?
        .ask(Method::PUT, "/v1/acl/bootstrap", Bytes::new())
        .await?;
    if answer.status != StatusCode::OK {
        let why = unexpected(answer.status, &answer.body);
        return Err(Failure::new(format!("Failed ACL bootstrapping: {why}")));
    }
    let token = answer.json()?;
    if command.typed.get("format") == Some("json") {
        let text = serde_json::to_string_pretty(&token)
            .map_err(|error| Failure::new(error.to_string()))?;
        say!("{text}");
        return Ok(0);
    }
    say!("AccessorID:       {}", text_of(&token, "AccessorID"));
    say!("SecretID:         {}", text_of(&token, "SecretID"));
    say!("Description:      {}", text_of(&token, "Description"));
    say!("Local:            {}", token["Local"]);
    say!("Create Time:      {}", text_of(&token, "CreateTime"));
    say!("Policies:");
    for policy in token["Policies"].as_array().into_iter().flatten() {
        say!("   {} - {}", text_of(policy, "ID"), text_of(policy, "Name"));
    }
    Ok(0)
}
