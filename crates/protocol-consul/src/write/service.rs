//! Service bodies to registrations.

use super::Source;
use super::check::agent_check;
use super::valid::{contradictions, invalid_meta, is_native, proxy_text};
use crate::error::Failure;
use crate::extension::ServiceExtension;
use crate::wire::ServiceBody;
use portolan_catalog::{
    Endpoint, Host, InstanceKey, Locality, LookupKind, Meta, NewCheck, NodeName, Port, Register,
    Registration, Transport, Via, Weight,
    name::{fold, read_flat},
};
use serde_json::Value;
use std::sync::Arc;

/// What a weight above 65535 is told.
const TOO_HEAVY: &str = "DNS Weight must be between 0 and 65535";

/// A registration through the agent of `node`, with its checks.
///
/// # Errors
/// 400 with Consul's sentences for what an agent refuses.
pub(crate) fn agent_registration(
    node: &NodeName,
    address: &Host,
    body: &ServiceBody,
    replace_checks: bool,
    source: Source,
) -> Result<Register, Failure> {
    if body.name.is_empty() {
        return Err(Failure::bad("Missing service name"));
    }
    if let Some(why) = invalid_meta(&body.meta) {
        return Err(Failure::bad(format!("Invalid Service Meta: {why}")));
    }
    if let Some(why) = contradictions(body) {
        return Err(Failure::bad(format!("Validation failed: {why}")));
    }
    let from_file = source != Source::Call;
    let facts = facts(node, address, body, Via::Agent, from_file)?;
    let service_id = service_id(body);
    let mut checks: Vec<NewCheck> = Vec::with_capacity(body.checks.len());
    for (place, check) in body.checks.iter().enumerate() {
        let id = match body.checks.len() {
            1 => format!("service:{}", service_id),
            _ => format!("service:{}:{}", service_id, place + 1),
        };
        checks.push(agent_check(
            node,
            check,
            Some(&facts.key),
            &id,
            &format!("Service '{}' check", body.name),
            source,
        )?);
    }
    Ok(Register {
        checks,
        replace_checks,
        ..Register::new(facts)
    })
}

/// A registration written to the catalog of `node`.
///
/// # Errors
/// As Consul's servers word them.
pub(crate) fn catalog_registration(
    node: &NodeName,
    address: &Host,
    body: &ServiceBody,
) -> Result<Registration, Failure> {
    if body.name.is_empty() {
        return Err(Failure::server(
            "Must provide service name (Service.Service) when service ID is provided",
        ));
    }
    if let Some(why) = contradictions(body) {
        return Err(Failure::server(why));
    }
    facts(node, address, body, Via::Catalog, false)
}

/// The id of a service: its own, or its name.
pub(crate) fn service_id(body: &ServiceBody) -> &str {
    if body.id.is_empty() {
        &body.name
    } else {
        &body.id
    }
}

