//! Checks: rows, and those that stand for what the catalog knows otherwise (maintenance, registrations born elsewhere).

use super::{Shown, is_own, service_id, service_name};
use crate::extension::CheckExtension;
use crate::wire::{HealthCheck, Text, print_millis};
use portolan_catalog::{
    AdminStatus, Check, Declared, Health, Instance, NodeName, Probe, ProbeTls, Status,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

const NO_SERVICE_REASON: &str = "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";
const NO_NODE_REASON: &str = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
/// The check that says a node is in maintenance.
const NODE_MAINTENANCE: &str = "_node_maintenance";

/// The id of the check that says a service is in maintenance.
fn maintenance_check_id(service_id: &str) -> String {
    format!("_service_maintenance:{service_id}")
}

/// One status for several checks: maintenance, critical, warning, passing, in this order.
pub(crate) fn aggregated(checks: &[HealthCheck<'_>]) -> &'static str {
    let maintenance = checks
        .iter()
        .any(|c| c.check_id == NODE_MAINTENANCE || c.check_id.starts_with("_service_maintenance:"));
    if maintenance {
        return "maintenance";
    }
    ["critical", "warning"]
        .into_iter()
        .find(|status| checks.iter().any(|c| c.status == *status))
        .unwrap_or("passing")
}

fn is_out(status: AdminStatus) -> bool {
    match status {
        AdminStatus::OutOfService | AdminStatus::Draining | AdminStatus::Down => true,
        AdminStatus::Up => false,
    }
}

impl<'a> Shown<'a> {
    /// A node's own checks, by id.
    pub(crate) fn checks_of_node(self, name: &NodeName) -> Vec<HealthCheck<'a>> {
        let mut checks = Vec::new();
        let Some(node) = self.state.node(name).filter(|_| self.sees_node(name)) else {
            return checks;
        };
        if let Some(admin) = node.admin.as_deref().filter(|admin| is_out(admin.status)) {
            let notes = if admin.reason.is_empty() {
                NO_NODE_REASON
            } else {
                &admin.reason
            };
            checks.push(HealthCheck {
                node: Cow::Borrowed(&node.spelling),
                check_id: Cow::Borrowed(NODE_MAINTENANCE),
                name: Cow::Borrowed("Node Maintenance Mode"),
                status: Status::Critical.as_str(),
                notes: Cow::Borrowed(notes),
                kind: Cow::Borrowed("maintenance"),
                create_index: node.modified.0,
                modify_index: node.modified.0,
                ..blank()
            });
        }
        checks.extend(
            self.state
                .node_checks(name)
                .map(|check| self.check(check, &node.spelling, None)),
        );
        checks
    }

    /// The checks of an instance, by id.
    pub(crate) fn checks_of(self, instance: &'a Instance) -> Vec<HealthCheck<'a>> {
        let node = self.node_name(instance);
        if !self.sees_row(instance) {
            return Vec::new();
        }
        let mut checks: Vec<_> = self
            .state
            .checks_of(&instance.key)
            .map(|check| self.check(check, node, Some(instance)))
            .collect();
        let admin = instance.admin.as_deref();
        let forced_down = admin.filter(|admin| admin.status == AdminStatus::Down);
        let out = admin.filter(|admin| is_out(admin.status) && forced_down.is_none());
        let mut maintenance = out.map(|admin| {
            if admin.reason.is_empty() {
                NO_SERVICE_REASON
            } else {
                &*admin.reason
            }
        });
        let bound = |check: HealthCheck<'a>| HealthCheck {
            node: Cow::Borrowed(node),
            service_id: service_id(instance),
            service_name: service_name(instance),
            service_tags: tags(instance),
            create_index: instance.created.0,
            modify_index: instance.modified.0,
            ..check
        };
        if !is_own(instance) {
            if instance.weight.0 == 0 {
                maintenance.get_or_insert("the weight is zero");
            }
            if instance.effective_declared() == Declared::OutOfService {
                maintenance.get_or_insert("the instance declared itself out of service");
            }
            let status = match instance.health {
                Health::Passing => Status::Passing,
                Health::Warning => Status::Warning,
                Health::Critical => Status::Critical,
                // The maintenance check says so; this one says whether the instance itself is well.
                Health::Maintenance if instance.lapsed => Status::Critical,
                Health::Maintenance => Status::Passing,
            };
            checks.push(bound(HealthCheck {
                check_id: Cow::Owned(format!("service:{}", instance.key)),
                name: Cow::Owned(format!("{} registration", instance.key.origin)),
                status: status.as_str(),
                ..blank()
            }));
        }
        // Down is critical and not maintenance; a foreign row's registration check says so already.
        if let Some(admin) = forced_down.filter(|_| is_own(instance)) {
            checks.push(bound(HealthCheck {
                check_id: Cow::Owned(format!("_service_status:{}", service_id(instance))),
                name: Cow::Borrowed("Service Status Override"),
                status: Status::Critical.as_str(),
                notes: Cow::Borrowed(&admin.reason),
                ..blank()
            }));
        }
        if let Some(notes) = maintenance {
            checks.push(bound(HealthCheck {
                check_id: Cow::Owned(maintenance_check_id(&service_id(instance))),
                name: Cow::Borrowed("Service Maintenance Mode"),
                status: Status::Critical.as_str(),
                notes: Cow::Borrowed(notes),
                kind: Cow::Borrowed("maintenance"),
                ..blank()
            }));
        }
        checks.sort_by(|a, b| a.check_id.cmp(&b.check_id));
        checks
    }

    /// The spelling of an instance's node.
    pub(crate) fn node_name(self, instance: &'a Instance) -> &'a str {
        self.state
            .node(&instance.node)
            .map_or(instance.node.as_str(), |node| &node.spelling)
    }

    /// Every check of a node: its own and those of the rows shown on it, by id.
    pub(crate) fn all_checks_on(self, name: &NodeName) -> Vec<HealthCheck<'a>> {
        let mut checks = self.checks_of_node(name);
        for row in self.rows_on(name) {
            checks.extend(self.checks_of(row));
        }
        checks.sort_by(|a, b| a.check_id.cmp(&b.check_id));
        checks
    }

    /// Every check there is, by node and id.
    pub(crate) fn all_checks(self) -> Vec<HealthCheck<'a>> {
        let mut checks = Vec::new();
        for node in self.state.nodes() {
            checks.extend(self.all_checks_on(&node.name));
        }
        for name in self.state.virtual_nodes() {
            checks.extend(self.all_checks_on(name));
        }
        checks
    }

    /// One check row. `node` is the spelling of its node.
    pub(crate) fn check(
        self,
        check: &'a Check,
        node: &'a str,
        instance: Option<&'a Instance>,
    ) -> HealthCheck<'a> {
        let agent = check.owner.as_ref() == Some(&check.key.node());
        let when = |ms: u64| {
            if agent && ms > 0 {
                Cow::Owned(print_millis(ms))
            } else {
                Text::default()
            }
        };
        HealthCheck {
            node: Cow::Borrowed(node),
            check_id: Cow::Borrowed(check.key.id()),
            name: Cow::Borrowed(&check.name),
            status: check.status.as_str(),
            notes: Cow::Borrowed(&check.notes),
            output: Cow::Borrowed(&check.output),
            service_id: instance.map(service_id).unwrap_or_default(),
            service_name: instance.map(service_name).unwrap_or_default(),
            service_tags: instance.map(tags).unwrap_or_default(),
            kind: match CheckExtension::decode(&check.extension).kind {
                kind if kind.is_empty() => Cow::Borrowed(check.probe.kind()),
                kind => Cow::Owned(kind),
            },
            interval: when(check.interval_ms),
            timeout: when(check.timeout_ms),
            exposed_port: 0,
            definition: if agent { json!({}) } else { definition(check) },
            create_index: check.created.0,
            modify_index: check.modified.0,
        }
    }
}

