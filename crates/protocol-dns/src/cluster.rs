//! State to answers: names of the Kubernetes zone, after the Kubernetes DNS specification 1.1.0.
//!
//! There are no row owners here: an endpoint is shown once, with its merged health. A service with virtual addresses answers those,
//! whether or not anything is behind them; any other answers its ready endpoints ("headless"). A service that exists is never NXDOMAIN.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_catalog::{EndpointRow, Health, Host, Service, ServiceKey, State, Transport};

use crate::apex::servers;
use crate::builder::{Builder, nothing};
use crate::dependency::Dependency;
use crate::found::Found;
use crate::names::Cluster;
use crate::records::{address_data, text_data};
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, push_name, rtype};

/// The version of the specification, as `dns-version` says it.
const VERSION: &str = "1.1.0";

/// Works out the answer to a question about the zone.
pub(crate) fn resolve(
    state: &State,
    settings: &Settings,
    asked: &Cluster<'_>,
    qtype: u16,
) -> Found {
    let ttl = settings.cluster_ttl;
    let (namespace, service) = match asked {
        Cluster::Version => {
            let mut builder = Builder::default();
            if qtype == rtype::TXT {
                builder.answer(rtype::TXT, ttl, &text_data(VERSION));
            }
            return Found::new(builder.finish(), Dependency::Nothing);
        }
        Cluster::Servers => {
            let mut builder = Builder::default();
            let addresses = servers(state).filter_map(|node| node.address.ip());
            for (kind, data) in addresses.map(address_data) {
                if kind == qtype {
                    builder.answer(kind, ttl, &data);
                }
            }
            return Found::passing(builder.finish());
        }
        Cluster::Namespace(name) => {
            let known = *name == "default"
                || state.namespace(name).is_some()
                || state.services_in(name).next().is_some();
            return Found::passing(nothing(if known {
                Rcode::NoError
            } else {
                Rcode::NxDomain
            }));
        }
        Cluster::Service { namespace, service }
        | Cluster::Host {
            namespace, service, ..
        }
        | Cluster::Port {
            namespace, service, ..
        } => (*namespace, *service),
    };
    let key = state
        .service_by_label(namespace, service)
        .cloned()
        .unwrap_or_else(|| ServiceKey::new(namespace, "", service));
    let Some(row) = state.service(&key) else {
        return Found::passing(nothing(Rcode::NxDomain));
    };
    let name = format!("{service}.{namespace}.svc.{}", settings.zones.cluster);
    let zone = Place {
        state,
        service: row,
        name: &name,
        ttl,
    };
    let template = match asked {
        Cluster::Host { host, .. } if host.starts_with('_') => nothing(Rcode::NoError),
        Cluster::Host { host, .. } => return Found::passing(zone.host(host, qtype)),
        Cluster::Port { port, protocol, .. } => {
            return Found::passing(zone.port(port, protocol, qtype));
        }
        _ => zone.service(qtype),
    };
    Found::new(template, Dependency::on_service(state, key))
}

struct Place<'a> {
    state: &'a State,
    service: &'a Service,
    name: &'a str,
    ttl: u32,
}