fn facts(
    node: &NodeName,
    address: &Host,
    body: &ServiceBody,
    via: Via,
    from_file: bool,
) -> Result<Registration, Failure> {
    let written = body.address.trim();
    if matches!(written, "0.0.0.0" | "::" | "[::]") {
        return Err(Failure::bad("Invalid service address"));
    }
    for (address, _) in body.tagged_addresses.values() {
        if matches!(address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(Failure::bad(format!("Invalid tagged address: {address}")));
        }
    }
    let inherits_host = written.is_empty();
    let host = if inherits_host {
        address.clone()
    } else {
        Host::new(written)
    };
    let endpoint = Endpoint {
        host,
        ports: ports(body)?,
    };
    let mut facts = Registration::new(
        InstanceKey::consul(node, service_id(body)),
        read_flat(&body.name),
        endpoint,
    );
    // Of `Order--DEV` the spelling is `Order`: the group is in the key. Folding keeps lengths.
    facts.spelling = body
        .name
        .get(..facts.service.name().len())
        .unwrap_or(&body.name)
        .into();
    facts.inherits_host = inherits_host;
    facts.node = node.clone();
    facts.tags = body
        .tags
        .iter()
        .map(|tag| Arc::from(tag.as_str()))
        .collect();
    facts.meta = body
        .meta
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect::<Meta>();
    // The Go client always sends weights to the catalog, zeros when none were set.
    let unset = |weights: &(i64, i64)| via == Via::Catalog && weights.0 == 0;
    if let Some((passing, warning)) = body.weights.filter(|weights| !unset(weights)) {
        if !(1..=65_535).contains(&passing) {
            let why = if passing < 1 {
                "Passing must be greater than 0"
            } else {
                TOO_HEAVY
            };
            return Err(Failure::bad(format!("Invalid Weights: {why}")));
        }
        if !(0..=65_535).contains(&warning) {
            let why = if warning < 0 {
                "Warning must be greater or equal than 0"
            } else {
                TOO_HEAVY
            };
            return Err(Failure::bad(format!("Invalid Weights: {why}")));
        }
        facts.weight = Weight::from_units(passing.unsigned_abs(), 1);
        facts.warning_weight = Weight::from_units(warning.unsigned_abs(), 1);
    }
    facts.locality = body.locality.as_ref().map(|(region, zone)| {
        Arc::new(Locality {
            region: region.as_str().into(),
            zone: zone.as_str().into(),
        })
    });
    facts.via = via;
    facts.lookups = lookups(body);
    facts.extension = ServiceExtension {
        kind: body.kind.clone(),
        socket_path: body.socket_path.clone(),
        enable_tag_override: body.enable_tag_override,
        tagged_addresses: body.tagged_addresses.clone(),
        proxy: body.proxy.clone().filter(|value| !is_hollow(value)),
        connect: body
            .connect
            .clone()
            .map(without_sidecar)
            .filter(|value| !is_hollow(value)),
        from_file,
    }
    .encode();
    Ok(facts)
}

