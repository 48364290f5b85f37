//! State to answers: the names of Consul's domain, and addresses backwards.
//!
//! A service's rows are those Consul itself would list: its own registrations where an endpoint has any, else the endpoint once, from
//! whichever protocol it came. Critical ones and those in maintenance are left out, also when none remain.

use std::collections::BTreeSet;
use std::net::IpAddr;

use portolan_catalog::name::read_flat;
use portolan_catalog::{
    DEFAULT, EndpointRow, Health, Host, Instance, LookupKind, Meta, NodeName, Protocol, ServiceKey,
    State,
};

use crate::apex;
use crate::cluster;
use crate::definitions::Definitions;
use crate::dependency::Dependency;
use crate::names::{Asked, Kind, Zone, hex_label};
use crate::prepared_query;
use crate::reverse_lookup::{self, Nodes};
use crate::settings::Settings;
use crate::template::{Builder, Template, nothing};
use crate::wire::{Rcode, push_name, rtype};

/// An answer worked out, and what it was worked out from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) template: Template,
    pub(crate) dependency: Dependency,
    /// Whether it is worth keeping: it is about rows that exist, and questions like it are bounded in number.
    pub(crate) keep: bool,
}

impl Found {
    pub(crate) fn new(template: Template, dependency: Dependency) -> Self {
        Self {
            template,
            dependency,
            keep: true,
        }
    }

    /// An answer that is not kept.
    pub(crate) fn passing(template: Template) -> Self {
        Self {
            template,
            dependency: Dependency::Revision,
            keep: false,
        }
    }
}

/// What is made of many rows together, and kept until one of them changes.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    nodes: Nodes,
    definitions: Definitions,
}

/// Works out the answer to a question about our zones.
pub(crate) fn resolve(
    state: &State,
    settings: &Settings,
    indexes: &Indexes,
    zone: Zone,
    asked: &Asked<'_>,
    qtype: u16,
) -> Found {
    match asked {
        Asked::Service { kind, name, tag } => {
            service(state, settings, zone, *kind, name, tag, qtype)
        }
        Asked::PortsOnly { name, tag } => {
            let found = service(state, settings, zone, Kind::Plain, name, tag, rtype::SRV);
            Found {
                template: nothing(found.template.rcode),
                keep: false,
                ..found
            }
        }
        Asked::Node(name) => node(state, settings, &indexes.nodes, name, qtype),
        Asked::Query(name) => {
            prepared_query::resolve(state, settings, &indexes.definitions, zone, name, qtype)
        }
        Asked::Addr(ip) => Found::new(addr(settings, *ip, qtype), Dependency::Nothing),
        Asked::Reverse(ip) => Found::passing(reverse_lookup::resolve(
            state,
            settings,
            &indexes.nodes,
            *ip,
            qtype,
        )),
        Asked::Apex => Found::passing(apex::resolve(state, settings, zone, qtype)),
        Asked::Cluster(asked) => cluster::resolve(state, settings, asked, qtype),
        Asked::EmptyNonTerminal => Found::passing(nothing(Rcode::NoError)),
        Asked::Nothing => Found::passing(nothing(Rcode::NxDomain)),
    }
}

/// One instance as an answer shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) instance: &'a Instance,
    /// The row's own health in its own protocol, else that of the endpoint.
    pub(crate) health: Health,
}

/// The rows of a service that Consul lists, with the health it would show.
pub(crate) fn rows<'a>(
    endpoints: impl Iterator<Item = &'a EndpointRow>,
) -> impl Iterator<Item = Row<'a>> {
    endpoints.flat_map(|endpoint| {
        endpoint.rows(Protocol::Consul).map(|instance| Row {
            instance,
            health: if instance.key.origin == Protocol::Consul {
                instance.health
            } else {
                endpoint.health
            },
        })
    })
}

