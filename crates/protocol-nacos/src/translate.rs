//! One instance, both ways: Nacos' words to the catalog's facts, and rows of any protocol to what Nacos' clients get.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::endpoint::virtual_node;
use portolan_catalog::{
    AdminStatus, Declared, Endpoint, EndpointRow, Health, Host, Instance, InstanceKey, LeaseId,
    Locality, Meta, Protocol, Registration, State, Terms, Via, Weight,
};

use crate::names::{self, BadName, ServiceName};
use crate::overlay::Overlay;
use crate::wire::instance::{self as wire, Pairs, Shown};

/// An instance that passed the checks of a registration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checked {
    pub(crate) ip: String,
    pub(crate) port: u16,
    pub(crate) weight: Weight,
    pub(crate) healthy: bool,
    pub(crate) enabled: bool,
    pub(crate) ephemeral: bool,
    pub(crate) cluster: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The largest weight.
const WEIGHT_MOST: f64 = 10_000.0;

/// What a client sent, with Nacos' defaults, checked as Nacos checks it.
pub(crate) fn checked(sent: &wire::Instance) -> Result<Checked, BadName> {
    let ip = sent.ip.as_deref().unwrap_or_default().trim();
    if ip.is_empty() || ip.contains(['#', '/', '\0']) {
        return Err(BadName(
            "instance format invalid: Your IP address is spelled incorrectly".into(),
        ));
    }
    let port = sent.port.unwrap_or(0);
    let port = u16::try_from(port).map_err(|_| {
        BadName(format!(
            "instance format invalid: Your port {port} is not between 0 and 65535"
        ))
    })?;
    let weight = sent.weight.unwrap_or(1.0);
    if !(0.0..=WEIGHT_MOST).contains(&weight) {
        return Err(BadName(
            "instance format invalid: The weights range from 0.0 to 10000.0".into(),
        ));
    }
    let cluster = names::cluster(sent.cluster_name.as_deref().unwrap_or_default())?;
    let number = |key: &str| {
        let text = sent.metadata.get(key)?;
        text.trim().parse::<u64>().ok()
    };
    let interval = number("preserved.heart.beat.interval").unwrap_or(wire::BEAT_INTERVAL_MS);
    let timeout = number("preserved.heart.beat.timeout").unwrap_or(wire::BEAT_TIMEOUT_MS);
    let delete = number("preserved.ip.delete.timeout").unwrap_or(wire::DELETE_TIMEOUT_MS);
    if timeout < interval || delete < interval {
        return Err(BadName(
            "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.".into(),
        ));
    }
    Ok(Checked {
        ip: ip.to_owned(),
        port,
        // Between nought and ten million.
        weight: Weight((weight * 1000.0).round() as u32),
        healthy: sent.healthy.unwrap_or(true),
        enabled: sent.enabled.unwrap_or(true),
        ephemeral: sent.ephemeral.unwrap_or(true),
        cluster: cluster.to_owned(),
        metadata: sent.metadata.clone(),
    })
}

/// Who keeps a registration alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody: it stays.
    Nobody,
    /// Beats over HTTP.
    Beats,
    /// A gRPC connection.
    Connection(LeaseId),
}

/// Milliseconds for which what a connection registered outlives the server that the connection was to.
pub(crate) const CONNECTION_LEASE_MS: u64 = 30_000;

impl Checked {
    /// Its identity in a service.
    pub(crate) fn key(&self, service: &ServiceName) -> InstanceKey {
        names::instance_key(
            &service.key,
            &self.host().to_string(),
            self.port,
            &self.cluster,
        )
    }

    /// The canonical host.
    pub(crate) fn host(&self) -> Host {
        Host::new(&self.ip)
    }

    /// The terms of the lease that keeps it alive.
    pub(crate) fn terms(&self, owner: &Owner) -> Option<Terms> {
        match owner {
            Owner::Nobody => None,
            Owner::Connection(_) => Some(Terms::heartbeat(CONNECTION_LEASE_MS)),
            Owner::Beats => {
                let meta: Meta = self.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
                Some(beat_terms(&meta))
            }
        }
    }

