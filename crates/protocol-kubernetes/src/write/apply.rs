//! PATCH with a whole configuration: server-side apply.

use portolan_listener::{Action, Response};
use serde_json::Value;

use super::create::make;
use super::update::replace;
use super::{ATTEMPTS, Call, Read, current};
use crate::app::{allow, record};
use crate::error::Failure;
use crate::managed;
use crate::object::{self, metadata_mut};
use crate::{schema, yaml};

/// Applies the configuration in `body`: the object has what it says, and no longer what its manager said before and now does not.
pub(crate) async fn apply(mut call: Call, body: &[u8]) -> Result<Response, Failure> {
    allow(
        &call.caller,
        Action::Write,
        call.kind,
        &call.namespace,
        &call.name,
    )?;
    let config = configuration(&call, body)?;
    let force = call.params.force();
    let mut attempt = 0;
    loop {
        let state = call.app.registry.linearized().await?;
        let found = record(&state, call.kind, &call.namespace, &call.name);
        let before = found.map(|found| current(found));
        if before.is_none() {
            if call.subresource.is_some() {
                return Err(Failure::not_found(call.kind, &call.name));
            }
            let uid = object::meta(&config, "uid");
            if !uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Failure::conflict(call.kind, &call.name, &why));
            }
        }
        let read = read(&call, before.as_ref(), &config, force)?;
        let Some(found) = found else {
            return make(&mut call, read).await;
        };
        let names = !object::meta(&config, "resourceVersion").is_empty();
        match replace(&call, &state, found, &read, attempt).await? {
            Some(response) => return Ok(response),
            None if !names && attempt < ATTEMPTS => attempt += 1,
            None => return Err(Failure::modified(call.kind, &call.name)),
        }
    }
}

/// The configuration in a body, of which the path says what it is.
fn configuration(call: &Call, body: &[u8]) -> Result<Value, Failure> {
    let config = yaml::read(body).map_err(|error| {
        Failure::bad_request(format!(
            "error decoding YAML: error converting YAML to JSON: {error}"
        ))
    })?;
    if !config.is_object() {
        return Err(Failure::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            schema::kind_of(&config)
        )));
    }
    let given = |field: &str| config[field].as_str().unwrap_or_default().to_owned();
    let (kind, version) = (given("kind"), given("apiVersion"));
    if version != call.kind.api_version() || kind != call.kind.kind {
        let version = match version.contains('/') {
            true => version,
            false => format!("/{version}"),
        };
        return Err(Failure::bad_request(format!(
            "invalid object type: {version}, Kind={kind}"
        )));
    }
    if !config["metadata"].is_null() && !config["metadata"].is_object() {
        return Err(Failure::bad_request("metadata is not an object"));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    call.same_place(&config)?;
    Ok(config)
}

/// What the configuration makes of the object, and who owns it then.
fn read(call: &Call, before: Option<&Value>, config: &Value, force: bool) -> Result<Read, Failure> {
    let now = object::time(call.app.registry.now());
    let writer = managed::Writer {
        kind: call.kind,
        subresource: call.subresource,
        manager: call.manager(),
        now: &now,
    };
    let applied = managed::apply(&writer, before, config, force)?;
    if applied.to_string().len() > call.app.settings.object_bytes {
        return Err(Failure::too_large_body("the applied object is too large"));
    }
    let mut read = call.checked(applied)?;
    let owners = metadata_mut(&mut read.object).remove("managedFields");
    read.owners = Some(owners.unwrap_or_default());
    Ok(read)
}