fn tags(instance: &Instance) -> Vec<Text<'_>> {
    instance
        .tags
        .iter()
        .map(|tag| Cow::Borrowed(&**tag))
        .collect()
}

fn blank<'a>() -> HealthCheck<'a> {
    HealthCheck {
        node: Text::default(),
        check_id: Text::default(),
        name: Text::default(),
        status: Status::Critical.as_str(),
        notes: Text::default(),
        output: Text::default(),
        service_id: Text::default(),
        service_name: Text::default(),
        service_tags: Vec::new(),
        kind: Text::default(),
        interval: Text::default(),
        timeout: Text::default(),
        exposed_port: 0,
        definition: json!({}),
        create_index: 1,
        modify_index: 1,
    }
}

/// The `Definition` of a check that was written to the catalog: what was sent, with durations as text.
fn definition(check: &Check) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        let hollow = match &value {
            Value::String(text) => text.is_empty(),
            Value::Bool(flag) => !flag,
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Null | Value::Number(_) => false,
        };
        if !hollow {
            map.insert(key.to_owned(), value);
        }
    };
    match &check.probe {
        Probe::None => {}
        // The one duration that Consul shows as a number, of nanoseconds.
        Probe::Ttl { ttl_ms } => put("TTL", json!(ttl_ms.saturating_mul(1_000_000))),
        Probe::Script { args } => put("ScriptArgs", json!(args)),
        Probe::Docker {
            container,
            shell,
            args,
        } => {
            put("DockerContainerID", json!(container));
            put("Shell", json!(shell));
            put("ScriptArgs", json!(args));
        }
        Probe::Http {
            url,
            method,
            headers,
            body,
            disable_redirects,
            tls,
        } => {
            put("HTTP", json!(url));
            put("DisableRedirects", json!(disable_redirects));
            put(
                "Method",
                if &**method == "GET" {
                    json!("")
                } else {
                    json!(method)
                },
            );
            let mut lines: Map<String, Value> = Map::new();
            for (name, value) in headers.iter() {
                if let Value::Array(values) =
                    lines.entry(name.to_string()).or_insert_with(|| json!([]))
                {
                    values.push(json!(value));
                }
            }
            put("Header", Value::Object(lines));
            put("Body", json!(body));
            put_tls(&mut put, tls);
        }
        Probe::Tcp { target, tls } => {
            put("TCP", json!(target));
            put("TCPUseTLS", json!(tls.is_some()));
            if let Some(tls) = tls {
                put_tls(&mut put, tls);
            }
        }
        Probe::Udp { target } => put("UDP", json!(target)),
        Probe::Grpc { target, tls } => {
            put("GRPC", json!(target));
            put("GRPCUseTLS", json!(tls.is_some()));
            if let Some(tls) = tls {
                put_tls(&mut put, tls);
            }
        }
        Probe::H2Ping { target, tls } => {
            put("H2PING", json!(target));
            put("H2PingUseTLS", json!(tls.is_some()));
        }
        Probe::Alias { node, service } => {
            put("AliasNode", json!(node.as_str()));
            put("AliasService", json!(service));
        }
        Probe::OsService { name } => put("OSService", json!(name)),
    }
    for (key, ms) in [
        ("Interval", check.interval_ms),
        ("Timeout", check.timeout_ms),
        (
            "DeregisterCriticalServiceAfter",
            CheckExtension::decode(&check.extension).reap_after_ms,
        ),
    ] {
        if ms > 0 {
            put(key, json!(print_millis(ms)));
        }
    }
    Value::Object(map)
}

fn put_tls(put: &mut impl FnMut(&str, Value), tls: &ProbeTls) {
    put("TLSServerName", json!(tls.server_name));
    put("TLSSkipVerify", json!(tls.skip_verify));
}
