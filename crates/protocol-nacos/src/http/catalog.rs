//! Pages of services, as dashboards ask for them.

use std::sync::Arc;

use portolan_catalog::{Service, State};
use portolan_listener::{Action, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::params::Asked;
use super::service::clusters_of;
use crate::error::Problem;
use crate::names;
use crate::read;

/// A page of v3.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<'a, T: Serialize> {
    total_count: usize,
    page_number: usize,
    pages_available: usize,
    page_items: &'a [T],
}

/// Items of a page of a list with `count` items.
pub(crate) fn paged<T: Serialize>(
    items: &[T],
    count: usize,
    (number, size): (usize, usize),
) -> Page<'_, T> {
    Page {
        total_count: count,
        page_number: number,
        pages_available: count.div_ceil(size.max(1)),
        page_items: items,
    }
}

/// The services of a namespace whose names have in them what is asked for.
pub(crate) fn search(asked: &Asked, state: &State) -> Vec<Arc<Service>> {
    let has = |wanted: &str, text: &str| {
        let wanted = wanted.trim().to_ascii_lowercase();
        wanted.is_empty() || text.to_ascii_lowercase().contains(wanted.trim_matches('*'))
    };
    let name = asked
        .any(&["serviceNameParam", "serviceName"])
        .unwrap_or_default();
    let group = asked
        .any(&["groupNameParam", "groupName"])
        .unwrap_or_default();
    let without_empty = ["hasIpCount", "ignoreEmptyService"]
        .iter()
        .any(|key| asked.get(key) == Some("true"));
    read::services_in(state, asked.namespace())
        .filter(|row| has(name, &row.spelling) && has(group, &names::nacos_group(row.key.group())))
        .filter(|row| !without_empty || state.endpoints(&row.key).next().is_some())
        .cloned()
        .collect()
}

/// One service in a page.
pub(crate) fn summary(state: &State, row: &Arc<Service>) -> Value {
    let name = read::name_of(state, row);
    let rows = read::rows_of(state, &row.key);
    let healthy = rows.iter().filter(|row| row.healthy).count();
    let threshold = f64::from(row.settings.protect_threshold) / 1000.0;
    let reached = !rows.is_empty() && healthy as f64 / rows.len() as f64 <= threshold;
    json!({
        "name": name.name, "groupName": name.group, "clusterCount": clusters_of(state, row).len(),
        "ipCount": rows.len(), "healthyInstanceCount": healthy, "triggerFlag": reached.to_string(),
    })
}

/// Services with counts, or with their instances.
pub(crate) async fn services(asked: Asked) -> Result<Response, Problem> {
    asked
        .app
        .allow_group(&asked.caller, Action::Discover, None)?;
    let page = asked.page(10)?;
    let state = asked.app.registry.snapshot();
    let (rows, count) = read::page(search(&asked, &state), page.0, page.1);
    if asked.flag("withInstances")? == Some(true) {
        let all: Vec<Value> = rows.iter().map(|row| with_instances(&state, row)).collect();
        return Ok(asked.form.data(&all));
    }
    let all: Vec<Value> = rows.iter().map(|row| summary(&state, row)).collect();
    Ok(asked
        .form
        .data(&json!({"count": count, "serviceList": all})))
}

fn with_instances(state: &State, row: &Arc<Service>) -> Value {
    let name = read::name_of(state, row);
    let grouped = name.grouped();
    let rows = read::rows_of(state, &row.key);
    let clusters: serde_json::Map<String, Value> = clusters_of(state, row)
        .into_iter()
        .map(|cluster| {
            let hosts = rows
                .iter()
                .filter(|row| row.cluster() == cluster)
                .map(|row| row.shown(&grouped));
            let hosts = json!({"clusterName": cluster, "hosts": hosts.collect::<Vec<_>>()});
            (cluster, hosts)
        })
        .collect();
    json!({
        "serviceName": name.name, "groupName": name.group, "clusterMap": clusters,
        "metadata": crate::clusters::metadata(&row.settings.meta),
    })
}

/// One service with its clusters.
pub(crate) async fn service(asked: Asked) -> Result<Response, Problem> {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let state = asked.app.registry.snapshot();
    let Some(row) = state.service(&service.key) else {
        return Err(crate::write::no_service(&service));
    };
    let clusters: Vec<Value> = clusters_of(&state, row)
        .iter()
        .map(|name| crate::clusters::of(&state, &service.key, name).detail(name))
        .collect();
    Ok(asked.form.data(&json!({
        "service": {
            "name": service.name, "groupName": service.group, "namespaceId": service.namespace,
            "protectThreshold": f64::from(row.settings.protect_threshold) / 1000.0,
            "metadata": crate::clusters::metadata(&row.settings.meta),
        },
        "clusters": clusters,
    })))
}
