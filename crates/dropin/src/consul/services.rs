//! `services register` and `services deregister`.

use bytes::Bytes;
use portolan_hcl::parse;
use serde_json::{Map, Value};

use super::http::escape;
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, value};

pub(super) const REGISTER: &[Flag] = &[
    value("name"),
    value("id"),
    value("address"),
    value("port"),
    value("tag"),
    value("meta"),
    value("kind"),
    value("tagged-address"),
];
pub(super) const DEREGISTER: &[Flag] = &[value("id")];

/// `services register [-name=N ...] [FILE...]`.
pub(super) async fn register(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let services = match typed.rest.as_slice() {
        [] => vec![from_flags(command)?],
        files => from_files(files)?,
    };
    let client = command.client()?;
    for service in services {
        let name = name_of(&service);
        let body = service.to_string();
        let done = client
            .put("/v1/agent/service/register?replace-existing-checks=", body)
            .await;
        done.map_err(|why| Failure::new(format!("Error registering service {name:?}: {why}")))?;
        say!("Registered service: {name}");
    }
    Ok(0)
}

/// `services deregister -id=ID`, or of what the files define.
pub(super) async fn deregister(command: &Command<'_>) -> Done {
    let ids: Vec<String> = match (command.typed.get("id"), command.typed.rest.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(Failure::new(
                "Service deregistration requires arguments or -id, not both.",
            ));
        }
        (Some(id), []) => vec![id.to_owned()],
        (None, []) => {
            return Err(Failure::new(
                "Service deregistration requires at least one argument or -id.",
            ));
        }
        (None, files) => from_files(files)?
            .iter()
            .map(|service| match field(service, "id") {
                Some(Value::String(id)) if !id.is_empty() => id.clone(),
                _ => name_of(service),
            })
            .collect(),
    };
    let client = command.client()?;
    for id in ids {
        let path = format!("/v1/agent/service/deregister/{}", escape(&id));
        let done = client.put(&path, Bytes::new()).await;
        done.map_err(|why| Failure::new(format!("Error deregistering service {id:?}: {why}")))?;
        say!("Deregistered service: {id}");
    }
    Ok(0)
}

fn from_flags(command: &Command<'_>) -> Result<Value, Failure> {
    let typed = command.typed;
    let Some(name) = typed.get("name") else {
        return Err(Failure::new(
            "Service registration requires at least one argument or flags.",
        ));
    };
    let mut service = Map::new();
    service.insert("Name".to_owned(), name.into());
    for (flag, field) in [("id", "ID"), ("address", "Address"), ("kind", "Kind")] {
        if let Some(given) = typed.get(flag) {
            service.insert(field.to_owned(), given.into());
        }
    }
    if let Some(port) = typed.get("port") {
        let number: u16 = port.parse().map_err(|_| {
            Failure::new(format!(
                "invalid value {port:?} for flag -port: parse error"
            ))
        })?;
        service.insert("Port".to_owned(), number.into());
    }
    let tags: Vec<&str> = typed.all("tag").collect();
    service.insert("Tags".to_owned(), tags.into());
    let mut meta = Map::new();
    for pair in typed.all("meta") {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("{pair:?} is not KEY=VALUE")))?;
        meta.insert(key.to_owned(), value.into());
    }
    service.insert("Meta".to_owned(), meta.into());
    let mut tagged = Map::new();
    for pair in typed.all("tagged-address") {
        let (key, place) = pair
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("{pair:?} is not NAME=HOST:PORT")))?;
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "0"));
        let port: u16 = port
            .parse()
            .map_err(|_| Failure::new(format!("{place:?} is not HOST:PORT")))?;
        tagged.insert(
            key.to_owned(),
            serde_json::json!({"Address": host.trim_matches(['[', ']']), "Port": port}),
        );
    }
    if !tagged.is_empty() {
        service.insert("TaggedAddresses".to_owned(), tagged.into());
    }
    Ok(service.into())
}

/// What files in JSON or HCL define under `service` and `services`.
fn from_files(files: &[String]) -> Result<Vec<Value>, Failure> {
    let mut services = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::new(format!("Error reading {file}: {error}")))?;
        let value = parse(&text).map_err(|why| Failure::new(format!("{file}: {why}")))?;
        let before = services.len();
        for key in ["service", "services"] {
            match &value[key] {
                Value::Null => {}
                Value::Array(several) => services.extend(several.iter().cloned()),
                one => services.push(one.clone()),
            }
        }
        if services.len() == before {
            return Err(Failure::new(format!("{file}: no service is defined there")));
        }
    }
    Ok(services)
}

/// A field by its name in files or in Go's spelling.
fn field<'a>(service: &'a Value, name: &str) -> Option<&'a Value> {
    let mut fields = service.as_object()?.iter();
    let (_, value) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn name_of(service: &Value) -> String {
    match field(service, "name") {
        Some(Value::String(name)) => name.clone(),
        _ => text_of(service, "Name"),
    }
}
