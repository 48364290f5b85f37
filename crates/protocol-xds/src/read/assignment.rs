//! The instances of a service, as a client at some place is to call them.
//!
//! Invariants that gRPC checks, and refuses the whole assignment for
//! - No address and port twice: the catalog shows twins as one endpoint.
//! - A locality is always written, once in its priority, with a weight above zero; priorities have no gaps; sums fit 32 bits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_catalog::{EndpointRow, Health, Instance, ServiceKey, State};
use prost_types::{ListValue, Struct, Value, value};

use crate::client::{Client, Flavor};
use crate::policy::Prefer;
use crate::wire::core::{Address, HealthStatus, Locality, Metadata};
use crate::wire::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};

/// Under which name metadata of an instance is in that of its endpoint.
const FILTER: &str = "portolan";

/// From where instances are looked at.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The region of instances that say none.
    pub(crate) region: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) prefer: Prefer,
}

/// A group of instances of equal distance and place, in the order in which they are written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    distance: u32,
    region: Arc<str>,
    zone: Arc<str>,
    /// gRPC spreads calls evenly over the instances of a locality, and weighs localities alone: there, each weight is one of its own.
    weight: Option<u32>,
}

pub(crate) fn render(
    state: &State,
    service: &ServiceKey,
    name: &str,
    view: &View<'_>,
) -> ClusterLoadAssignment {
    let mut groups: BTreeMap<Group, Vec<LbEndpoint>> = BTreeMap::new();
    for row in state.endpoints(service) {
        let Some(address) = address(row) else {
            continue;
        };
        let primary = row.primary();
        let weight = match row.health {
            Health::Warning => primary.warning_weight.0,
            _ => primary.weight.0,
        };
        if weight == 0 {
            continue;
        }
        let (region, zone) = place(state, primary, view.region);
        let apart = view.client.flavor == Flavor::Grpc && weight != 1000;
        let group = Group {
            distance: distance(view, &region, &zone),
            weight: apart.then_some(weight),
            region,
            zone,
        };
        groups.entry(group).or_default().push(LbEndpoint {
            endpoint: Some(Endpoint {
                address: Some(address),
            }),
            health_status: status(row.health).into(),
            metadata: metadata(primary, view.client.flavor),
            load_balancing_weight: Some(weight),
        });
    }
    fit(&mut groups);
    let distances: BTreeSet<u32> = groups.keys().map(|group| group.distance).collect();
    let endpoints = groups.into_iter().map(|(group, endpoints)| {
        // As near as there are nearer ones: no gaps.
        let priority = distances.range(..group.distance).count() as u32;
        LocalityLbEndpoints {
            locality: Some(Locality {
                region: group.region.to_string(),
                zone: group.zone.to_string(),
                sub_zone: group
                    .weight
                    .map_or_else(String::new, |weight| format!("w{weight}")),
            }),
            load_balancing_weight: Some(together(&endpoints)),
            lb_endpoints: endpoints,
            priority,
        }
    });
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.collect(),
    }
}

/// How many endpoints have no place in an assignment.
pub(crate) fn left_out(state: &State, service: &ServiceKey) -> usize {
    let rows = state.endpoints(service);
    rows.filter(|row| address(row).is_none()).count()
}

/// Assignments have room for IP addresses alone.
fn address(row: &EndpointRow) -> Option<Address> {
    let ip = row.key.host.ip().filter(|_| row.key.port != 0)?;
    Some(Address::tcp(ip, row.key.port))
}

fn status(health: Health) -> HealthStatus {
    match health {
        Health::Passing | Health::Warning => HealthStatus::Healthy,
        Health::Critical => HealthStatus::Unhealthy,
        Health::Maintenance => HealthStatus::Draining,
    }
}

/// Where an instance is: what it says, else its node, else the datacenter.
fn place(state: &State, instance: &Instance, datacenter: &str) -> (Arc<str>, Arc<str>) {
    let of_node = || state.node(&instance.node)?.locality.clone();
    let place = instance.locality.clone().or_else(of_node);
    match place {
        Some(place) if !place.region.is_empty() => (place.region.clone(), place.zone.clone()),
        Some(place) => (datacenter.into(), place.zone.clone()),
        None => (datacenter.into(), Arc::default()),
    }
}

/// 0 is nearest. A client that does not say where it is is near to all.
fn distance(view: &View<'_>, region: &str, zone: &str) -> u32 {
    let place = &view.client.place;
    let elsewhere = !place.region.is_empty() && *place.region != *region;
    let other_zone = elsewhere || !place.zone.is_empty() && *place.zone != *zone;
    match view.prefer {
        Prefer::Nobody => 0,
        Prefer::Region => elsewhere.into(),
        Prefer::Zone => u32::from(elsewhere) + u32::from(other_zone),
    }
}

/// What proxies may route by. Channels of gRPC do not read it, and are not woken for it.
fn metadata(instance: &Instance, flavor: Flavor) -> Option<Metadata> {
    if flavor == Flavor::Grpc {
        return None;
    }
    let text = |text: &str| Value {
        kind: Some(value::Kind::StringValue(text.to_owned())),
    };
    let mut fields: BTreeMap<String, Value> = instance
        .meta
        .iter()
        .map(|(key, value)| (key.to_owned(), text(value)))
        .collect();
    if !instance.tags.is_empty() {
        let values = instance.tags.iter().map(|tag| text(tag)).collect();
        fields.entry("tags".to_owned()).or_insert(Value {
            kind: Some(value::Kind::ListValue(ListValue { values })),
        });
    }
    if !instance.cluster.is_empty() {
        fields
            .entry("nacos.cluster".to_owned())
            .or_insert_with(|| text(&instance.cluster));
    }
    if fields.is_empty() {
        return None;
    }
    let one = (FILTER.to_owned(), Struct { fields });
    Some(Metadata {
        filter_metadata: [one].into_iter().collect(),
    })
}

/// Scales weights down whose sum would not fit, and none below one.
fn fit(groups: &mut BTreeMap<Group, Vec<LbEndpoint>>) {
    let all = || groups.values().flatten();
    let sum: u64 = all()
        .filter_map(|one| one.load_balancing_weight)
        .map(u64::from)
        .sum();
    let most = u64::from(u32::MAX) - all().count() as u64;
    if sum <= most {
        return;
    }
    for one in groups.values_mut().flatten() {
        one.load_balancing_weight = one.load_balancing_weight.map(|weight| {
            let scaled = u128::from(weight) * u128::from(most) / u128::from(sum);
            u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
        });
    }
}

/// The weight of a locality: of those that serve, or of all if none does, since a locality without weight would not be there for gRPC.
fn together(endpoints: &[LbEndpoint]) -> u32 {
    let healthy = i32::from(HealthStatus::Healthy);
    let sum = |serving: bool| {
        endpoints
            .iter()
            .filter(|one| !serving || one.health_status == healthy)
            .filter_map(|one| one.load_balancing_weight)
            .fold(0, u32::saturating_add)
    };
    match sum(true) {
        0 => sum(false),
        serving => serving,
    }
}
