//! Names of services in Consul's domain.
//!
//! A service's rows are those Consul itself would list: its own registrations where an endpoint has any, else the endpoint once, from
//! whichever protocol it came. Critical ones and those in maintenance are left out, also when none remain.

use std::collections::BTreeSet;
use std::net::IpAddr;

use portolan_catalog::name::read_flat;
use portolan_catalog::{
    DEFAULT, EndpointRow, Health, Host, Instance, LookupKind, Protocol, ServiceKey, State,
};

use crate::alias;
use crate::builder::{Builder, nothing};
use crate::dependency::Dependency;
use crate::found::{Found, Question, Reader};
use crate::names::{Kind, Zone, hex_label, is_below};
use crate::records::{address_data, aliases, meta_texts, node_name};
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, push_name, rtype};

/// For so many targets of SRV records that are names of our zones the addresses are given too; clients ask for the others themselves.
const TARGETS_LOOKED_UP: usize = 16;

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

/// Works out the answer to a question about a service.
pub(crate) fn resolve(
    reader: &Reader<'_>,
    question: Question<'_>,
    kind: Kind,
    name: &str,
    tag: &str,
) -> Found {
    let (state, settings) = (reader.state, reader.settings);
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
        Kind::Virtual => {
            return Found::passing(virtual_addresses(state, &key, question.qtype, ttl));
        }
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
    let (template, others) = instances(reader, question, &chosen, ttl);
    Found {
        template,
        dependency: Dependency::on_service(state, key).and(others),
        keep: kind == Kind::Plain && exact,
    }
}

fn has_tag(row: &Row<'_>, wanted: impl Fn(&str) -> bool) -> bool {
    row.instance.tags.iter().any(|own| wanted(own))
}

/// The records for rows that were already chosen: addresses, or SRV with the addresses of their targets. With them comes what else they
/// were made from.
pub(crate) fn instances(
    reader: &Reader<'_>,
    question: Question<'_>,
    chosen: &[Row<'_>],
    ttl: u32,
) -> (Template, Vec<Dependency>) {
    let settings = reader.settings;
    let qtype = question.qtype;
    let hosts = chosen.iter().map(|row| host(reader.state, question, row));
    let named = hosts.clone().all(|host| host.ip().is_none());
    let template = match qtype {
        rtype::SRV => return ports(reader, question, chosen, ttl),
        // A service at a host name is an alias of it, whatever else is asked for. A name with ports cannot be one: its SRV records
        // would be lost behind the alias.
        _ if named && !question.ports => aliases(hosts, ttl),
        rtype::A | rtype::AAAA | rtype::ANY => addresses(settings, hosts, qtype, ttl),
        _ => nothing(Rcode::NoError),
    };
    (template, Vec::new())
}

/// Where an instance is. One that is registered at the very name that is asked for is at its node's address, as in Consul.
fn host<'a>(state: &'a State, question: Question<'_>, row: &Row<'a>) -> &'a Host {
    let host = row.instance.host();
    match host {
        Host::Name(name)
            if name
                .trim_end_matches('.')
                .eq_ignore_ascii_case(question.name) =>
        {
            state
                .node(&row.instance.node)
                .map(|node| &node.address)
                .filter(|address| address.ip().is_some())
                .unwrap_or(host)
        }
        Host::Name(_) | Host::Ip(_) => host,
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

fn ports(
    reader: &Reader<'_>,
    question: Question<'_>,
    chosen: &[Row<'_>],
    ttl: u32,
) -> (Template, Vec<Dependency>) {
    let (state, settings) = (reader.state, reader.settings);
    let mut builder = Builder::default();
    let mut seen = BTreeSet::new();
    let mut others = Vec::new();
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
        if !push_target(&mut data, settings, question.zone, instance) || !seen.insert(target(&data))
        {
            continue;
        }
        builder.answer_to(rtype::SRV, ttl, &data, 6);
        match instance.host() {
            Host::Ip(ip) => {
                let (kind, address) = address_data(*ip);
                builder.extra(kind, ttl, &address);
                if settings.node_meta_txt
                    && let Some(node) = state.node(&instance.node)
                {
                    for text in meta_texts(&node.meta) {
                        builder.extra(rtype::TXT, ttl, &text);
                    }
                }
            }
            // A host name outside our zones belongs to somebody else: nothing is said about it.
            Host::Name(name) if others.len() < TARGETS_LOOKED_UP => {
                if let Some((found, dependency)) = alias::addresses_of(reader, name) {
                    others.push(dependency);
                    for (kind, ttl, address) in found.answers() {
                        if matches!(kind, rtype::A | rtype::AAAA) {
                            builder.extra(kind, ttl, address);
                        }
                    }
                }
            }
            Host::Name(_) => {}
        }
    }
    (builder.finish(), others)
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
