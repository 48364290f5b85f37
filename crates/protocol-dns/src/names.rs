//! What a name asks for: the rules of the three name schemes, as functions of the name alone.
//!
//! Consul's domain is read from its right end: the first label that is a known word (`service`, `node`, ...) decides, what follows it is
//! the locality, what precedes it is name and tag. The cluster zone follows the Kubernetes DNS specification 1.1.0. Reverse names are
//! addresses written backwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Labels, rtype};

/// The zones answered for. Names are lower case, without a final dot.
#[derive(Clone, Debug)]
pub(crate) struct Zones {
    /// Consul's domain, `consul`.
    pub(crate) domain: String,
    /// A second spelling of it.
    pub(crate) alt_domain: Option<String>,
    /// The Kubernetes zone, `cluster.local`.
    pub(crate) cluster: String,
    /// The name of our datacenter, as it may stand in a name.
    pub(crate) datacenter: String,
    /// Those of the other datacenters that are known here.
    pub(crate) others: Vec<String>,
}

impl Zones {
    /// The spelling of Consul's domain for names in an answer: that of the question, so that whoever forwards one spelling only can
    /// resolve them.
    pub(crate) fn domain(&self, asked: Zone) -> &str {
        match (asked, &self.alt_domain) {
            (Zone::AltDomain, Some(other)) => other,
            (Zone::Domain | Zone::AltDomain | Zone::Cluster | Zone::Reverse, _) => &self.domain,
        }
    }
}

/// Which zone a name lies in; decides the SOA record of a negative answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Consul's domain.
    Domain,
    /// The same by its second spelling.
    AltDomain,
    /// The Kubernetes zone.
    Cluster,
    /// `in-addr.arpa` and `ip6.arpa`.
    Reverse,
}

/// How a service is asked for below Consul's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `service`: its instances.
    Plain,
    /// `connect`: its proxies.
    Connect,
    /// `ingress`: gateways before it.
    Ingress,
    /// `virtual`: its virtual address.
    Virtual,
}

