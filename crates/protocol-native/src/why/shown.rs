//! What readers of each protocol see of the service now.

use std::sync::Arc;

use portolan_api::{Shown, ShownRow};
use portolan_catalog::layout::{Form, Mode};
use portolan_catalog::{
    AdminStatus, Declared, EndpointRow, Health, Instance, Keyspace, Protocol, Service, name,
};

use super::Look;
use super::names::is_native_record;
use crate::Dns;

/// One answer per protocol, per layout for keys.
pub(super) fn shown(look: &Look<'_>) -> Vec<Shown> {
    let Some(service) = look.state.service(&look.asked.service) else {
        return Vec::new();
    };
    let endpoints: Vec<&Arc<EndpointRow>> = look.state.endpoints(&service.key).collect();
    let flat = name::flat_spelled(&service.key, &service.spelling);
    let mut all = vec![
        consul(&endpoints, &flat),
        dns(look.dns, &endpoints, &flat),
        eureka(&endpoints, &flat),
        nacos(&endpoints, service),
    ];
    for (layout, row) in look.state.layouts() {
        if let Some(shown) = keys(look, service, layout, row.mode, &row.form, &flat) {
            all.push(shown);
        }
    }
    all.push(xds(&endpoints, &flat));
    all.push(native(&endpoints, &flat));
    all
}

fn address(row: &Instance) -> String {
    row.endpoint.host.with_port(row.endpoint.port())
}

/// A row in its own protocol shows its own health, elsewhere the endpoint's.
fn health(row: &Instance, endpoint: &EndpointRow, protocol: Protocol) -> Health {
    if row.key.origin == protocol {
        row.health
    } else {
        endpoint.health
    }
}

fn rows(
    endpoints: &[&Arc<EndpointRow>],
    protocol: Protocol,
    show: impl Fn(&Instance, &EndpointRow) -> (String, String),
) -> Vec<ShownRow> {
    let all = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.rows(protocol).map(move |row| (row, endpoint)));
    all.map(|(row, endpoint)| {
        let (id, status) = show(row, endpoint);
        ShownRow {
            id,
            status,
            address: address(row),
            instance: row.key.to_string(),
        }
    })
    .collect()
}

fn consul(endpoints: &[&Arc<EndpointRow>], flat: &str) -> Shown {
    let instances = rows(endpoints, Protocol::Consul, |row, endpoint| {
        let own = matches!(row.key.origin, Protocol::Consul | Protocol::Portolan);
        let id = if own {
            row.key.local().to_owned()
        } else {
            row.key.to_string()
        };
        (
            id,
            health(row, endpoint, Protocol::Consul).as_str().to_owned(),
        )
    });
    Shown {
        protocol: "consul".into(),
        layout: None,
        name: flat.to_owned(),
        remark: None,
        instances,
    }
}

fn dns(dns: &Dns, endpoints: &[&Arc<EndpointRow>], flat: &str) -> Shown {
    let name = format!("{}.service.{}", flat.to_ascii_lowercase(), dns.domain);
    let instances: Vec<ShownRow> = rows(endpoints, Protocol::Consul, |row, endpoint| {
        let answered = match health(row, endpoint, Protocol::Consul) {
            Health::Passing => true,
            Health::Warning => !dns.only_passing,
            Health::Critical | Health::Maintenance => false,
        };
        (
            address(row),
            if answered { "answered" } else { "hidden" }.to_owned(),
        )
    });
    let none = !instances.iter().any(|row| row.status == "answered");
    let remark = none.then(|| "nothing serves, so the name does not exist".to_owned());
    Shown {
        protocol: "dns".into(),
        layout: None,
        name,
        remark,
        instances,
    }
}

fn eureka(endpoints: &[&Arc<EndpointRow>], flat: &str) -> Shown {
    let instances = rows(endpoints, Protocol::Eureka, |row, endpoint| {
        let id = if row.key.origin == Protocol::Eureka {
            row.key.local().to_owned()
        } else {
            format!(
                "{}:{}:{}",
                row.endpoint.host,
                flat.to_ascii_lowercase(),
                row.endpoint.port()
            )
        };
        (
            id,
            eureka_status(row, health(row, endpoint, Protocol::Eureka)).to_owned(),
        )
    });
    Shown {
        protocol: "eureka".into(),
        layout: None,
        name: flat.to_ascii_uppercase(),
        remark: None,
        instances,
    }
}

fn eureka_status(row: &Instance, health: Health) -> &'static str {
    let forced = row.admin.as_ref().map(|admin| admin.status);
    match (forced, row.declared, health) {
        (Some(AdminStatus::Up), ..) if row.key.origin == Protocol::Eureka => "UP",
        (_, _, Health::Maintenance) => "OUT_OF_SERVICE",
        (_, Declared::Starting, _) => "STARTING",
        (_, Declared::Unknown, _) => "UNKNOWN",
        (_, _, Health::Critical) => "DOWN",
        _ => "UP",
    }
}

/// Nacos' defaults have other names there, and the two are exchanged.
fn exchanged<'a>(part: &'a str, nacos: &'a str) -> &'a str {
    match part {
        portolan_catalog::DEFAULT => nacos,
        part if part.eq_ignore_ascii_case(nacos) => portolan_catalog::DEFAULT,
        part => part,
    }
}

