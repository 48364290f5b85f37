//! Kitex `registry-etcd`: `kitex/registry-etcd/<service>/<host:port>` holding
//! `{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":{}}`; weight 10 is ordinary, 0 and absent read as 10.

use serde_json::Value;

use super::json;
use crate::endpoint::{Endpoint, split_host_port};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Instance, Registration, Weight};
use crate::name::read_flat;

pub(super) const ROOT: &str = "kitex/registry-etcd/";

pub(super) fn recognise(key: &str, value: &str) -> Option<Registration> {
    let (service, id) = key.strip_prefix(ROOT)?.split_once('/')?;
    if service.is_empty() || id.is_empty() || id.contains('/') {
        return None;
    }
    let value: Value = serde_json::from_str(value).ok()?;
    let (host, port) = split_host_port(value.get("address")?.as_str()?)?;
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Etcd, key),
        read_flat(service),
        Endpoint::new(host, port),
    );
    facts.spelling = service.into();
    let weight = value
        .get("weight")
        .and_then(Value::as_u64)
        .filter(|w| *w > 0)
        .unwrap_or(10);
    facts.weight = Weight::from_units(weight, 10);
    facts.meta = json::meta(value.get("tags"));
    Some(facts)
}

pub(super) fn render(name: &str, primary: &Instance) -> Option<(String, String)> {
    let port = primary.endpoint.port();
    if port == 0 || name.contains('/') {
        return None;
    }
    let address = primary.endpoint.host.with_port(port);
    let tags = json::object_or_null(&json::meta_with_tags(primary));
    let weight = primary.weight.to_units(10, 1);
    let value = format!(
        "{{\"network\":\"tcp\",\"address\":{},\"weight\":{weight},\"tags\":{tags}}}",
        json::string(&address)
    );
    Some((format!("{ROOT}{name}/{address}"), value))
}