    /// The facts, with `overlay` laid over them.
    pub(crate) fn facts(
        &self,
        service: &ServiceName,
        owner: &Owner,
        overlay: &Overlay,
    ) -> Registration {
        let key = self.key(service);
        let host = self.host();
        let zone = self.metadata.get("zone").filter(|zone| !zone.is_empty());
        let mut endpoint = Endpoint::new(host.clone(), self.port);
        if self.metadata.get("secure").map(String::as_str) == Some("true") {
            let mut ports = endpoint.ports.to_vec();
            for port in &mut ports {
                port.secure = true;
            }
            endpoint.ports = ports.into();
        }
        let mut facts = Registration {
            spelling: service.name.as_str().into(),
            node: virtual_node(&host),
            meta: self.metadata.iter().map(|(k, v)| (&**k, &**v)).collect(),
            weight: self.weight,
            warning_weight: self.weight,
            locality: zone.map(|zone| {
                Arc::new(Locality {
                    region: Arc::default(),
                    zone: zone.as_str().into(),
                })
            }),
            cluster: self.cluster.as_str().into(),
            declared: match (self.enabled, self.healthy) {
                (false, _) => Declared::OutOfService,
                (true, true) => Declared::Up,
                (true, false) => Declared::Down,
            },
            via: match owner {
                Owner::Nobody => Via::Catalog,
                Owner::Beats => Via::Agent,
                Owner::Connection(_) => Via::Connection,
            },
            lease: match owner {
                Owner::Nobody => None,
                Owner::Beats => Some(LeaseId::Heartbeat(key.clone())),
                Owner::Connection(lease) => Some(lease.clone()),
            },
            ..Registration::new(key, service.key.clone(), endpoint)
        };
        let spelled = names::nacos_group(service.key.group());
        let overlay = Overlay {
            group: (spelled != service.group).then(|| service.group.clone()),
            ..overlay.clone()
        };
        overlay.apply(&mut facts);
        facts
    }
}

/// The terms of a lease that beats keep: unhealthy, then removed, after the times that the metadata says.
pub(crate) fn beat_terms(meta: &Meta) -> Terms {
    let [_, timeout, delete] = Shown::times(meta);
    if timeout < delete {
        Terms::two_stages(timeout, delete)
    } else {
        Terms::heartbeat(delete)
    }
}

/// One instance as Nacos shows it: its own clients' rows by themselves, an endpoint of other protocols once.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The row: its own, or the one that stands for a foreign endpoint.
    pub(crate) instance: Arc<Instance>,
    pub(crate) healthy: bool,
    pub(crate) enabled: bool,
}

/// What an endpoint shows. The server's own service stays out.
pub(crate) fn rows(state: &State, endpoint: &EndpointRow) -> Vec<Row> {
    let shown = endpoint.rows(Protocol::Nacos);
    shown
        .filter(|row| row.key.origin != Protocol::Portolan)
        .map(|row| match row.key.origin {
            Protocol::Nacos => own(state, row),
            _ => Row {
                instance: row.clone(),
                healthy: match endpoint.health {
                    Health::Passing | Health::Warning => true,
                    Health::Critical => false,
                    Health::Maintenance => !row.lapsed,
                },
                // No weight is out of service for every protocol but its own; here the weight says so.
                enabled: endpoint.health != Health::Maintenance
                    || row.weight.0 == 0 && in_service(row),
            },
        })
        .collect()
}

fn in_service(row: &Instance) -> bool {
    let imposed = row.admin.as_deref().map(|admin| admin.status);
    let taken_out = matches!(
        imposed,
        Some(AdminStatus::OutOfService | AdminStatus::Draining)
    );
    !taken_out && row.effective_declared() != Declared::OutOfService
}

/// A row of Nacos' own clients. Whether it works and whether it may be used are two things there.
fn own(state: &State, row: &Arc<Instance>) -> Row {
    let node = state.node(&row.node).and_then(|node| node.admin.as_ref());
    let enabled = in_service(row) && node.is_none();
    let healthy = match row.health {
        Health::Passing | Health::Warning => true,
        Health::Critical => false,
        Health::Maintenance => {
            let mut checks = state.checks_of(&row.key);
            !row.lapsed && checks.all(|check| check.status.health().serves())
        }
    };
    Row {
        instance: row.clone(),
        healthy,
        enabled,
    }
}

