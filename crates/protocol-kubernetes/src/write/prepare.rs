//! What the server fills into an object before it is kept, and what has to be written with it.

use portolan_catalog::{Op, State};
use serde_json::{Value, json};

use super::valid;
use crate::app::App;
use crate::error::{Cause, Failure};
use crate::kind::Kind;
use crate::names::{check_annotations, check_labels};
use crate::object::{self, map_mut, metadata_mut};
use crate::service;

/// What is written beside an object.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) ops: Vec<Op>,
}

/// Completes `object`, which is new or takes the place of `before`. `attempt` makes another choice where there is one.
pub(super) fn prepare(
    app: &App,
    state: &State,
    kind: &'static Kind,
    before: Option<&Value>,
    object: &mut Value,
    subresource: Option<&str>,
    attempt: u64,
) -> Result<Plan, Failure> {
    let name = object::meta(object, "name").to_owned();
    let mut causes = Vec::new();
    check_labels(
        &object["metadata"]["labels"],
        "metadata.labels",
        &mut causes,
    );
    check_annotations(&object["metadata"]["annotations"], &mut causes);
    owners(object, &mut causes);
    let marked = object::label(object, crate::instances::MANAGED_BY)
        .or_else(|| object::label(object, crate::instances::SLICE_MANAGED_BY));
    if marked == Some(crate::instances::OURS) {
        let why = "portolan.io marks what the server made of services registered elsewhere";
        causes.push(Cause::forbidden("metadata.labels", why));
    }
    let mut plan = Plan::default();
    if subresource.is_none() {
        match kind.kind {
            "Service" => {
                service::defaults(object, before, &app.ranges);
                service::validate(object, before, &app.ranges, &mut causes);
                if causes.is_empty() {
                    plan.ops = service::allocate(app, state, object, before, attempt, &mut causes);
                }
            }
            "Namespace" => {
                let metadata = metadata_mut(object);
                let labels = metadata.entry("labels").or_insert_with(|| json!({}));
                labels["kubernetes.io/metadata.name"] = name.as_str().into();
                if before.is_none() {
                    map_mut(object, "spec").insert("finalizers".into(), json!(["kubernetes"]));
                    object["status"] = json!({"phase": "Active"});
                } else if let Some(before) = before {
                    object["spec"] = before["spec"].clone();
                }
            }
            "Pod" => pod(object, before, &mut causes),
            "EndpointSlice" => slice(object, before, &mut causes),
            "Endpoints" => endpoints(object, &mut causes),
            "ConfigMap" => valid::config_map(object, before, &mut causes),
            "Lease" => valid::lease(object, &mut causes),
            "Event" => valid::event(object, &mut causes),
            _ => {}
        }
    }
    match causes.is_empty() {
        true => Ok(plan),
        false => Err(Failure::invalid(kind, &name, &causes)),
    }
}

fn owners(object: &Value, causes: &mut Vec<Cause>) {
    for owner in object::items(object, "/metadata/ownerReferences") {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if object::text(owner, &format!("/{field}")).is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let why = match field {
                    "apiVersion" => "version must not be empty",
                    _ => "must not be empty",
                };
                causes.push(Cause::invalid(path, &Value::from(""), why));
            }
        }
    }
}

fn set_default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn pod(pod: &mut Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    map_mut(pod, "spec");
    let spec = &mut pod["spec"];
    for (field, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("enableServiceLinks", json!(true)),
        ("restartPolicy", json!("Always")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        set_default(spec, field, value);
    }
    if let Some(account) = spec["serviceAccount"].as_str().map(str::to_owned) {
        set_default(spec, "serviceAccountName", account.into());
    }
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container_defaults(container);
        }
    }
    if before.is_none() {
        // Whoever runs the pod says the rest, through its status.
        pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
    }
    valid::pod(pod, before, causes);
}

fn container_defaults(container: &mut Value) {
    let image = object::text(container, "/image");
    let latest = !image.contains('@')
        && image
            .rsplit('/')
            .next()
            .is_none_or(|name| !name.contains(':') || name.ends_with(":latest"));
    let pull = if latest { "Always" } else { "IfNotPresent" };
    for (field, value) in [
        ("imagePullPolicy", json!(pull)),
        ("resources", json!({})),
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
    ] {
        set_default(container, field, value);
    }
    for port in container["ports"].as_array_mut().into_iter().flatten() {
        set_default(port, "protocol", json!("TCP"));
    }
}

fn slice(slice: &mut Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    for port in slice["ports"].as_array_mut().into_iter().flatten() {
        set_default(port, "name", json!(""));
        set_default(port, "protocol", json!("TCP"));
    }
    set_default(slice, "endpoints", json!([]));
    set_default(slice, "ports", json!([]));
    valid::slice(slice, before, causes);
}

fn endpoints(endpoints: &mut Value, causes: &mut Vec<Cause>) {
    for subset in endpoints["subsets"].as_array_mut().into_iter().flatten() {
        for port in subset["ports"].as_array_mut().into_iter().flatten() {
            set_default(port, "protocol", json!("TCP"));
        }
    }
    valid::endpoints(endpoints, causes);
}
