//! DELETE: one object, or all of a kind that match.

use http::StatusCode;
use portolan_catalog::{Expect, Op, Record, Refusal, State};
use portolan_listener::{Action, Response};
use serde_json::{Value, json};

use super::update::MIRRORED;
use super::{ATTEMPTS, Call, current};
use crate::app::{allow, allow_all, delete as removal, put, record};
use crate::describe::table::Form;
use crate::error::{Cause, Failure};
use crate::instances::is_mirrored;
use crate::kind::{ENDPOINTS, Kind, SPACE};
use crate::object::{self, metadata_mut};

/// What a client says of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    uid: Option<String>,
    version: Option<String>,
    grace: Option<u64>,
    dry: bool,
}

impl Options {
    fn read(call: &Call, body: &[u8]) -> Result<Options, Failure> {
        let given: Value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("DeleteOptions: {error}")))?,
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let policy = match call.params.get("propagationPolicy") {
            "" => given["propagationPolicy"].as_str().unwrap_or_default(),
            policy => policy,
        };
        let orphan = given["orphanDependents"] == true;
        if !matches!(policy, "" | "Background") || orphan {
            let cause = Cause::unsupported(
                "propagationPolicy",
                &Value::from(if orphan { "Orphan" } else { policy }),
                &["Background"],
            );
            return Err(Failure::invalid_of(
                "DeleteOptions",
                "meta.k8s.io",
                "",
                &[cause],
            ));
        }
        let grace = match call.params.get("gracePeriodSeconds") {
            "" => given["gracePeriodSeconds"].as_u64(),
            text => text.parse().ok(),
        };
        let dry = call.params.dry_run()?
            || given["dryRun"]
                .as_array()
                .is_some_and(|all| !all.is_empty());
        Ok(Options {
            uid: text(&given["preconditions"]["uid"]),
            version: text(&given["preconditions"]["resourceVersion"]),
            grace,
            dry,
        })
    }

    /// Whether the object is the one that is meant.
    fn met(&self, kind: &Kind, name: &str, object: &Value) -> Result<(), Failure> {
        let rows = [
            (
                "UID",
                &self.uid,
                object::meta(object, "uid"),
                "deleted and then recreated",
            ),
            (
                "ResourceVersion",
                &self.version,
                object::meta(object, "resourceVersion"),
                "modified",
            ),
        ];
        for (what, asked, own, happened) in rows {
            if let Some(asked) = asked.as_deref().filter(|asked| *asked != own) {
                let why = format!(
                    "the {what} in the precondition ({asked}) does not match the {what} in record ({own}). The object might have been {happened}"
                );
                return Err(Failure::precondition(kind, name, &why));
            }
        }
        Ok(())
    }
}

/// What becomes of an object that is to go.
enum Going {
    /// It goes now.
    Now,
    /// It is marked, and goes when nobody holds it back any longer.
    Marked(Value),
    /// It is marked already.
    Already,
}

