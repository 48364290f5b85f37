//! go-zero `discov`: `<key>/<number>` holding the bare `host:port`. The key is free, so it is configured; it names the service.

use crate::endpoint::{Endpoint, split_host_port};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Instance, Registration};
use crate::name::read_flat;

pub(super) fn recognise(service: &str, key: &str, value: &str) -> Option<Registration> {
    let id = key.strip_prefix(service)?.strip_prefix('/')?;
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (host, port) = split_host_port(value)?;
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Etcd, key),
        read_flat(service),
        Endpoint::new(host, port),
    );
    facts.spelling = service.into();
    Some(facts)
}

pub(super) fn render(key: &str, name: &str, primary: &Instance) -> Option<(String, String)> {
    let port = primary.endpoint.port();
    if port == 0 || !name.eq_ignore_ascii_case(key) {
        return None;
    }
    let id = super::hash(primary) >> 1;
    Some((format!("{key}/{id}"), primary.endpoint.host.with_port(port)))
}
