//! Curator's service discovery, and what is built on it: Spring Cloud ZooKeeper, and Dubbo by application.
//!
//! `<root>/<service>/<id>` holds `{"name","id","address","port","sslPort","payload","registrationTimeUTC","serviceType","uriSpec"}`. What is in
//! `payload` differs: a Java reader fails on another one's class, so a root speaks one dialect at a time.

use serde_json::Value;

use super::json;
use crate::endpoint::{Endpoint, Host, Port, Transport};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Declared, Instance, Meta, Registration, Weight};
use crate::name::read_flat;
use crate::{bounds, limits};

const SPRING: &str = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance";
const DUBBO: &str = "org.apache.dubbo.registry.zookeeper.ZookeeperInstance";

/// What every application of Dubbo's has in its metadata, and nobody else.
const REVISION: &str = "dubbo.metadata.revision";

/// Whose payload a root's nodes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Nobody's yet: the first client's node decides. Until then as [`Dialect::Plain`], but for an instance that says it is Dubbo's.
    #[default]
    Open,
    /// None: applications of Curator's own recipe.
    Plain,
    /// Spring Cloud ZooKeeper's.
    Spring,
    /// Dubbo's, of services by application.
    Dubbo,
}

impl Dialect {
    /// The dialect in which a root shows an instance.
    pub(super) fn of(self, primary: &Instance, level: u8) -> Dialect {
        let dubbos = level >= super::DUBBO_LEVEL && primary.meta.get(REVISION).is_some();
        match self {
            Dialect::Open if dubbos => Dialect::Dubbo,
            other => other,
        }
    }
}

fn parse(value: &str) -> Option<Value> {
    serde_json::from_str(value).ok()
}

/// The dialect of a node's value.
pub(crate) fn dialect(value: &[u8]) -> Dialect {
    let value = std::str::from_utf8(value).ok().and_then(parse);
    let payload = value.as_ref().and_then(|value| value.get("payload"));
    match payload.and_then(|payload| payload.get("@class")?.as_str()) {
        Some(SPRING) => Dialect::Spring,
        Some(DUBBO) => Dialect::Dubbo,
        _ => Dialect::Plain,
    }
}

pub(super) fn recognise(root: &str, path: &str, value: &str) -> Option<Registration> {
    let (service, id) = path
        .strip_prefix(root)?
        .strip_prefix('/')?
        .split_once('/')?;
    if service.is_empty() || id.is_empty() || id.contains('/') {
        return None;
    }
    let value = parse(value)?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let number = |name: &str| u16::try_from(value.get(name)?.as_u64()?).ok();
    if text("name")? != service || text("id")?.is_empty() {
        return None;
    }
    let ports = [("port", "", false), ("sslPort", "https", true)];
    let ports: Vec<Port> = ports
        .into_iter()
        .filter_map(|(field, name, secure)| {
            Some(Port {
                name: name.into(),
                number: number(field).filter(|number| *number != 0)?,
                secure,
                transport: Transport::Tcp,
            })
        })
        .collect();
    let host = Host::new(text("address").filter(|address| !address.is_empty())?);
    let endpoint = match ports.is_empty() {
        true => Endpoint::new(host, 0),
        false => Endpoint {
            host,
            ports: ports.into(),
        },
    };
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Znodes, path),
        read_flat(service),
        endpoint,
    );
    facts.spelling = service.into();
    let payload = value.get("payload");
    facts.meta = bounded(&json::meta(
        payload.and_then(|payload| payload.get("metadata")),
    ));
    let status = facts.meta.get("instance_status");
    let disabled = value.get("enabled") == Some(&Value::Bool(false));
    if disabled || status.is_some_and(|status| status.eq_ignore_ascii_case("out_of_service")) {
        facts.declared = Declared::OutOfService;
    }
    if let Some(weight) = facts.meta.get("weight").and_then(|w| w.parse().ok()) {
        facts.weight = Weight::from_units(weight, 1);
    }
    bounds::check(&facts).is_ok().then_some(facts)
}