fn going(call: &Call, object: &Value, options: &Options) -> Going {
    let is_marked = !object::meta(object, "deletionTimestamp").is_empty();
    let held = !object::items(object, "/metadata/finalizers").is_empty();
    let grace = match call.kind.kind {
        "Namespace" => Some(0),
        "Pod" => pod_grace(object, options),
        _ => None,
    };
    match grace {
        None if !held => return Going::Now,
        Some(_) | None if is_marked => {
            // Asked again, with less patience.
            let sooner = grace == Some(0) && call.kind.kind == "Pod" && !held;
            return if sooner { Going::Now } else { Going::Already };
        }
        Some(0) if call.kind.kind == "Pod" && !held => return Going::Now,
        _ => {}
    }
    let grace = grace.unwrap_or(0);
    let mut marked = object.clone();
    let at = call.app.registry.now().plus_ms(grace.saturating_mul(1000));
    let metadata = metadata_mut(&mut marked);
    metadata.insert("deletionTimestamp".into(), object::time(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if call.kind.kind == "Namespace" {
        metadata.remove("deletionGracePeriodSeconds");
        marked["status"]["phase"] = "Terminating".into();
    }
    Going::Marked(marked)
}

/// Seconds that a pod gets to end; none of one that runs nowhere or has ended.
fn pod_grace(pod: &Value, options: &Options) -> Option<u64> {
    let ended = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if ended || object::text(pod, "/spec/nodeName").is_empty() {
        return Some(0);
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    Some(options.grace.or(own).unwrap_or(30))
}

/// Operations that go with the removal of an object.
fn beside(state: &State, call: &Call, name: &str, object: &Value) -> Vec<Op> {
    if call.kind.kind != "Service" {
        return Vec::new();
    }
    let mut ops = crate::service::released(object);
    // The Endpoints of a Service go with it, whoever made them.
    if record(state, &ENDPOINTS, &call.namespace, name).is_some() {
        ops.push(removal(&ENDPOINTS, &call.namespace, name, Expect::Any));
    }
    ops
}

/// Removes an object.
pub(crate) async fn delete(call: Call, body: &[u8]) -> Result<Response, Failure> {
    allow(
        &call.caller,
        Action::Write,
        call.kind,
        &call.namespace,
        &call.name,
    )?;
    let options = Options::read(&call, body)?;
    let mut attempt = 0;
    loop {
        let state = call.app.registry.linearized().await?;
        let found = record(&state, call.kind, &call.namespace, &call.name)
            .ok_or_else(|| Failure::not_found(call.kind, &call.name))?;
        match remove(&call, &state, found, &call.name, &options).await? {
            Some(shown) => return Ok(answer(&call, &shown)),
            None if attempt < ATTEMPTS => attempt += 1,
            None => return Err(Failure::modified(call.kind, &call.name)),
        }
    }
}

/// How an object was left.
struct Shown {
    object: Value,
    /// It is still there, marked.
    remains: bool,
}

async fn remove(
    call: &Call,
    state: &State,
    found: &Record,
    name: &str,
    options: &Options,
) -> Result<Option<Shown>, Failure> {
    let object = current(found);
    options.met(call.kind, name, &object)?;
    if is_mirrored(&object) {
        return Err(Failure::forbidden(call.kind, name, MIRRORED));
    }
    let forever = crate::app::FIRST.contains(&name) && name != "kube-node-lease";
    if call.kind.kind == "Namespace" && forever {
        return Err(Failure::forbidden(
            call.kind,
            name,
            "this namespace may not be deleted",
        ));
    }
    let expect = Expect::Modified(found.modified);
    let (mut ops, shown) = match going(call, &object, options) {
        Going::Already => {
            return Ok(Some(Shown {
                object,
                remains: true,
            }));
        }
        Going::Now => {
            let mut ops = vec![removal(call.kind, &call.namespace, name, expect)];
            ops.extend(beside(state, call, name, &object));
            (
                ops,
                Shown {
                    object,
                    remains: false,
                },
            )
        }
        Going::Marked(marked) => (
            vec![put(call.kind, &call.namespace, name, &marked, expect)],
            Shown {
                object: marked,
                remains: true,
            },
        ),
    };
    if options.dry {
        return Ok(Some(shown));
    }
    // What was looked at has to be what is removed.
    if ops.len() > 1 {
        ops.insert(
            0,
            Op::Check {
                space: SPACE,
                key: call.kind.key(&call.namespace, name),
                expect: Expect::Modified(found.modified),
            },
        );
    }
    match call.app.settle(&call.caller, ops).await? {
        Ok(done) => {
            let mut shown = shown;
            if let Some(revision) = super::written(&done) {
                object::set_version(&mut shown.object, revision);
            }
            Ok(Some(shown))
        }
        Err(Refusal::Changed(_) | Refusal::NoKey) => Ok(None),
        Err(refusal) => Err(Failure::refused(&refusal, call.kind, name)),
    }
}

/// Pods, services and namespaces are answered themselves, others with a `Status`; what is only marked is always shown.
fn answer(call: &Call, shown: &Shown) -> Response {
    let itself = shown.remains || matches!(call.kind.kind, "Pod" | "Service" | "Namespace");
    if itself || call.accepted.form != Form::Object {
        return call.answer(StatusCode::OK, &shown.object, &[]);
    }
    let mut details = json!({
        "name": object::meta(&shown.object, "name"),
        "kind": call.kind.plural,
        "uid": object::meta(&shown.object, "uid"),
    });
    if !call.kind.group.is_empty() {
        details["group"] = call.kind.group.into();
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    });
    call.accepted
        .media
        .answer(StatusCode::OK, &status, "Status")
}

/// Removes all objects of a kind, or of one of its namespaces, that match.
pub(crate) async fn delete_all(
    call: Call,
    namespace: Option<&str>,
    body: &[u8],
) -> Result<Response, Failure> {
    allow_all(&call.caller, Action::Write, call.kind, namespace)?;
    let options = Options::read(&call, body)?;
    let selector = call.params.selector(call.kind)?;
    let state = call.app.registry.linearized().await?;
    let range = call.kind.range(namespace);
    let mut gone = Vec::new();
    for (key, found) in state.range(SPACE, &range) {
        let object = current(found);
        let Some((_, _, name)) = Kind::of_key(key) else {
            continue;
        };
        if !selector.matches(&object) || is_mirrored(&object) {
            continue;
        }
        // What others change or remove meanwhile is looked at again.
        for _attempt in 0..ATTEMPTS {
            let now = call.app.registry.snapshot();
            let Some(found) = record(&now, call.kind, &call.namespace, name) else {
                break;
            };
            if let Some(shown) = remove(&call, &now, found, name, &options).await? {
                gone.push(shown.object);
                break;
            }
        }
    }
    let metadata = json!({"resourceVersion": call.app.registry.snapshot().revision().to_string()});
    let now = call.app.registry.now();
    let body = call
        .accepted
        .form
        .many(call.kind, &gone, metadata, &call.params, now);
    Ok(call.accepted.answer_list(StatusCode::OK, &body, call.kind))
}