impl Place<'_> {
    fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.service.settings.addresses.iter().filter_map(Host::ip)
    }

    /// Ready endpoints that have an address. Host names have no place in this zone.
    fn ready(&self) -> impl Iterator<Item = (&EndpointRow, IpAddr)> {
        let endpoints = self.state.endpoints(&self.service.key).map(|row| &**row);
        endpoints
            .filter(|row| row.health <= Health::Warning)
            .filter_map(|row| Some((row, row.key.host.ip()?)))
    }

    fn service(&self, qtype: u16) -> Template {
        let mut builder = Builder::default();
        match qtype {
            rtype::A | rtype::AAAA => {
                let mut addresses: Vec<IpAddr> = self.virtual_addresses().collect();
                if addresses.is_empty() {
                    addresses = self.ready().map(|(_, ip)| ip).collect();
                }
                addresses.sort_unstable();
                addresses.dedup();
                for (kind, data) in addresses
                    .into_iter()
                    .map(address_data)
                    .filter(|(kind, _)| *kind == qtype)
                {
                    builder.answer(kind, self.ttl, &data);
                }
            }
            rtype::SRV => self.push_ports(&mut builder, |_| true),
            rtype::ANY => push_any(&mut builder, self.ttl),
            _ => {}
        }
        builder.finish()
    }

    fn host(&self, host: &str, qtype: u16) -> Template {
        let mut builder = Builder::default();
        let mut known = false;
        for (_, ip) in self.ready().filter(|(_, ip)| host_label(*ip) == host) {
            known = true;
            let (kind, data) = address_data(ip);
            if kind == qtype {
                builder.answer(kind, self.ttl, &data);
                break;
            }
        }
        if known {
            builder.finish()
        } else {
            nothing(Rcode::NxDomain)
        }
    }

    fn port(&self, port: &str, protocol: &str, qtype: u16) -> Template {
        let transport = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return nothing(Rcode::NxDomain),
        };
        let mut builder = Builder::default();
        self.push_ports(&mut builder, |own| {
            own.name.eq_ignore_ascii_case(port) && own.transport == transport
        });
        let template = builder.finish();
        match (template.is_empty(), qtype) {
            (true, _) => nothing(Rcode::NxDomain),
            (false, rtype::SRV) => template,
            (false, _) => nothing(Rcode::NoError),
        }
    }

    /// SRV records for the ports that `wanted` picks: priority 0, an equal share of 100 for each endpoint of a port.
    fn push_ports(&self, builder: &mut Builder, wanted: impl Fn(&portolan_catalog::Port) -> bool) {
        let virtual_addresses: Vec<IpAddr> = self.virtual_addresses().collect();
        let mut found: BTreeMap<u16, BTreeSet<Option<IpAddr>>> = BTreeMap::new();
        for (row, ip) in self.ready() {
            for port in row
                .primary()
                .endpoint
                .ports
                .iter()
                .filter(|port| wanted(port))
            {
                let target = virtual_addresses.is_empty().then_some(ip);
                found.entry(port.number).or_default().insert(target);
            }
        }
        let shares = found.iter().flat_map(|(number, targets)| {
            let weight = (100 / targets.len()).max(1) as u16;
            targets.iter().map(move |target| (*number, weight, target))
        });
        for (number, weight, target) in shares {
            let mut data = Vec::with_capacity(64);
            for part in [0, weight, number] {
                data.extend(part.to_be_bytes());
            }
            let name = match target {
                Some(ip) => format!("{}.{}", host_label(*ip), self.name),
                None => self.name.to_owned(),
            };
            if !push_name(&mut data, &name) {
                continue;
            }
            builder.answer_to(rtype::SRV, self.ttl, &data, 6);
            let addresses = target
                .as_ref()
                .map_or(&virtual_addresses[..], std::slice::from_ref);
            for (kind, data) in addresses.iter().copied().map(address_data) {
                builder.extra(kind, self.ttl, &data);
            }
        }
    }
}

/// The label of an endpoint without a host name: its address with dashes; a final dash gets a zero.
fn host_label(ip: IpAddr) -> String {
    let mut label = ip.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

/// The answer to ANY that says so and nothing else (RFC 8482).
fn push_any(builder: &mut Builder, ttl: u32) {
    builder.answer(rtype::HINFO, ttl, b"\x07RFC8482\x00");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_addresses() {
        for (ip, label) in [
            ("10.4.0.1", "10-4-0-1"),
            ("2001:db8::1", "2001-db8--1"),
            ("2001:db8::", "2001-db8--0"),
        ] {
            assert_eq!(host_label(ip.parse().expect("an address")), label);
        }
    }
}
