//! State -> replies: one service as a client asks for it, and lists of services.
//!
//! Invariants
//! - `name`, `groupName` and `clusters` are what the client wrote, because clients look up their cache by them.
//! - `lastRefTime` never goes back: it is the replicated time of the service's last change, and clients drop what is older.
//! - Protection is of the answer, not of the rows: other protocols do not know it.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Protocol, Service, ServiceKey, State};
use portolan_registry::{Registry, Slot, View};

use crate::names::{self, ServiceName};
use crate::overlay::Overlay;
use crate::translate::{self, Row};

/// Milliseconds after which a client without pushes asks again.
const CACHE_MS: u32 = 10_000;

/// What a client wants of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask<'a> {
    /// Clusters, comma separated; empty for all.
    pub(crate) clusters: &'a str,
    /// Unhealthy instances stay out.
    pub(crate) healthy_only: bool,
    /// Instances that are out of service are in, as in what is pushed; lists leave them out.
    pub(crate) disabled: bool,
}

/// The hosts of a service, encoded, with what is said of all of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hosts {
    /// A JSON array.
    pub(crate) json: Bytes,
    /// So few are healthy that all are shown as healthy.
    pub(crate) protected: bool,
}

/// How the name is written in an answer: with its group over HTTP, without over gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelled {
    Grouped,
    Plain,
}

/// The hosts of a service. What most clients ask for is encoded once for all of them.
pub(crate) fn hosts(registry: &Registry, service: &ServiceName, ask: Ask<'_>) -> Hosts {
    let view = registry.view(&service.key);
    let grouped = service.grouped();
    if !ask.clusters.is_empty() || ask.healthy_only {
        return render(registry, &view, &grouped, ask);
    }
    // In front of the hosts stands how the service was spelled, since that is in each of them, and whether it is protected.
    let form = view.form(Slot::nacos(ask.disabled.into()), || {
        let hosts = render(registry, &view, &grouped, ask);
        let mut form = Vec::with_capacity(grouped.len() + 2 + hosts.json.len());
        form.extend_from_slice(grouped.as_bytes());
        form.extend_from_slice(&[0, hosts.protected.into()]);
        form.extend_from_slice(&hosts.json);
        form.into()
    });
    let head = grouped.len();
    let same = form.starts_with(grouped.as_bytes()) && form.get(head) == Some(&0);
    match form.get(head + 1).filter(|_| same) {
        Some(protected) => Hosts {
            protected: *protected != 0,
            json: form.slice(head + 2..),
        },
        None => render(registry, &view, &grouped, ask),
    }
}

fn render(registry: &Registry, view: &View, grouped: &str, ask: Ask<'_>) -> Hosts {
    let state = registry.snapshot();
    let rows = view
        .endpoints
        .iter()
        .flat_map(|endpoint| translate::rows(&state, endpoint))
        .filter(|row| ask.disabled || row.enabled)
        .filter(|row| in_clusters(row, ask.clusters));
    let (rows, protected) = protect(view.service.as_deref(), rows.collect(), ask.healthy_only);
    let shown: Vec<_> = rows.iter().map(|row| row.shown(grouped)).collect();
    Hosts {
        // Text and numbers can always be written.
        json: serde_json::to_vec(&shown).unwrap_or_default().into(),
        protected,
    }
}

/// Whether a row is in one of the clusters, which are comma separated; in any when none is named.
pub(crate) fn in_clusters(row: &Row, clusters: &str) -> bool {
    let mut named = clusters
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .peekable();
    named.peek().is_none() || named.any(|cluster| cluster == row.cluster())
}

/// Leaves unhealthy rows out where that is wanted; but when no more than the threshold of a declared service's are healthy, shows all of
/// them, as healthy. A threshold of nought holds for a service without any.
fn protect(service: Option<&Service>, mut rows: Vec<Row>, healthy_only: bool) -> (Vec<Row>, bool) {
    let healthy = rows.iter().filter(|row| row.healthy).count();
    let declared = service.filter(|row| row.declared_by.contains(Protocol::Nacos));
    let reached = declared.is_some_and(|service| {
        // In thousandths, and without a division: a service without rows reaches nothing.
        !rows.is_empty()
            && healthy as u64 * 1000
                <= rows.len() as u64 * u64::from(service.settings.protect_threshold)
    });
    if reached {
        for row in &mut rows {
            row.healthy = true;
        }
    } else if healthy_only {
        rows.retain(|row| row.healthy);
    }
    (rows, reached)
}

