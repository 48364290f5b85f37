//! go-kratos: `/microservices/<name>/<id>` holding `{"id","name","version","metadata","endpoints":["grpc://h:p?isSecure=false"]}`.
//! Host and main port are the first endpoint's whose scheme is `http` or `grpc`; every endpoint is a port named by its scheme.

use serde_json::Value;

use super::json;
use crate::endpoint::{Endpoint, Host, Port, Transport, split_host_port};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Instance, Meta, Registration, Weight};
use crate::name::read_flat;

pub(super) const ROOT: &str = "/microservices/";

struct Url<'a> {
    scheme: &'a str,
    host: Host,
    port: u16,
    secure: bool,
}

fn url(text: &str) -> Option<Url<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, port) = split_host_port(address.split('/').next()?)?;
    Some(Url {
        scheme,
        host,
        port,
        secure: query.split('&').any(|p| p == "isSecure=true"),
    })
}

pub(super) fn recognise(key: &str, value: &str) -> Option<Registration> {
    let (service, id) = key.strip_prefix(ROOT)?.rsplit_once('/')?;
    if service.is_empty() || id.is_empty() {
        return None;
    }
    let value: Value = serde_json::from_str(value).ok()?;
    if value.get("name")?.as_str()? != service {
        return None;
    }
    let mut urls: Vec<Url<'_>> = value
        .get("endpoints")?
        .as_array()?
        .iter()
        .filter_map(|e| url(e.as_str()?))
        .collect();
    let main = urls
        .iter()
        .position(|u| matches!(u.scheme, "http" | "grpc"))?;
    urls[..=main].rotate_right(1);
    let port = |u: &Url<'_>| Port {
        name: u.scheme.into(),
        number: u.port,
        secure: u.secure,
        transport: Transport::Tcp,
    };
    let endpoint = Endpoint {
        host: urls[0].host.clone(),
        ports: urls.iter().map(port).collect(),
    };
    let mut facts = Registration::new(
        InstanceKey::record(Keyspace::Etcd, key),
        read_flat(service),
        endpoint,
    );
    facts.spelling = service.into();
    facts.meta = json::meta(value.get("metadata"));
    if let Some(version) = value
        .get("version")
        .and_then(Value::as_str)
        .filter(|v| !v.is_empty())
    {
        facts.meta = facts.meta.with("version", version);
    }
    if let Some(weight) = facts.meta.get("weight").and_then(|w| w.parse().ok()) {
        facts.weight = Weight::from_units(weight, 1);
    }
    Some(facts)
}

pub(super) fn render(name: &str, primary: &Instance) -> Option<(String, String)> {
    if primary.endpoint.port() == 0 {
        return None;
    }
    let id = super::hash_hex(primary);
    let endpoints: Vec<String> = primary
        .endpoint
        .ports
        .iter()
        .map(|port| {
            let scheme = if port.name.is_empty() {
                "http"
            } else {
                &*port.name
            };
            let address = primary.endpoint.host.with_port(port.number);
            json::string(&format!("{scheme}://{address}?isSecure={}", port.secure))
        })
        .collect();
    let mut meta: Meta = json::meta_with_tags(primary);
    if primary.weight != Weight::ORDINARY && meta.get("weight").is_none() {
        meta = meta.with("weight", &primary.weight.to_units(1, 1).to_string());
    }
    let value = format!(
        "{{\"id\":{},\"name\":{},\"version\":{},\"metadata\":{},\"endpoints\":[{}]}}",
        json::string(&id),
        json::string(name),
        json::string(primary.meta.get("version").unwrap_or_default()),
        json::object_or_null(&meta),
        endpoints.join(",")
    );
    Some((format!("{ROOT}{name}/{id}"), value))
}
