//! gRPC-Go naming (clientv3 `naming/endpoints`): `<target>/<anything>` holding `{"Op":0,"Addr":"h:p","Metadata":any|null}`.
//! The target is free, so it is configured; it names the service.

use serde_json::Value;

use super::json;
use crate::endpoint::{Endpoint, split_host_port};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Instance, Registration, Weight};
use crate::name::read_flat;

pub(super) fn recognise(target: &str, key: &str, value: &str) -> Option<Registration> {
    let id = key.strip_prefix(target)?.strip_prefix('/')?;
    let value: Value = serde_json::from_str(value).ok()?;
    if id.is_empty() || value.get("Op")?.as_u64()? != 0 {
        return None;
    }
    let (host, port) = split_host_port(value.get("Addr")?.as_str()?)?;
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Etcd, key),
        read_flat(target),
        Endpoint::new(host, port),
    );
    facts.spelling = target.into();
    facts.meta = json::meta(value.get("Metadata"));
    if let Some(weight) = facts.meta.get("weight").and_then(|w| w.parse().ok()) {
        facts.weight = Weight::from_units(weight, 1);
    }
    Some(facts)
}

pub(super) fn render(target: &str, name: &str, primary: &Instance) -> Option<(String, String)> {
    let port = primary.endpoint.port();
    if port == 0 || !name.eq_ignore_ascii_case(target) {
        return None;
    }
    let mut meta = json::meta_with_tags(primary);
    if primary.weight != Weight::ORDINARY && meta.get("weight").is_none() {
        meta = meta.with("weight", &primary.weight.to_units(1, 1).to_string());
    }
    let address = json::string(&primary.endpoint.host.with_port(port));
    let value = format!(
        "{{\"Op\":0,\"Addr\":{address},\"Metadata\":{}}}",
        json::object_or_null(&meta)
    );
    Some((format!("{target}/{}", super::hash_hex(primary)), value))
}