/// `{}` and null say nothing.
fn is_hollow(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// A sidecar is a registration of its own; what is left of `Connect` stays with the service.
fn without_sidecar(mut connect: Value) -> Value {
    if let Some(map) = connect.as_object_mut() {
        map.retain(|key, value| {
            !key.replace('_', "").eq_ignore_ascii_case("sidecarservice")
                && !value.is_null()
                && *value != Value::Bool(false)
        });
    }
    connect
}

/// Kinds and folded names.
type Lookups = Arc<[(LookupKind, Arc<str>)]>;

/// The services a proxy or a connect-native service is found by.
fn lookups(body: &ServiceBody) -> Lookups {
    let of = |name: &str| -> Lookups { Arc::from([(LookupKind::Connect, fold(name))]) };
    if body.kind == "connect-proxy" {
        of(proxy_text(body, "destinationservicename"))
    } else if is_native(body) {
        of(&body.name)
    } else {
        Arc::default()
    }
}

/// The main port first, then the named ones.
fn ports(body: &ServiceBody) -> Result<Arc<[Port]>, Failure> {
    let number = |port: i64| {
        u16::try_from(port).map_err(|_| {
            Failure::bad(format!(
                "Invalid service port: {port} is not between 0 and 65535"
            ))
        })
    };
    let mut ports = Vec::new();
    let mut main_at = 0;
    for (name, port, default) in &body.ports {
        let number = number(*port)?;
        if number == 0 {
            continue;
        }
        if *default {
            main_at = ports.len();
        }
        ports.push(Port {
            name: name.as_str().into(),
            number,
            secure: name.eq_ignore_ascii_case("https"),
            transport: Transport::Tcp,
        });
    }
    match number(body.port)? {
        0 if ports.is_empty() => {}
        0 => ports[..=main_at].rotate_right(1),
        main => match ports.iter().position(|port| port.number == main) {
            Some(at) => ports[..=at].rotate_right(1),
            None => ports.insert(0, Port::plain(main)),
        },
    }
    Ok(ports.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn register(value: Value) -> Result<Register, Failure> {
        let body = ServiceBody::of_agent(&value).unwrap();
        agent_registration(
            &NodeName::new("n1"),
            &Host::new("10.0.0.9"),
            &body,
            false,
            Source::Call,
        )
    }

    #[test]
    fn what_is_left_out_has_consuls_defaults() {
        let register =
            register(json!({"name": "Web", "port": 80, "check": {"ttl": "10s"}})).unwrap();
        let facts = &register.facts;
        assert_eq!(&*facts.key.id, "n1/Web");
        assert_eq!((facts.service.name(), &*facts.spelling), ("web", "Web"));
        assert_eq!(
            (facts.endpoint.host.to_string(), facts.endpoint.port()),
            ("10.0.0.9".to_owned(), 80)
        );
        assert!(facts.inherits_host && facts.extension.is_empty());
        assert_eq!(register.checks[0].facts.key.id(), "service:Web");
        assert_eq!(&*register.checks[0].facts.name, "Service 'Web' check");
    }

    #[test]
    fn several_checks_are_numbered() {
        let register =
            register(json!({"name": "web", "checks": [{"ttl": "1s"}, {"ttl": "2s"}, {}]})).unwrap();
        let ids: Vec<_> = register
            .checks
            .iter()
            .map(|check| check.facts.key.id().to_owned())
            .collect();
        assert_eq!(ids, ["service:web:1", "service:web:2"]);
    }

    #[test]
    fn refusals_have_consuls_words() {
        for (value, text) in [
            (json!({}), "Missing service name"),
            (
                json!({"name": "w", "address": "0.0.0.0"}),
                "Invalid service address",
            ),
            (
                json!({"name": "w", "weights": {"passing": 0}}),
                "Invalid Weights: Passing must be greater than 0",
            ),
            (
                json!({"name": "w", "meta": {"consul-x": "1"}}),
                "Invalid Service Meta: Couldn't load metadata pair",
            ),
            (
                json!({"name": "w", "meta": {"a b": "1"}}),
                "Invalid Service Meta: Couldn't load metadata pair",
            ),
            (
                json!({"name": "w", "kind": "connect-proxy"}),
                "Validation failed: 2 errors occurred:\n\t* Port or SocketPath must be set for a connect-proxy\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
            ),
            (
                json!({"name": "w", "weights": {"passing": 1, "warning": -1}}),
                "Invalid Weights: Warning must be greater or equal than 0",
            ),
            (
                json!({"name": "w", "weights": {"passing": 70_000}}),
                "Invalid Weights: DNS Weight must be between 0 and 65535",
            ),
            (
                json!({"name": "w", "kind": "mesh-gateway", "proxy": {"DestinationServiceName": "x"}}),
                "Validation failed: 2 errors occurred:\n\t* Port must be non-zero for a mesh-gateway\n\t* The Proxy.DestinationServiceName",
            ),
            (
                json!({"name": "w", "connect": {"native": true}}),
                "Validation failed: 1 error occurred:\n\t* Port or SocketPath must be set for a Connect native service.\n\n",
            ),
            (json!({"name": "w", "port": 70000}), "Invalid service port"),
        ] {
            let failure = register(value).unwrap_err();
            assert_eq!(failure.status.as_u16(), 400);
            assert!(failure.text.starts_with(text), "{}", failure.text);
        }
    }

    #[test]
    fn the_main_port_leads() {
        let body = json!({"name": "w", "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443, "default": true}]});
        let ports: Vec<_> = register(body)
            .unwrap()
            .facts
            .endpoint
            .ports
            .iter()
            .map(|p| (p.number, p.secure))
            .collect();
        assert_eq!(ports, [(443, true), (80, false)]);
    }
}