/// What a name asks for. Texts are lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// The top of a zone.
    Apex,
    /// A service of Consul's domain, by flat name; an empty tag means any. `ports`: in the manner of RFC 2782.
    Service {
        kind: Kind,
        name: &'a str,
        tag: &'a str,
        ports: bool,
    },
    /// A service in the manner of RFC 2782 without the word `service`, by another type than SRV: it has no record of it.
    PortsOnly { name: &'a str, tag: &'a str },
    /// A node.
    Node(&'a str),
    /// A prepared query, by name or id. `ports`: in the manner of RFC 2782.
    Query { name: &'a str, ports: bool },
    /// An address written in hexadecimal.
    Addr(IpAddr),
    /// The names of an address.
    Reverse(IpAddr),
    /// Something of the cluster zone.
    Cluster(Cluster<'a>),
    /// Something of another datacenter: its name, and what is asked of it.
    Elsewhere(&'a str, Box<Asked<'a>>),
    /// Nothing itself, but names exist below: never NXDOMAIN (RFC 8020).
    EmptyNonTerminal,
    /// No name of this form exists.
    Nothing,
}

impl Asked<'_> {
    /// Whether the name is of the form `_service._protocol`.
    pub(crate) fn has_ports(&self) -> bool {
        match self {
            Self::Elsewhere(_, asked) => asked.has_ports(),
            Self::Service { ports, .. } | Self::Query { ports, .. } => *ports,
            Self::PortsOnly { .. } => true,
            _ => false,
        }
    }
}

/// What a name of the cluster zone asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cluster<'a> {
    /// `dns-version`.
    Version,
    /// `ns.dns`: the servers that answer for the zone.
    Servers,
    /// `NAMESPACE.svc`.
    Namespace(&'a str),
    /// `SERVICE.NAMESPACE.svc`.
    Service {
        namespace: &'a str,
        service: &'a str,
    },
    /// `HOST.SERVICE.NAMESPACE.svc`: one endpoint; with a leading underscore, the place between ports and service.
    Host {
        namespace: &'a str,
        service: &'a str,
        host: &'a str,
    },
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`, without the underscores.
    Port {
        namespace: &'a str,
        service: &'a str,
        port: &'a str,
        protocol: &'a str,
    },
}

/// Reads a name. `None`: it lies in no zone of ours. With it comes the index of the label at which the zone begins.
pub(crate) fn classify<'a>(
    labels: &Labels<'a>,
    qtype: u16,
    zones: &Zones,
) -> Option<(Zone, usize, Asked<'a>)> {
    let spellings = [
        (Zone::Domain, Some(&zones.domain)),
        (Zone::AltDomain, zones.alt_domain.as_ref()),
    ];
    for (zone, spelling) in spellings {
        if let Some(split) = spelling.and_then(|spelling| labels.below(spelling)) {
            let asked = domain(labels, split, qtype, zones);
            return Some((zone, split, asked));
        }
    }
    if let Some(split) = labels.below(&zones.cluster) {
        return Some((Zone::Cluster, split, cluster(labels, split)));
    }
    for (suffix, read) in [
        (
            "in-addr.arpa",
            reverse_v4 as fn(&Labels<'_>, usize) -> Option<Asked<'a>>,
        ),
        ("ip6.arpa", reverse_v6),
    ] {
        if let Some(split) = labels.below(suffix) {
            let asked = match split {
                0 => Asked::Apex,
                _ => read(labels, split).unwrap_or(Asked::Nothing),
            };
            return Some((Zone::Reverse, split, asked));
        }
    }
    None
}

fn domain<'a>(labels: &Labels<'a>, end: usize, qtype: u16, zones: &Zones) -> Asked<'a> {
    if end == 0 {
        return Asked::Apex;
    }
    for index in (0..end).rev() {
        let word = labels.get(index);
        let kind = match word {
            "service" => Kind::Plain,
            "connect" => Kind::Connect,
            "ingress" => Kind::Ingress,
            "virtual" => Kind::Virtual,
            "node" | "query" | "addr" => Kind::Plain,
            // RFC 2782 names may leave `service` out; they have SRV records and no others.
            _ if word.starts_with('_') => {
                let Some(place) = place(labels, index + 1, end, zones) else {
                    return Asked::Nothing;
                };
                return place.of(match service(labels, index + 1, Kind::Plain) {
                    Asked::Service { name, tag, .. } if qtype != rtype::SRV => {
                        Asked::PortsOnly { name, tag }
                    }
                    asked => asked,
                });
            }
            _ => continue,
        };
        let Some(place) = place(labels, index + 1, end, zones) else {
            return Asked::Nothing;
        };
        if index == 0 {
            return Asked::EmptyNonTerminal;
        }
        return place.of(match word {
            "node" => Asked::Node(labels.join(0, index)),
            "query" => query(labels, index),
            "addr" if index == 1 => address(labels.get(0)).map_or(Asked::Nothing, Asked::Addr),
            "addr" => Asked::Nothing,
            _ => service(labels, index, kind),
        });
    }
    // `dc1.consul` has names below it, `dc.consul` too.
    let open = usize::from(matches!(labels.get(0), "dc" | "ns" | "ap"));
    match place(labels, open, end, zones) {
        Some(_) => Asked::EmptyNonTerminal,
        None => Asked::Nothing,
    }
}

/// Where something is asked for.
enum Place<'a> {
    Here,
    Elsewhere(&'a str),
}

impl<'a> Place<'a> {
    fn of(self, asked: Asked<'a>) -> Asked<'a> {
        match (self, asked) {
            (Place::Here, asked) => asked,
            // These are the same everywhere.
            (_, asked @ (Asked::EmptyNonTerminal | Asked::Nothing | Asked::Addr(_))) => asked,
            (Place::Elsewhere(datacenter), asked) => Asked::Elsewhere(datacenter, Box::new(asked)),
        }
    }
}

/// The place that the labels between the deciding word and the domain name: nothing, `dc1`, `dc1.dc`, or pairs of value and kind among
/// which the namespace and partition are `default` (the only ones there are). None if there is no such place.
fn place<'a>(labels: &Labels<'a>, from: usize, to: usize, zones: &Zones) -> Option<Place<'a>> {
    let mut found = Place::Here;
    let mut at = from;
    while at < to {
        let value = labels.get(at);
        let kind = if at + 1 < to {
            labels.get(at + 1)
        } else {
            "dc"
        };
        match kind {
            "dc" if value == zones.datacenter => {}
            "dc" if zones.others.iter().any(|other| other == value) => {
                found = Place::Elsewhere(value);
            }
            "ns" | "ap" if value == "default" => {}
            _ => return None,
        }
        at += 2;
    }
    Some(found)
}

/// The labels before the deciding word as service and tag: `_name._tag` in the manner of RFC 2782, else `tag.with.dots.name`.
fn service<'a>(labels: &Labels<'a>, end: usize, kind: Kind) -> Asked<'a> {
    let last = labels.get(end - 1);
    if end == 2
        && let (Some(name), Some(tag)) = (labels.get(0).strip_prefix('_'), last.strip_prefix('_'))
    {
        // `_tcp` is how the RFC asks without a tag; any other word is a tag, `_udp` too.
        let tag = if tag == "tcp" { "" } else { tag };
        return Asked::Service {
            kind,
            name,
            tag,
            ports: true,
        };
    }
    if end == 1 && last.starts_with('_') {
        return Asked::EmptyNonTerminal;
    }
    Asked::Service {
        kind,
        name: last,
        tag: labels.join(0, end - 1),
        ports: false,
    }
}

fn query<'a>(labels: &Labels<'a>, end: usize) -> Asked<'a> {
    if end == 2
        && labels.get(1).starts_with('_')
        && let Some(name) = labels.get(0).strip_prefix('_')
    {
        return Asked::Query { name, ports: true };
    }
    Asked::Query {
        name: labels.join(0, end),
        ports: false,
    }
}

/// Eight hexadecimal digits are an IPv4 address, thirty-two an IPv6 address.
fn address(hex: &str) -> Option<IpAddr> {
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match hex.len() {
        8 => Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?).into()),
        _ => None,
    }
}

/// The label of an address below `addr`, the inverse of reading it.
pub(crate) fn hex_label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:08x}", u32::from(v4)),
        IpAddr::V6(v6) => format!("{:032x}", u128::from(v6)),
    }
}

fn cluster<'a>(labels: &Labels<'a>, end: usize) -> Asked<'a> {
    if end == 0 {
        return Asked::Apex;
    }
    let below = |back: usize| end.checked_sub(back).map_or("", |at| labels.get(at));
    match (end, below(1)) {
        (1, "dns-version") => Asked::Cluster(Cluster::Version),
        (1, "svc" | "dns") => Asked::EmptyNonTerminal,
        (2, "dns") if below(2) == "ns" => Asked::Cluster(Cluster::Servers),
        (2, "svc") => Asked::Cluster(Cluster::Namespace(below(2))),
        (3..=5, "svc") => {
            let (namespace, service) = (below(2), below(3));
            Asked::Cluster(match end {
                3 => Cluster::Service { namespace, service },
                4 => Cluster::Host {
                    namespace,
                    service,
                    host: below(4),
                },
                _ => {
                    let (Some(port), Some(protocol)) =
                        (below(5).strip_prefix('_'), below(4).strip_prefix('_'))
                    else {
                        return Asked::Nothing;
                    };
                    Cluster::Port {
                        namespace,
                        service,
                        port,
                        protocol,
                    }
                }
            })
        }
        _ => Asked::Nothing,
    }
}

/// The address before `in-addr.arpa`. With fewer than four numbers it is a name on the way to addresses.
fn reverse_v4<'a>(labels: &Labels<'_>, end: usize) -> Option<Asked<'a>> {
    let mut octets = [0; 4];
    for index in 0..end {
        let text = labels.get(index);
        if !text.bytes().all(|b| b.is_ascii_digit()) || text.len() > 1 && text.starts_with('0') {
            return None;
        }
        *octets.get_mut(end - 1 - index)? = text.parse().ok()?;
    }
    Some(match end {
        4 => Asked::Reverse(Ipv4Addr::from(octets).into()),
        _ => Asked::EmptyNonTerminal,
    })
}

/// The address before `ip6.arpa`. With fewer than thirty-two digits it is a name on the way to addresses.
fn reverse_v6<'a>(labels: &Labels<'_>, end: usize) -> Option<Asked<'a>> {
    let mut bits = 0_u128;
    for index in (0..end).rev() {
        let text = labels.get(index);
        let digit = char::from(*text.as_bytes().first()?).to_digit(16)?;
        if text.len() != 1 {
            return None;
        }
        bits = bits << 4 | u128::from(digit);
    }
    match end {
        32 => Some(Asked::Reverse(Ipv6Addr::from(bits).into())),
        0..32 => Some(Asked::EmptyNonTerminal),
        _ => None,
    }
}

/// Whether `name` has further labels before `upper`.
pub(crate) fn is_below(name: &str, upper: &str) -> bool {
    let split = name.len().checked_sub(upper.len() + 1);
    split.is_some_and(|at| {
        let (lead, rest) = name.as_bytes().split_at(at);
        !lead.is_empty() && rest[0] == b'.' && rest[1..].eq_ignore_ascii_case(upper.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Folded, push_name};

    fn zones() -> Zones {
        Zones {
            domain: "consul".into(),
            alt_domain: Some("corp.example".into()),
            cluster: "cluster.local".into(),
            datacenter: "dc1".into(),
            others: vec!["far".into()],
        }
    }

    fn check(name: &str, qtype: u16, expected: &str) {
        let mut wire = Vec::new();
        assert!(push_name(&mut wire, name), "{name}");
        let mut folded = Folded::default();
        folded.set(&wire, qtype);
        let mut text = [0; 256];
        let labels = Labels::read(folded.name(), &mut text).expect("text");
        let got = match classify(&labels, qtype, &zones()) {
            None => "foreign".to_owned(),
            Some((
                _,
                _,
                Asked::Service {
                    kind, name, tag, ..
                },
            )) => format!("{kind:?} {name} [{tag}]"),
            Some((_, _, Asked::Query { name, .. })) => format!("Query {name}"),
            Some((_, _, Asked::Elsewhere(datacenter, asked))) => format!("{datacenter}: {asked:?}"),
            Some((_, _, Asked::Cluster(asked))) => format!("{asked:?}"),
            Some((_, _, asked)) => format!("{asked:?}"),
        };
        assert_eq!(got, expected, "{name}");
    }

    #[test]
    fn names_of_the_domain() {
        use rtype::{A, SRV};
        for (name, qtype, expected) in [
            ("consul", A, "Apex"),
            ("corp.example", A, "Apex"),
            ("web.service.consul", A, "Plain web []"),
            ("WEB.Service.Corp.Example", A, "Plain web []"),
            ("v1.web.service.consul", A, "Plain web [v1]"),
            ("v1.2.web.service.dc1.consul", A, "Plain web [v1.2]"),
            ("web.service.dc1.dc.consul", A, "Plain web []"),
            (
                "web.service.default.ns.default.ap.dc1.dc.consul",
                A,
                "Plain web []",
            ),
            ("web.service.other.ns.dc1.dc.consul", A, "Nothing"),
            ("web.service.dc2.consul", A, "Nothing"),
            ("web.service.dc1.dc1.consul", A, "Nothing"),
            ("_web._tcp.service.consul", SRV, "Plain web []"),
            ("_web._tcp.service.consul", A, "Plain web []"),
            ("_web._udp.service.consul", SRV, "Plain web [udp]"),
            ("_web._v1.consul", SRV, "Plain web [v1]"),
            ("_web._tcp.dc1.consul", SRV, "Plain web []"),
            ("_web._tcp.dc2.consul", SRV, "Nothing"),
            (
                "_web._tcp.consul",
                A,
                "PortsOnly { name: \"web\", tag: \"\" }",
            ),
            ("_tcp.consul", A, "EmptyNonTerminal"),
            ("_tcp.dc2.consul", A, "Nothing"),
            ("_tcp.service.consul", A, "EmptyNonTerminal"),
            ("service.consul", A, "EmptyNonTerminal"),
            ("dc1.consul", A, "EmptyNonTerminal"),
            ("dc.consul", A, "EmptyNonTerminal"),
            ("ap.dc1.dc.consul", A, "EmptyNonTerminal"),
            ("default.ap.dc1.dc.consul", A, "EmptyNonTerminal"),
            ("dc2.consul", A, "Nothing"),
            ("dc2.dc.consul", A, "Nothing"),
            ("far.consul", A, "EmptyNonTerminal"),
            ("far.dc.consul", A, "EmptyNonTerminal"),
            ("n1.node.far.consul", A, "far: Node(\"n1\")"),
            ("n1.node.far.dc.consul", A, "far: Node(\"n1\")"),
            (
                "_web._tcp.far.consul",
                SRV,
                "far: Service { kind: Plain, name: \"web\", tag: \"\", ports: true }",
            ),
            (
                "v1.web.service.default.ns.far.dc.consul",
                A,
                "far: Service { kind: Plain, name: \"web\", tag: \"v1\", ports: false }",
            ),
            (
                "near.query.far.consul",
                A,
                "far: Query { name: \"near\", ports: false }",
            ),
            ("7f000001.addr.far.consul", A, "Addr(127.0.0.1)"),
            ("service.far.consul", A, "EmptyNonTerminal"),
            ("web.service.nowhere.consul", A, "Nothing"),
            ("web.consul", A, "Nothing"),
            ("web.connect.consul", A, "Connect web []"),
            ("web.virtual.consul", A, "Virtual web []"),
            ("a.b.node.consul", A, "Node(\"a.b\")"),
            ("n1.node.dc1.consul", A, "Node(\"n1\")"),
            ("near.query.consul", A, "Query near"),
            ("_near._tcp.query.consul", SRV, "Query near"),
            ("7f000001.addr.dc1.consul", A, "Addr(127.0.0.1)"),
            (
                "00000000000000000000000000000001.addr.consul",
                A,
                "Addr(::1)",
            ),
            ("+f000001.addr.consul", A, "Nothing"),
            ("7f0001.addr.consul", A, "Nothing"),
            ("x.7f000001.addr.consul", A, "Nothing"),
            ("consul.example", A, "foreign"),
            ("example.com", A, "foreign"),
        ] {
            check(name, qtype, expected);
        }
    }

    #[test]
    fn names_of_the_cluster_and_of_addresses() {
        use rtype::{A, PTR, SRV};
        for (name, qtype, expected) in [
            ("cluster.local", A, "Apex"),
            ("dns-version.cluster.local", A, "Version"),
            ("svc.cluster.local", A, "EmptyNonTerminal"),
            ("dns.cluster.local", A, "EmptyNonTerminal"),
            ("ns.dns.cluster.local", A, "Servers"),
            ("x.dns.cluster.local", A, "Nothing"),
            ("default.svc.cluster.local", A, "Namespace(\"default\")"),
            (
                "web.default.svc.cluster.local",
                A,
                "Service { namespace: \"default\", service: \"web\" }",
            ),
            (
                "h1.web.default.svc.cluster.local",
                A,
                "Host { namespace: \"default\", service: \"web\", host: \"h1\" }",
            ),
            (
                "_http._tcp.web.prod.svc.cluster.local",
                SRV,
                "Port { namespace: \"prod\", service: \"web\", port: \"http\", protocol: \"tcp\" }",
            ),
            ("a.b.web.prod.svc.cluster.local", SRV, "Nothing"),
            ("a._x._tcp.web.prod.svc.cluster.local", SRV, "Nothing"),
            ("10-0-0-1.default.pod.cluster.local", A, "Nothing"),
            ("4.3.2.10.in-addr.arpa", PTR, "Reverse(10.2.3.4)"),
            ("4.3.2.010.in-addr.arpa", PTR, "Nothing"),
            ("4.3.2.+10.in-addr.arpa", PTR, "Nothing"),
            ("4.3.2.256.in-addr.arpa", PTR, "Nothing"),
            ("5.4.3.2.10.in-addr.arpa", PTR, "Nothing"),
            ("3.2.10.in-addr.arpa", PTR, "EmptyNonTerminal"),
            ("in-addr.arpa", PTR, "Apex"),
            ("8.b.d.0.1.0.0.2.ip6.arpa", PTR, "EmptyNonTerminal"),
            ("g.ip6.arpa", PTR, "Nothing"),
            ("10.ip6.arpa", PTR, "Nothing"),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                PTR,
                "Reverse(2001:db8::1)",
            ),
        ] {
            check(name, qtype, expected);
        }
    }

    #[test]
    fn hexadecimal_labels_are_read_back() {
        for text in ["10.0.0.1", "255.255.255.255", "2001:db8::1", "::"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(address(&hex_label(ip)), Some(ip));
        }
    }
}
