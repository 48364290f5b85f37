//! POST: a new object.

use http::StatusCode;
use portolan_catalog::{Expect, Op, Refusal, State};
use portolan_listener::{Action, Response};
use serde_json::Value;

use super::prepare::{Plan, prepare};
use super::{ATTEMPTS, Call, Read, written};
use crate::app::{allow, put, record};
use crate::error::{Cause, Failure};
use crate::kind::{NAMESPACES, SPACE};
use crate::names::{check_name, generated};
use crate::object::{self, metadata_mut};

/// Creates the object in `body`.
pub(crate) async fn create(mut call: Call, body: &[u8]) -> Result<Response, Failure> {
    allow(
        &call.caller,
        Action::Write,
        call.kind,
        &call.namespace,
        &call.name,
    )?;
    if call.subresource.is_some() || !call.name.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    let read = call.read(body)?;
    call.same_place(&read.object)?;
    make(&mut call, read).await
}

/// As [`create`], of an object that was read.
pub(super) async fn make(call: &mut Call, read: Read) -> Result<Response, Failure> {
    let dry = call.params.dry_run()?;
    let base = object::meta(&read.object, "generateName").to_owned();
    let given = match call.name.is_empty() {
        true => object::meta(&read.object, "name").to_owned(),
        false => call.name.clone(),
    };
    let mut attempt = 0;
    loop {
        let name = match given.is_empty() && !base.is_empty() {
            true => generated(&base),
            false => given.clone(),
        };
        let mut causes = Vec::new();
        check_name(call.kind, &name, &mut causes);
        if !causes.is_empty() {
            return Err(Failure::invalid(call.kind, &name, &causes));
        }
        if given.is_empty() {
            allow(
                &call.caller,
                Action::Write,
                call.kind,
                &call.namespace,
                &name,
            )?;
        }
        // A namespace that was just made at another server is there.
        let state = call.app.registry.linearized().await?;
        let mut object = read.object.clone();
        let planned = plan(call, &state, &name, &mut object, attempt)?;
        call.own(None, &mut object, &read);
        let answer = |object: &Value| call.answer(StatusCode::CREATED, object, &read.warnings);
        if dry {
            return match record(&state, call.kind, &call.namespace, &name) {
                Some(_) => Err(Failure::exists(call.kind, &name)),
                None => Ok(answer(&object)),
            };
        }
        let mut ops = vec![put(
            call.kind,
            &call.namespace,
            &name,
            &object,
            Expect::Absent,
        )];
        ops.extend(planned.ops);
        match call.app.settle(&call.caller, ops).await? {
            Ok(done) => {
                if let Some(revision) = written(&done) {
                    object::set_version(&mut object, revision);
                }
                return Ok(answer(&object));
            }
            Err(Refusal::Exists | Refusal::NoKey | Refusal::Changed(_)) if attempt < ATTEMPTS => {
                // Its name is taken, or an address that was chosen for it, or its namespace went.
                let state = call.app.registry.snapshot();
                let taken = record(&state, call.kind, &call.namespace, &name).is_some();
                if taken && !given.is_empty() {
                    return Err(Failure::exists(call.kind, &name));
                }
                attempt += 1;
            }
            Err(refusal) => return Err(Failure::refused(&refusal, call.kind, &name)),
        }
    }
}

/// Fills in what a new object gets, and finds what has to be written with it.
fn plan(
    call: &Call,
    state: &State,
    name: &str,
    object: &mut Value,
    attempt: u64,
) -> Result<Plan, Failure> {
    let mut ops = Vec::new();
    if call.kind.namespaced {
        let namespace = &call.namespace;
        let found = record(state, &NAMESPACES, "", namespace)
            .ok_or_else(|| Failure::not_found(&NAMESPACES, namespace))?;
        let row = object::decode(found);
        if !object::meta(&row, "deletionTimestamp").is_empty() {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(Failure::forbidden(call.kind, name, &why));
        }
        ops.push(Op::Check {
            space: SPACE,
            key: NAMESPACES.key("", namespace),
            expect: Expect::Present,
        });
    }
    object["apiVersion"] = call.kind.api_version().into();
    object["kind"] = call.kind.kind.into();
    if !object::meta(object, "resourceVersion").is_empty() {
        return Err(Failure::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let metadata = metadata_mut(object);
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    ] {
        metadata.remove(field);
    }
    metadata.insert("name".into(), name.into());
    metadata.insert("uid".into(), object::uid().into());
    let created = object::time(call.app.registry.now());
    metadata.insert("creationTimestamp".into(), created.into());
    match call.kind.namespaced {
        true => metadata.insert("namespace".into(), call.namespace.as_str().into()),
        false => match metadata.remove("namespace") {
            Some(namespace) if namespace != "" => {
                let cause = Cause::forbidden("metadata.namespace", "not allowed on this type");
                return Err(Failure::invalid(call.kind, name, &[cause]));
            }
            other => other,
        },
    };
    let mut planned = prepare(&call.app, state, call.kind, None, object, None, attempt)?;
    ops.append(&mut planned.ops);
    Ok(Plan { ops })
}
