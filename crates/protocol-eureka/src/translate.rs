//! One instance, both ways: Eureka's record to the catalog's facts, and the catalog's rows to Eureka's records.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::endpoint::virtual_node;
use portolan_catalog::{
    Declared, Endpoint, EndpointRow, Health, Host, Instance, InstanceKey, LeaseId, Locality,
    LookupKind, Meta, Port, Registration, ServiceKey, Terms, Transport, Via, Weight, name,
};

use crate::extension::Extension;
use crate::status;
use crate::wire;

/// The service behind an application's name, however it is written.
pub(crate) fn service_of(app: &str) -> ServiceKey {
    name::read_flat(app)
}

/// The application's name as Eureka shows it.
pub(crate) fn app_of(service: &ServiceKey) -> String {
    name::flat(service).to_ascii_uppercase()
}

/// The facts of a registration. `declared` and `claim` are settled by the rules of [`crate::write`].
pub(crate) fn to_registration(
    sent: &wire::Instance,
    declared: Declared,
    claim: u64,
) -> Registration {
    let key = InstanceKey::eureka(&sent.app, sent.effective_id());
    let service = service_of(&sent.app);
    let host = Host::new(&sent.ip_addr);
    let extension = Extension::of(sent, &host.to_string());
    let metadata = |key: &str| sent.metadata.get(key).map(String::as_str);
    Registration {
        spelling: spelling(sent),
        node: virtual_node(&host),
        endpoint: Endpoint {
            ports: ports(sent),
            host,
        },
        inherits_host: false,
        tags: Arc::default(),
        meta: sent
            .metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect(),
        weight: metadata("weight").and_then(weight).unwrap_or_default(),
        warning_weight: metadata("weight").and_then(weight).unwrap_or_default(),
        locality: metadata("zone").filter(|z| !z.is_empty()).map(|zone| {
            Arc::new(Locality {
                region: Arc::default(),
                zone: zone.into(),
            })
        }),
        cluster: Arc::default(),
        declared,
        via: Via::Agent,
        lookups: lookups(sent),
        claim,
        lease: Some(LeaseId::Heartbeat(key.clone())),
        extension: extension.to_bytes(),
        key,
        service,
    }
}

/// Eureka sends names in upper case; the VIP usually has the real spelling.
fn spelling(sent: &wire::Instance) -> Arc<str> {
    let lower = sent.app.to_ascii_lowercase();
    let flat = match sent.vip_address.as_deref() {
        Some(vip) if vip.eq_ignore_ascii_case(&sent.app) => vip,
        Some(_) | None => &lower,
    };
    // The spelling is of the name alone, without group and namespace.
    let length = service_of(&sent.app).name().len();
    flat.get(..length).unwrap_or(flat).into()
}

fn ports(sent: &wire::Instance) -> Arc<[Port]> {
    let mut ports = Vec::new();
    if sent.port.enabled && sent.port.number != 0 {
        ports.push(Port::plain(sent.port.number));
    }
    if sent.secure_port.enabled && sent.secure_port.number != 0 {
        ports.push(Port {
            name: "https".into(),
            number: sent.secure_port.number,
            secure: true,
            transport: Transport::Tcp,
        });
    }
    ports.into()
}

fn weight(text: &str) -> Option<Weight> {
    let weight: f64 = text.trim().parse().ok()?;
    let thousandths = (weight * 1000.0).round();
    (0.0..=f64::from(u32::MAX))
        .contains(&thousandths)
        .then_some(Weight(thousandths as u32))
}

fn lookups(sent: &wire::Instance) -> Arc<[(LookupKind, Arc<str>)]> {
    let names = |kind, vip: &Option<String>| {
        let vip = vip.as_deref().unwrap_or_default();
        vip.split(',')
            .filter(|name| !name.is_empty())
            .map(|name| (kind, name::fold(name)))
            .collect::<Vec<_>>()
    };
    let mut all = names(LookupKind::Vip, &sent.vip_address);
    all.extend(names(LookupKind::SecureVip, &sent.secure_vip_address));
    all.into()
}