/// As much metadata as an instance can have: what is too long for one must not keep a client from writing its own node.
pub(super) fn bounded(meta: &Meta) -> Meta {
    let mut total = 0;
    meta.iter()
        .filter(|(key, value)| key.len() <= limits::META_KEY && value.len() <= limits::META_VALUE)
        .take_while(|(key, value)| {
            total += key.len() + value.len();
            total <= limits::META_TOTAL
        })
        .take(limits::META_PAIRS)
        .collect()
}

pub(super) fn render(
    root: &str,
    dialect: Dialect,
    name: &str,
    primary: &Instance,
) -> Option<(String, String)> {
    let is_plain = |port: &&Port| !port.secure && port.number != 0;
    let plain = primary.endpoint.ports.iter().find(is_plain);
    let secure = primary.endpoint.ports.iter().find(|port| port.secure);
    let port = plain.or(secure)?.number;
    if port == 0 || name.contains('/') {
        return None;
    }
    let host = primary.endpoint.host.to_string();
    let id = match dialect {
        Dialect::Dubbo => primary.endpoint.host.with_port(port),
        Dialect::Open | Dialect::Plain | Dialect::Spring => uuid(primary),
    };
    let payload = match dialect {
        Dialect::Open | Dialect::Plain => "null".to_owned(),
        Dialect::Spring => {
            let mut meta = json::meta_with_tags(primary);
            if meta.get("instance_status").is_none() {
                meta = meta.with("instance_status", "UP");
            }
            payload(SPRING, &id, name, &meta)
        }
        Dialect::Dubbo => {
            let mut meta = json::meta_with_tags(primary);
            let endpoints = format!("[{{\"port\":{port},\"protocol\":\"dubbo\"}}]");
            for (key, value) in [
                ("dubbo.endpoints", &*endpoints),
                ("dubbo.metadata.storage-type", "local"),
            ] {
                if meta.get(key).is_none() {
                    meta = meta.with(key, value);
                }
            }
            payload(DUBBO, &id, name, &meta)
        }
    };
    let uri = match dialect {
        Dialect::Spring => URI,
        Dialect::Open | Dialect::Plain | Dialect::Dubbo => "null",
    };
    let number = |port: Option<&Port>| port.map_or("null".to_owned(), |p| p.number.to_string());
    let value = format!(
        "{{\"name\":{},\"id\":{},\"address\":{},\"port\":{},\"sslPort\":{},\"payload\":{payload},\"registrationTimeUTC\":{},\"serviceType\":\"DYNAMIC\",\"uriSpec\":{uri}}}",
        json::string(name),
        json::string(&id),
        json::string(&host),
        number(plain),
        number(secure),
        primary.created_at.0,
    );
    Some((format!("{root}/{name}/{id}"), value))
}

/// `{scheme}://{address}:{port}`, taken apart as Curator writes it.
const URI: &str = concat!(
    r#"{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},"#,
    r#"{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]}"#
);

fn payload(class: &str, id: &str, name: &str, meta: &Meta) -> String {
    let meta = match meta.is_empty() {
        true => "{}".to_owned(),
        false => json::object_or_null(meta),
    };
    format!(
        "{{\"@class\":\"{class}\",\"id\":{},\"name\":{},\"metadata\":{meta}}}",
        json::string(id),
        json::string(name),
    )
}

/// A stable id in the form that Curator gives: the hash of the endpoint, as a UUID of version 8.
fn uuid(primary: &Instance) -> String {
    let hash = super::hash(primary);
    let (high, low) = (hash >> 32, hash & 0xffff_ffff);
    format!(
        "{high:08x}-{:04x}-8{:03x}-8{:03x}-{low:08x}{:04x}",
        low >> 16,
        low & 0xfff,
        high & 0xfff,
        high >> 16
    )
}