/// When the service last changed, in milliseconds; the time of the catalog when it is not known.
pub(crate) fn last_change(registry: &Registry, service: &ServiceKey) -> u64 {
    registry.read(|state| {
        let marks = state.service_marks(service);
        match state.service(service) {
            Some(_) => marks.changed_at.0,
            None => state.last_at().0,
        }
    })
}

/// Appends a `ServiceInfo`.
pub(crate) fn append_info(
    out: &mut Vec<u8>,
    service: &ServiceName,
    spelled: Spelled,
    clusters: &str,
    hosts: &Hosts,
    changed_ms: u64,
) {
    let mut text = |before: &str, value: &str| {
        out.extend_from_slice(before.as_bytes());
        // Writing to a `Vec` does not fail.
        let _ = serde_json::to_writer(&mut *out, value);
    };
    match spelled {
        Spelled::Grouped => text("{\"name\":", &service.grouped()),
        Spelled::Plain => text("{\"name\":", &service.name),
    }
    text(",\"groupName\":", &service.group);
    text(",\"clusters\":", clusters);
    out.extend_from_slice(format!(",\"cacheMillis\":{CACHE_MS},\"hosts\":").as_bytes());
    out.extend_from_slice(&hosts.json);
    out.extend_from_slice(
        format!(
            ",\"lastRefTime\":{changed_ms},\"checksum\":\"\",\"allIps\":false,\"reachProtectionThreshold\":{},\"valid\":true}}",
            hosts.protected
        )
        .as_bytes(),
    );
}

/// A whole `ServiceInfo`.
pub(crate) fn info(
    registry: &Registry,
    service: &ServiceName,
    spelled: Spelled,
    ask: Ask<'_>,
) -> Vec<u8> {
    let hosts = hosts(registry, service, ask);
    let mut out = Vec::with_capacity(hosts.json.len() + 256);
    let changed_ms = last_change(registry, &service.key);
    append_info(&mut out, service, spelled, ask.clusters, &hosts, changed_ms);
    out
}

/// All rows of a service, whatever their state.
pub(crate) fn rows_of(state: &State, service: &ServiceKey) -> Vec<Row> {
    state
        .endpoints(service)
        .flat_map(|endpoint| translate::rows(state, endpoint))
        .collect()
}

/// The services of a namespace as Nacos lists them: also those without instances, but not the server's own.
pub(crate) fn services_in<'a>(
    state: &'a State,
    namespace: &str,
) -> impl Iterator<Item = &'a Arc<Service>> {
    let namespace = names::model_namespace(namespace);
    let listed: Vec<_> = state
        .services_in(&namespace)
        .filter(|row| is_listed(state, row))
        .collect();
    listed.into_iter()
}

/// Whether a service is shown: the server's own is not.
pub(crate) fn is_listed(state: &State, service: &Service) -> bool {
    if service.declared_by.contains(Protocol::Nacos) {
        return true;
    }
    let mut rows = state.instances(&service.key);
    match rows.next() {
        None => true,
        Some(first) if first.key.origin != Protocol::Portolan => true,
        Some(_) => rows.any(|row| row.key.origin != Protocol::Portolan),
    }
}

/// A service's name in the spelling of whoever registered it.
pub(crate) fn name_of(state: &State, service: &Service) -> ServiceName {
    let group = state
        .instances(&service.key)
        .filter(|row| row.key.origin == Protocol::Nacos)
        .find_map(|row| Overlay::of(row).group);
    ServiceName::of(&service.key, &service.spelling, group.as_deref())
}

/// One page of a list: its items and how many there are in all. Pages count from 1.
pub(crate) fn page<T>(all: Vec<T>, number: usize, size: usize) -> (Vec<T>, usize) {
    let count = all.len();
    let skipped = number.saturating_sub(1).saturating_mul(size);
    (all.into_iter().skip(skipped).take(size).collect(), count)
}

/// The plain names of a group's services, a page of them, and how many there are.
pub(crate) fn names(
    state: &State,
    namespace: &str,
    group: &str,
    (number, size): (usize, usize),
) -> (Vec<String>, usize) {
    let group = names::model_group(group);
    let all = services_in(state, namespace).filter(|row| row.key.group() == group);
    let all: Vec<&Arc<Service>> = all.collect();
    let (rows, count) = page(all, number, size);
    (
        rows.iter().map(|row| row.spelling.to_string()).collect(),
        count,
    )
}