fn nacos(endpoints: &[&Arc<EndpointRow>], service: &Service) -> Shown {
    let group = exchanged(service.key.group(), "DEFAULT_GROUP");
    let namespace = exchanged(service.key.namespace(), "public");
    let instances = rows(endpoints, Protocol::Nacos, |row, endpoint| {
        let cluster = match &*row.cluster {
            "" => "DEFAULT",
            cluster => cluster,
        };
        let id = format!("{}#{}#{cluster}", row.endpoint.host, row.endpoint.port());
        let status = match health(row, endpoint, Protocol::Nacos) {
            Health::Passing | Health::Warning => "healthy",
            Health::Critical => "unhealthy",
            // A weight of nought is its own business there.
            Health::Maintenance if row.weight.0 == 0 && row.admin.is_none() => "healthy",
            Health::Maintenance => "disabled",
        };
        (id, status.to_owned())
    });
    let hidden = !instances.is_empty() && instances.iter().all(|row| row.status == "disabled");
    Shown {
        protocol: "nacos".into(),
        layout: None,
        name: format!("{namespace}/{group}@@{}", service.spelling),
        remark: hidden.then(|| "all are out of service, so lists are empty".to_owned()),
        instances,
    }
}

/// The keys of one layout: native and derived records.
fn keys(
    look: &Look<'_>,
    service: &Service,
    layout: &str,
    mode: Mode,
    form: &Form,
    flat: &str,
) -> Option<Shown> {
    let space = form.keyspace();
    let below = match form {
        Form::GoZero { key } | Form::GrpcNaming { target: key } => {
            if !key.eq_ignore_ascii_case(flat) {
                return None;
            }
            format!("{key}/")
        }
        Form::Dubbo { root } => {
            // Other services are none of Dubbo's.
            let interface = flat.strip_prefix("providers:")?.split(':').next()?;
            format!("{root}/{interface}/providers/")
        }
        Form::Kitex | Form::Kratos | Form::Curator { .. } | Form::Template(_) => {
            format!("{}{flat}/", form.root())
        }
    };
    let mut remark = match mode {
        Mode::Off => Some("this layout is off".to_owned()),
        Mode::Asleep => Some(match form {
            Form::Template(_) => {
                format!("this layout sleeps until somebody reads or registers at {below} or below")
            }
            _ => "this layout sleeps until somebody reads or registers below its root".to_owned(),
        }),
        Mode::Awake => None,
    };
    if service.key.name() == "consul" && remark.is_none() {
        remark = Some("the server's own service is never derived".to_owned());
    }
    let range = form.records_below(&below);
    let mut instances = Vec::new();
    for (key, record) in look.state.range(space, &range) {
        let text = match space {
            Keyspace::Znodes => key.znode_path(),
            _ => String::from_utf8_lossy(key).into_owned(),
        };
        let (status, endpoint) = match &record.derived_from {
            Some(derived) => ("derived", look.state.endpoint(&derived.endpoint)),
            None => (
                "written",
                record
                    .recognised
                    .keys(space, key)
                    .first()
                    .and_then(|instance| look.state.instance(instance))
                    .and_then(|row| look.state.endpoint_of(row)),
            ),
        };
        let Some(endpoint) = endpoint else { continue };
        let row = endpoint.primary();
        instances.push(ShownRow {
            id: text,
            status: status.to_owned(),
            address: address(row),
            instance: row.key.to_string(),
        });
    }
    Some(Shown {
        protocol: space.protocol().to_string(),
        layout: Some(layout.to_owned()),
        name: below,
        remark,
        instances,
    })
}

/// Assignments have endpoints, no rows, and room for IP addresses alone.
fn xds(endpoints: &[&Arc<EndpointRow>], flat: &str) -> Shown {
    let rows = rows(endpoints, Protocol::Xds, |row, endpoint| {
        let addressed = row.endpoint.host.ip().is_some() && row.endpoint.port() != 0;
        let status = match endpoint.health {
            _ if !addressed => "left out: it takes an IP address and a port",
            Health::Passing | Health::Warning if weightless(row, endpoint) => "left out: no weight",
            Health::Passing | Health::Warning => "HEALTHY",
            Health::Critical => "UNHEALTHY",
            Health::Maintenance if row.weight.0 == 0 => "left out: no weight",
            Health::Maintenance => "DRAINING",
        };
        (address(row), status.to_owned())
    });
    Shown {
        protocol: "xds".into(),
        layout: None,
        name: flat.to_owned(),
        remark: None,
        instances: rows,
    }
}

fn weightless(row: &Instance, endpoint: &EndpointRow) -> bool {
    match endpoint.health {
        Health::Warning => row.warning_weight.0 == 0,
        _ => row.weight.0 == 0,
    }
}

fn native(endpoints: &[&Arc<EndpointRow>], flat: &str) -> Shown {
    let all = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.members.iter());
    let instances = all.map(|row| ShownRow {
        id: row.key.to_string(),
        status: row.health.as_str().to_owned(),
        address: address(row),
        instance: row.key.to_string(),
    });
    Shown {
        protocol: "native".into(),
        layout: None,
        name: flat.to_owned(),
        remark: None,
        instances: instances.collect(),
    }
}

/// What stays visible although its instance is not healthy, and who reads it.
pub(super) fn notes(look: &Look<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for row in look
        .state
        .instances(&look.asked.service)
        .filter(|row| is_native_record(row))
    {
        let healthy = look
            .state
            .endpoint_of(row)
            .is_some_and(|endpoint| endpoint.health.serves());
        if !healthy && look.state.record_of(row).is_some() {
            notes.push(format!(
                "readers of the {} key \"{}\" still see it: a record that a client wrote is never hidden for health or maintenance; to take it out, deregister it",
                row.key.origin, row.key.id,
            ));
        }
    }
    notes
}
