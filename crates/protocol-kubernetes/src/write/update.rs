//! PUT and PATCH: an object becomes another one.

use http::StatusCode;
use portolan_catalog::{Expect, Record, Refusal, State};
use portolan_listener::{Action, Response};
use serde_json::Value;

use super::create::make;
use super::prepare::prepare;
use super::{ATTEMPTS, Call, Read, current, written};
use crate::app::{allow, delete, put, record};
use crate::error::{Cause, Failure};
use crate::instances::is_mirrored;
use crate::managed;
use crate::object::{self, metadata_mut};
use crate::patch::Patch;

/// Replaces an object.
pub(crate) async fn update(mut call: Call, body: &[u8]) -> Result<Response, Failure> {
    allow(
        &call.caller,
        Action::Write,
        call.kind,
        &call.namespace,
        &call.name,
    )?;
    let read = call.read(body)?;
    call.same_place(&read.object)?;
    if object::meta(&read.object, "name").is_empty() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        )));
    }
    let asked = object::meta(&read.object, "resourceVersion").to_owned();
    if call.kind.needs_version && asked.is_empty() {
        let there = call.app.registry.snapshot();
        if record(&there, call.kind, &call.namespace, &call.name).is_some() {
            let why = "must be specified for an update";
            let cause = Cause::invalid("metadata.resourceVersion", &Value::from(0), why);
            return Err(Failure::invalid(call.kind, &call.name, &[cause]));
        }
    }
    let mut attempt = 0;
    loop {
        let state = call.app.registry.linearized().await?;
        let Some(found) = record(&state, call.kind, &call.namespace, &call.name) else {
            if call.kind.creates_on_put && call.subresource.is_none() && asked.is_empty() {
                return make(&mut call, read).await;
            }
            return Err(Failure::not_found(call.kind, &call.name));
        };
        let again = asked.is_empty() && attempt < ATTEMPTS;
        match replace(&call, &state, found, &read, attempt).await? {
            Some(response) => return Ok(response),
            None if again => attempt += 1,
            None => return Err(Failure::modified(call.kind, &call.name)),
        }
    }
}

/// Patches an object.
pub(crate) async fn patch(call: Call, patch: &Patch) -> Result<Response, Failure> {
    allow(
        &call.caller,
        Action::Write,
        call.kind,
        &call.namespace,
        &call.name,
    )?;
    let mut attempt = 0;
    loop {
        let state = call.app.registry.linearized().await?;
        let found = record(&state, call.kind, &call.namespace, &call.name)
            .ok_or_else(|| Failure::not_found(call.kind, &call.name))?;
        let before = current(found);
        let after = patch.apply(call.kind, &before)?;
        if !after.is_object() {
            return Err(Failure::bad_request("a patch has to leave an object"));
        }
        let read = call.checked(after)?;
        call.same_place(&read.object)?;
        if read.object.to_string().len() > call.app.settings.object_bytes {
            return Err(Failure::too_large_body("the patched object is too large"));
        }
        // A patch that names a version means that one and no other.
        let names = object::meta(&read.object, "resourceVersion")
            != object::meta(&before, "resourceVersion");
        match replace(&call, &state, found, &read, attempt).await? {
            Some(response) => return Ok(response),
            None if !names && attempt < ATTEMPTS => attempt += 1,
            None => return Err(Failure::modified(call.kind, &call.name)),
        }
    }
}

/// Puts `read` in the place of `found`. None when somebody else was there first.
pub(super) async fn replace(
    call: &Call,
    state: &State,
    found: &Record,
    read: &Read,
    attempt: u64,
) -> Result<Option<Response>, Failure> {
    let before = current(found);
    let (kind, name) = (call.kind, call.name.as_str());
    let asked = object::meta(&read.object, "resourceVersion");
    if !asked.is_empty() && asked != object::meta(&before, "resourceVersion") {
        return Ok(None);
    }
    if is_mirrored(&before) {
        return Err(Failure::forbidden(kind, name, MIRRORED));
    }
    let (uid, own) = (
        object::meta(&read.object, "uid"),
        object::meta(&before, "uid"),
    );
    if !uid.is_empty() && uid != own {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}");
        return Err(Failure::conflict(kind, name, &why));
    }
    let mut after = read.object.clone();
    keep(kind, &before, &mut after, call.subresource);
    let planned = prepare(
        &call.app,
        state,
        kind,
        Some(&before),
        &mut after,
        call.subresource,
        attempt,
    )?;
    call.own(Some(&before), &mut after, read);
    object::set_version(&mut after, found.modified);
    let answer = |object: &Value| call.answer(StatusCode::OK, object, &read.warnings);
    if managed::same(&before, &after) {
        // Nothing is different: nobody is told anything.
        return Ok(Some(answer(&before)));
    }
    if call.params.dry_run()? {
        return Ok(Some(answer(&after)));
    }
    let expect = Expect::Modified(found.modified);
    let gone = !object::meta(&after, "deletionTimestamp").is_empty()
        && object::items(&after, "/metadata/finalizers").is_empty()
        && kind.kind != "Namespace"
        && kind.kind != "Pod";
    let first = match gone {
        // The last of those who held it back let go.
        true => delete(kind, &call.namespace, name, expect),
        false => put(kind, &call.namespace, name, &after, expect),
    };
    let mut ops = vec![first];
    ops.extend(planned.ops);
    match call.app.settle(&call.caller, ops).await? {
        Ok(done) => {
            let revision = written(&done).unwrap_or(found.modified);
            object::set_version(&mut after, revision);
            Ok(Some(answer(&after)))
        }
        Err(Refusal::Changed(_) | Refusal::NoKey | Refusal::Exists) => Ok(None),
        Err(refusal) => Err(Failure::refused(&refusal, kind, name)),
    }
}

/// What a client cannot change comes from what is there.
fn keep(kind: &crate::kind::Kind, before: &Value, after: &mut Value, subresource: Option<&str>) {
    after["apiVersion"] = before["apiVersion"].clone();
    after["kind"] = before["kind"].clone();
    let has_status = kind.subresources.contains(&"status");
    match subresource {
        // Only the status, and nothing else of what was sent.
        Some("status") => {
            let status = after["status"].take();
            *after = before.clone();
            match status.is_null() {
                true => drop(after.as_object_mut().map(|map| map.remove("status"))),
                false => after["status"] = status,
            }
        }
        Some("finalize") => {
            let finalizers = after["spec"]["finalizers"].take();
            *after = before.clone();
            after["spec"]["finalizers"] = finalizers;
        }
        _ if has_status && !before["status"].is_null() => {
            after["status"] = before["status"].clone();
        }
        _ if has_status => drop(after.as_object_mut().map(|map| map.remove("status"))),
        _ => {}
    }
    let old = before["metadata"].clone();
    let metadata = metadata_mut(after);
    for field in ["resourceVersion", "selfLink", "managedFields"] {
        metadata.remove(field);
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        match old[field].is_null() {
            true => metadata.remove(field),
            false => metadata.insert(field.into(), old[field].clone()),
        };
    }
}

/// Why what was registered elsewhere is not changed here.
pub(super) const MIRRORED: &str =
    "it shows a service that was registered through another protocol, and is changed there";