/// The service a name of Consul's domain means, and whether the name is its flat name; else it is the label of a name that is no label.
/// Without either, the key that the name would have.
pub(crate) fn find_service(state: &State, name: &str) -> Result<(ServiceKey, bool), ServiceKey> {
    let key = if name.contains("--") {
        read_flat(name)
    } else {
        ServiceKey::plain(name)
    };
    if state.service(&key).is_some() {
        return Ok((key, true));
    }
    match state.service_by_label(DEFAULT, name) {
        Some(labelled) => Ok((labelled.clone(), false)),
        None => Err(key),
    }
}

fn service(
    state: &State,
    settings: &Settings,
    zone: Zone,
    kind: Kind,
    name: &str,
    tag: &str,
    qtype: u16,
) -> Found {
    let (key, exact) = match find_service(state, name) {
        Ok(found) => found,
        // Connect names are those of what stands behind a proxy, which need not be a service.
        Err(key) if kind == Kind::Connect => (key, false),
        Err(key) => {
            return Found {
                template: nothing(Rcode::NxDomain),
                dependency: Dependency::on_nothing_at(key),
                keep: false,
            };
        }
    };
    let ttl = settings.service_ttl(name);
    let healthy = |row: &Row<'_>| {
        if settings.only_passing {
            row.health == Health::Passing
        } else {
            row.health.serves()
        }
    };
    let mut chosen: Vec<Row<'_>> = match kind {
        Kind::Plain => rows(state.endpoints(&key).map(|row| &**row))
            .filter(healthy)
            .collect(),
        Kind::Connect => state
            .lookup(LookupKind::Connect, name)
            .map(|instance| Row {
                instance,
                health: instance.health,
            })
            .filter(healthy)
            .collect(),
        Kind::Virtual => return Found::passing(virtual_addresses(state, &key, qtype, ttl)),
        // There are no gateways yet.
        Kind::Ingress => Vec::new(),
    };
    let mut absent = Rcode::NxDomain;
    if !tag.is_empty() {
        // `green.web` is an empty non-terminal when a tag is `blue.green`: it has no records and is not absent (RFC 8020).
        if chosen
            .iter()
            .any(|row| has_tag(row, |own| is_below(own, tag)))
        {
            absent = Rcode::NoError;
        }
        chosen.retain(|row| has_tag(row, |own| own.eq_ignore_ascii_case(tag)));
    }
    if chosen.is_empty() {
        // Kept only where the service exists and no tag was asked for: those names are as many as there are services.
        let keep = kind == Kind::Plain && tag.is_empty() && exact;
        return Found {
            template: nothing(absent),
            dependency: Dependency::on_service(state, key),
            keep,
        };
    }
    let template = instances(state, settings, zone, &chosen, qtype, ttl);
    if kind == Kind::Plain && exact {
        Found::new(template, Dependency::on_service(state, key))
    } else {
        Found {
            template,
            dependency: Dependency::on_service(state, key),
            keep: false,
        }
    }
}

fn has_tag(row: &Row<'_>, wanted: impl Fn(&str) -> bool) -> bool {
    row.instance.tags.iter().any(|own| wanted(own))
}

/// Whether `name` has further labels before `upper`.
pub(crate) fn is_below(name: &str, upper: &str) -> bool {
    let split = name.len().checked_sub(upper.len() + 1);
    split.is_some_and(|at| {
        let (lead, rest) = name.as_bytes().split_at(at);
        !lead.is_empty() && rest[0] == b'.' && rest[1..].eq_ignore_ascii_case(upper.as_bytes())
    })
}

/// The records for rows that were already chosen: addresses, or SRV with the addresses of their targets.
pub(crate) fn instances(
    state: &State,
    settings: &Settings,
    zone: Zone,
    chosen: &[Row<'_>],
    qtype: u16,
    ttl: u32,
) -> Template {
    let hosts = chosen.iter().map(|row| row.instance.host());
    match qtype {
        rtype::SRV => services(state, settings, zone, chosen, ttl),
        // A service at a host name is an alias of it, whatever else is asked for.
        _ if hosts.clone().all(|host| host.ip().is_none()) => aliases(hosts, ttl),
        rtype::A | rtype::AAAA | rtype::ANY => addresses(settings, hosts, qtype, ttl),
        _ => nothing(Rcode::NoError),
    }
}

/// One record for each distinct address of the asked family.
fn addresses<'a>(
    settings: &Settings,
    hosts: impl Iterator<Item = &'a Host>,
    qtype: u16,
    ttl: u32,
) -> Template {
    let mut distinct: Vec<IpAddr> = hosts.filter_map(Host::ip).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut builder = Builder::default().at_most(settings.a_record_limit);
    for ip in distinct {
        let (kind, data) = address_data(ip);
        if qtype == kind || qtype == rtype::ANY {
            builder.answer(kind, ttl, &data);
        }
    }
    builder.finish()
}