impl Row {
    /// Whether Nacos' own clients registered it.
    pub(crate) fn is_own(&self) -> bool {
        self.instance.key.origin == Protocol::Nacos
    }

    /// Its cluster.
    pub(crate) fn cluster(&self) -> &str {
        match &*self.instance.cluster {
            "" => names::DEFAULT_CLUSTER,
            cluster => cluster,
        }
    }

    /// The record clients get. `grouped` is the service as they spell it.
    pub(crate) fn shown<'a>(&'a self, grouped: &'a str) -> Shown<'a> {
        let row = &self.instance;
        let [interval, timeout, delete] = Shown::times(&row.meta);
        let ip = row.endpoint.host.to_string();
        let port = row.endpoint.port();
        Shown {
            instance_id: format!("{ip}#{port}#{}#{grouped}", self.cluster()),
            ip,
            port,
            weight: f64::from(row.weight.0) / 1000.0,
            healthy: self.healthy,
            enabled: self.enabled,
            ephemeral: row.lease.is_some(),
            cluster_name: self.cluster(),
            service_name: grouped,
            metadata: Pairs {
                own: &row.meta,
                beside: self.beside(),
            },
            instance_heart_beat_interval: interval,
            instance_heart_beat_time_out: timeout,
            ip_delete_timeout: delete,
        }
    }

    /// What Nacos has no other place for.
    fn beside(&self) -> Vec<(&'static str, String)> {
        let row = &self.instance;
        let mut pairs = Vec::new();
        let mut add = |key: &'static str, value: &dyn Fn() -> String| {
            if row.meta.get(key).is_none() {
                pairs.push((key, value()));
            }
        };
        if !row.tags.is_empty() {
            add("tags", &|| {
                let escaped = row
                    .tags
                    .iter()
                    .map(|tag| tag.replace('%', "%25").replace(',', "%2C"));
                escaped.collect::<Vec<_>>().join(",")
            });
        }
        if let Some(locality) = row.locality.as_deref().filter(|it| !it.zone.is_empty()) {
            add("zone", &|| locality.zone.to_string());
        }
        if row.endpoint.ports.first().is_some_and(|port| port.secure) {
            add("secure", &|| "true".to_owned());
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(json: &str) -> wire::Instance {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_cannot_be_registered() {
        let rows = [
            (r#"{"port":80}"#, "IP address"),
            (r#"{"ip":"1.1.1.1","port":70000}"#, "port 70000"),
            (r#"{"ip":"1.1.1.1","port":-1}"#, "port -1"),
            (r#"{"ip":"1.1.1.1","port":1,"weight":-1}"#, "weights"),
            (r#"{"ip":"1.1.1.1","port":1,"weight":10000.5}"#, "weights"),
            (
                r#"{"ip":"1.1.1.1","port":1,"clusterName":"a_b"}"#,
                "clusterName",
            ),
            (
                r#"{"ip":"1.1.1.1","port":1,"metadata":{"preserved.heart.beat.timeout":"1000"}}"#,
                "heart beat",
            ),
        ];
        for (json, expected) in rows {
            let BadName(why) = checked(&sent(json)).unwrap_err();
            assert!(why.contains(expected), "{json}: {why}");
        }
    }

    #[test]
    fn beats_have_two_stages() {
        let service = ServiceName::new("", "", "web").unwrap();
        let rows = [
            (r#"{}"#, Terms::two_stages(15_000, 30_000)),
            (
                r#"{"preserved.heart.beat.timeout":"5000","preserved.ip.delete.timeout":"6000"}"#,
                Terms::two_stages(5000, 6000),
            ),
            (
                r#"{"preserved.ip.delete.timeout":"10000"}"#,
                Terms::heartbeat(10_000),
            ),
        ];
        for (metadata, terms) in rows {
            let sent = sent(&format!(
                r#"{{"ip":"1.1.1.1","port":80,"metadata":{metadata}}}"#
            ));
            let checked = checked(&sent).unwrap();
            assert_eq!(checked.terms(&Owner::Beats), Some(terms), "{metadata}");
            let facts = checked.facts(&service, &Owner::Beats, &Overlay::default());
            assert_eq!(facts.lease, Some(LeaseId::Heartbeat(facts.key.clone())));
            assert!(facts.extension.is_empty());
        }
    }
}