/// A row that Eureka's clients registered, as they see it. `terms` are those of its lease, if it is still there.
pub(crate) fn render_own(app: &str, row: &Instance, terms: Option<&Terms>) -> wire::Instance {
    let extension = Extension::from_bytes(&row.extension);
    let mut it = render_typed(app, row);
    let host = row.endpoint.host.to_string();
    it.status = status::of_own(row);
    it.instance_id = (!extension.nameless).then(|| row.key.local().to_owned());
    it.host_name = extension.host_name.clone().unwrap_or_else(|| host.clone());
    it.ip_addr = extension.ip_addr.clone().unwrap_or(host);
    if let Some(number) = extension.port_off {
        it.port.number = number;
    }
    if let Some(number) = extension.secure_off {
        it.secure_port.number = number;
    }
    if extension.port_zero {
        it.port = wire::Port {
            number: 0,
            enabled: true,
        };
    }
    it.country_id = extension.country.unwrap_or(1);
    it.data_center = Some(extension.data_center());
    it.lease.renewal_interval_secs = extension.renewal.unwrap_or(30);
    if let Some(secs) = extension.duration {
        it.lease.duration_secs = secs;
    } else if let Some(terms) = terms {
        it.lease.duration_secs = (terms.ttl_ms() / 1000) as i64;
    }
    let joined = |kind| {
        let names: Vec<&str> = row
            .lookups
            .iter()
            .filter(|(k, _)| *k == kind)
            .map(|(_, name)| &**name)
            .collect();
        (!names.is_empty()).then(|| names.join(","))
    };
    it.vip_address = extension.vip.or_else(|| joined(LookupKind::Vip));
    it.secure_vip_address = extension
        .secure_vip
        .or_else(|| joined(LookupKind::SecureVip));
    it.sid = extension.sid;
    it.app_group = extension.app_group;
    it.home_page_url = extension.home_page;
    it.status_page_url = extension.status_page;
    it.health_check_url = extension.health_check;
    it.secure_health_check_url = extension.secure_health_check;
    it.asg_name = extension.asg;
    it.dirty_at = Some(row.claim as i64);
    if row.admin.is_some() {
        it.action = wire::Action::Modified;
    }
    finish(it, row)
}

/// An endpoint registered through other protocols, as an instance Eureka's clients can use.
pub(crate) fn render_foreign(
    app: &str,
    id: String,
    row: &Instance,
    health: Health,
    updated_at: i64,
) -> wire::Instance {
    let mut it = render_typed(app, row);
    let vip = name::flat_spelled(&row.service, row.service.name());
    it.status = status::of_foreign(row, health);
    it.instance_id = Some(id);
    it.host_name = it.ip_addr.clone();
    if row.endpoint.ports.iter().any(|p| p.secure) {
        it.secure_vip_address = Some(vip.clone());
    }
    it.vip_address = Some(vip);
    it.data_center = Some(wire::DataCenter::own());
    it.updated_at = updated_at;
    it.dirty_at = Some(updated_at);
    finish(it, row)
}

/// When anything shown of an endpoint last changed.
pub(crate) fn updated_at(endpoint: &EndpointRow) -> i64 {
    let times = endpoint.members.iter().map(|m| m.modified_at.0);
    times.max().unwrap_or(0) as i64
}

/// What typed fields say, the same for own and foreign rows.
fn render_typed(app: &str, row: &Instance) -> wire::Instance {
    let plain = row.endpoint.ports.iter().find(|p| !p.secure);
    let secure = row.endpoint.ports.iter().find(|p| p.secure);
    let port = |found: Option<&Port>, absent| wire::Port {
        number: found.map_or(absent, |p| p.number),
        enabled: found.is_some(),
    };
    let defaults = wire::Instance::default();
    wire::Instance {
        app: app.to_owned(),
        ip_addr: row.endpoint.host.to_string(),
        overridden: status::overridden(row.admin.as_deref()),
        port: port(plain, defaults.port.number),
        secure_port: port(secure, defaults.secure_port.number),
        metadata: metadata(row),
        updated_at: row.modified_at.0 as i64,
        ..defaults
    }
}

/// Metadata as Eureka shows it: the row's own, and what Eureka has no other place for.
fn metadata(row: &Instance) -> BTreeMap<String, String> {
    let mut pairs: BTreeMap<String, String> = row
        .meta
        .iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let mut add = |key: &str, value: String| {
        pairs.entry(key.to_owned()).or_insert(value);
    };
    if !row.tags.is_empty() {
        add("tags", joined_tags(&row.tags));
    }
    if row.weight != Weight::ORDINARY {
        add("weight", thousandths(row.weight.0));
    }
    if let Some(locality) = row.locality.as_deref().filter(|l| !l.zone.is_empty()) {
        add("zone", locality.zone.to_string());
    }
    if !row.cluster.is_empty() {
        add("nacos.cluster", row.cluster.to_string());
    }
    pairs
}

fn joined_tags(tags: &[Arc<str>]) -> String {
    let escaped: Vec<String> = tags
        .iter()
        .map(|tag| tag.replace('%', "%25").replace(',', "%2C"))
        .collect();
    escaped.join(",")
}

fn thousandths(weight: u32) -> String {
    let text = format!("{}.{:03}", weight / 1000, weight % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The lease's times. Renewals are not state: a list shows when the row last changed.
fn finish(mut it: wire::Instance, row: &Instance) -> wire::Instance {
    it.lease.registered_at = row.created_at.0 as i64;
    it.lease.renewed_at = row.modified_at.0 as i64;
    if it.status == wire::Status::Up {
        it.lease.up_at = row.health_since.0.max(row.created_at.0) as i64;
    }
    it
}

/// A copy of `meta` with these pairs set.
pub(crate) fn merged(meta: &Meta, pairs: &[(String, String)]) -> Meta {
    let old = meta.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
    old.chain(pairs.iter().cloned()).collect()
}