fn aliases<'a>(hosts: impl Iterator<Item = &'a Host>, ttl: u32) -> Template {
    // A name has one alias at most (RFC 1034 section 3.6.2); which one is drawn for each reply.
    let mut builder = Builder::default().at_most(1);
    let mut names: Vec<&str> = hosts
        .filter_map(|host| match host {
            Host::Name(name) => Some(&**name),
            Host::Ip(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut data = Vec::new();
        if push_name(&mut data, name) {
            builder.answer(rtype::CNAME, ttl, &data);
        }
    }
    builder.finish()
}

fn services(
    state: &State,
    settings: &Settings,
    zone: Zone,
    chosen: &[Row<'_>],
    ttl: u32,
) -> Template {
    let mut builder = Builder::default();
    let mut seen = BTreeSet::new();
    for row in chosen {
        let instance = row.instance;
        let weight = match row.health {
            Health::Warning => instance.warning_weight,
            _ => instance.weight,
        };
        let weight = weight.to_units(1, 1).min(u32::from(u16::MAX)) as u16;
        let mut data = Vec::with_capacity(64);
        for number in [1, weight, instance.endpoint.port()] {
            data.extend(number.to_be_bytes());
        }
        // Registrations of one port at one target are one record, whatever their weights.
        let target = |data: &[u8]| data.get(4..).map(<[u8]>::to_vec);
        if !push_target(&mut data, settings, zone, instance) || !seen.insert(target(&data)) {
            continue;
        }
        builder.answer_to(rtype::SRV, ttl, &data, 6);
        if let Some((kind, address)) = instance.host().ip().map(address_data) {
            builder.extra(kind, ttl, &address);
        }
        // A host name belongs to somebody else: nothing is said about it.
        if settings.node_meta_txt
            && instance.host().ip().is_some()
            && let Some(node) = state.node(&instance.node)
        {
            for text in meta_texts(&node.meta) {
                builder.extra(rtype::TXT, ttl, &text);
            }
        }
    }
    builder.finish()
}

/// The target of an SRV record: a host name itself (the name of a node at one would be an alias, which a target must not be, RFC 2782);
/// the node where the service has no address of its own, else a name that spells the address.
fn push_target(data: &mut Vec<u8>, settings: &Settings, zone: Zone, instance: &Instance) -> bool {
    let ip = match instance.host() {
        Host::Name(name) => return push_name(data, name),
        Host::Ip(ip) => *ip,
    };
    let zones = &settings.zones;
    let spelled = || {
        format!(
            "{}.addr.{}.{}",
            hex_label(ip),
            zones.datacenter,
            zones.domain(zone)
        )
    };
    instance.inherits_host && push_name(data, &node_name(settings, zone, instance.node.as_str()))
        || push_name(data, &spelled())
}

/// The name of a node in an answer about `zone`.
pub(crate) fn node_name(settings: &Settings, zone: Zone, node: &str) -> String {
    let zones = &settings.zones;
    let domain = zones.domain(zone);
    format!("{node}.node.{}.{domain}", zones.datacenter)
}

/// Type and data of an address record.
pub(crate) fn address_data(ip: IpAddr) -> (u16, Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => (rtype::A, v4.octets().to_vec()),
        IpAddr::V6(v6) => (rtype::AAAA, v6.octets().to_vec()),
    }
}

fn virtual_addresses(state: &State, key: &ServiceKey, qtype: u16, ttl: u32) -> Template {
    let Some(service) = state
        .service(key)
        .filter(|service| !service.settings.addresses.is_empty())
    else {
        return nothing(Rcode::NxDomain);
    };
    let mut builder = Builder::default();
    for (kind, data) in service
        .settings
        .addresses
        .iter()
        .filter_map(Host::ip)
        .map(address_data)
    {
        if qtype == kind || qtype == rtype::ANY {
            builder.answer(kind, ttl, &data);
        }
    }
    builder.finish()
}

fn node(state: &State, settings: &Settings, nodes: &Nodes, name: &str, qtype: u16) -> Found {
    let name = NodeName::new(name);
    if name.is_virtual() {
        // A virtual node is where instances without a node are; its address is theirs.
        let Some(instance) = state.instances_on(&name).next() else {
            return Found::passing(nothing(Rcode::NxDomain));
        };
        return Found::passing(node_records(
            settings,
            instance.host(),
            &Meta::default(),
            qtype,
        ));
    }
    match state.node(&name) {
        Some(node) => {
            let template = node_records(settings, &node.address, &node.meta, qtype);
            Found::new(template, Dependency::Node(name, node.modified))
        }
        None if nodes.are_below(state, name.as_str()) => Found::passing(nothing(Rcode::NoError)),
        None => Found::passing(nothing(Rcode::NxDomain)),
    }
}

fn node_records(settings: &Settings, address: &Host, meta: &Meta, qtype: u16) -> Template {
    let ttl = settings.node_ttl;
    let mut builder = Builder::default();
    match address {
        Host::Ip(ip) => {
            let (kind, data) = address_data(*ip);
            if qtype == kind || qtype == rtype::ANY {
                builder.answer(kind, ttl, &data);
            }
            if qtype == kind && settings.node_meta_txt {
                for text in meta_texts(meta) {
                    builder.extra(rtype::TXT, ttl, &text);
                }
            }
        }
        // Consul gives the metadata all the same.
        Host::Name(_) if qtype == rtype::TXT => {}
        Host::Name(_) => return aliases(std::iter::once(address), ttl),
    }
    if matches!(qtype, rtype::TXT | rtype::ANY) {
        for text in meta_texts(meta) {
            builder.answer(rtype::TXT, ttl, &text);
        }
    }
    builder.finish()
}

/// TXT data for each pair of a node's metadata: `key=value` in the manner of RFC 1464; a key that begins with `rfc1035-` stands for its
/// value alone.
fn meta_texts(meta: &Meta) -> impl Iterator<Item = Vec<u8>> {
    meta.iter().map(|(key, value)| {
        if key.to_ascii_lowercase().starts_with("rfc1035-") {
            return text_data(value);
        }
        let middle = key.trim_matches(' ');
        let lead = key.len() - key.trim_start_matches(' ').len();
        let trail = if middle.is_empty() {
            0
        } else {
            key.len() - key.trim_end_matches(' ').len()
        };
        let mut text = "` ".repeat(lead);
        text.push_str(&middle.replace('`', "``").replace('=', "`="));
        text.push_str(&"` ".repeat(trail));
        text.push('=');
        text.push_str(&value.replace('`', "``"));
        text_data(&text)
    })
}

/// A text as strings of at most 255 bytes, each behind its length.
pub(crate) fn text_data(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return vec![0];
    }
    let mut data = Vec::with_capacity(text.len() + 1 + text.len() / 255);
    for part in text.as_bytes().chunks(255) {
        data.push(part.len() as u8);
        data.extend_from_slice(part);
    }
    data
}

fn addr(settings: &Settings, ip: IpAddr, qtype: u16) -> Template {
    let mut builder = Builder::default();
    let (kind, data) = address_data(ip);
    if qtype == kind || qtype == rtype::ANY {
        builder.answer(kind, settings.node_ttl, &data);
    } else {
        // The name exists and has one address; whoever asks for the other family is told.
        builder.extra(kind, settings.node_ttl, &data);
    }
    builder.finish()
}
