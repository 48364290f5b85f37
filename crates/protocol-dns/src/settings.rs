//! What can be set, and networks in the usual notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use portolan_catalog::Revision;

use crate::names::{Zone, Zones};
use crate::recursor::Recursor;
use crate::wire::Soa;

/// Settings of the DNS server; [`Options::default`] has the values named here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address for UDP and TCP. `127.0.0.1:8600`.
    pub listen: SocketAddr,
    /// Consul's domain. `consul`.
    pub domain: String,
    /// A further name of it. None.
    pub alt_domain: Option<String>,
    /// The Kubernetes zone. `cluster.local`.
    pub cluster_domain: String,
    /// Our datacenter, as it may stand in names. `dc1`.
    pub datacenter: String,
    /// TTL of answers about nodes. 0.
    pub node_ttl: Duration,
    /// TTLs of answers about services: name, prefix with a final `*`, or `*`; an exact name wins, then the longest prefix. None: 0.
    pub service_ttl: Vec<(String, Duration)>,
    /// TTL of answers of the Kubernetes zone. 5 s.
    pub cluster_ttl: Duration,
    /// How long the absence of something may be remembered: SOA minimum of Consul's domain, at most 5 s. 0.
    pub negative_ttl: Duration,
    /// Leave out instances with a warning. `false`.
    pub only_passing: bool,
    /// Answers in one UDP reply to a client without EDNS. 3.
    pub udp_answer_limit: u32,
    /// Addresses in any one reply, 0 for all. 0.
    pub a_record_limit: u32,
    /// Say with the TC bit that answers were left out, so that the client asks again over TCP. The Kubernetes zone always says so.
    /// `false`, as in Consul: many clients, HAProxy among them, throw such a reply away and do not ask again.
    pub truncate: bool,
    /// Largest UDP reply, in bytes, also to a client that takes more; 512 to 65467. 65467, as in Consul.
    pub max_udp_size: u16,
    /// The same in the Kubernetes zone. 1232, which passes every link whole.
    pub cluster_max_udp_size: u16,
    /// Add a node's metadata as TXT records to SRV answers and to its own addresses. `true`.
    pub node_meta_txt: bool,
    /// Networks that are answered; others get REFUSED. Loopback, private and link-local ones.
    pub allow: Vec<Network>,
    /// Bytes of prepared answers; above them all are dropped and prepared afresh. 64 MiB, some 250,000 answers of one address.
    pub cache_bytes: usize,
    /// UDP threads, each with a socket of its own; 0 for one per core. 0.
    pub workers: usize,
    /// How long a TCP connection may be silent. 10 s.
    pub tcp_idle: Duration,
    /// Servers that are asked for names outside the zones, one after another. None: those names are refused.
    pub recursors: Vec<Recursor>,
    /// How long one of them has for an answer, over each transport. 2 s, as in Consul.
    pub recursor_timeout: Duration,
    /// Begin with any of them, not with the first. `false`.
    pub recursor_random: bool,
    /// Questions in flight to them; above it the answer is SERVFAIL. 1024.
    pub recursor_questions: usize,
    /// Bytes of what they said that are kept. 16 MiB.
    pub recursor_cache_bytes: usize,
    /// Replies over UDP that a network (/24, /56) gets each second, of each kind; 0 for all. 500.
    pub rate_limit: u32,
    /// Networks that get all. Loopback, private and link-local ones.
    pub rate_limit_exempt: Vec<Network>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8600)),
            domain: "consul".into(),
            alt_domain: None,
            cluster_domain: "cluster.local".into(),
            datacenter: "dc1".into(),
            node_ttl: Duration::ZERO,
            service_ttl: Vec::new(),
            cluster_ttl: Duration::from_secs(5),
            negative_ttl: Duration::ZERO,
            only_passing: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            truncate: false,
            max_udp_size: LARGEST_UDP,
            cluster_max_udp_size: 1232,
            node_meta_txt: true,
            allow: Network::near(),
            cache_bytes: 64 << 20,
            workers: 0,
            tcp_idle: Duration::from_secs(10),
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_random: false,
            recursor_questions: 1024,
            recursor_cache_bytes: 16 << 20,
            rate_limit: 500,
            rate_limit_exempt: Network::near(),
        }
    }
}

/// The largest reply that goes into one datagram; the number is Consul's.
pub(crate) const LARGEST_UDP: u16 = u16::MAX - 68;

/// How replies about a zone are cut to what the client takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizing {
    /// Answers over UDP to a client that takes no more than 512 bytes.
    pub(crate) plain_answers: u32,
    /// Bytes over UDP, also to a client that takes more.
    pub(crate) max_udp_size: u16,
    /// Whether the TC bit says that answers were left out.
    pub(crate) truncate: bool,
    /// What goes first over UDP: answers together with the addresses of their targets, as in Consul, of which one is always given; else
    /// additional records.
    pub(crate) whole_answers: bool,
}

/// The settings as the answering code wants them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) zones: Zones,
    pub(crate) node_ttl: u32,
    pub(crate) cluster_ttl: u32,
    pub(crate) only_passing: bool,
    pub(crate) a_record_limit: u32,
    domain_sizing: Sizing,
    cluster_sizing: Sizing,
    pub(crate) node_meta_txt: bool,
    pub(crate) tcp_idle: Duration,
    negative_ttl: u32,
    service_ttl: Vec<(String, u32)>,
    allow: Vec<Network>,
}

impl Settings {
    /// Takes the options apart: names in lower case without final dots, durations in whole seconds, sizes inside their bounds.
    pub(crate) fn new(options: &Options) -> Self {
        let name = |text: &str| text.trim_matches('.').to_ascii_lowercase();
        let seconds = |ttl: Duration| ttl.as_secs().min(i32::MAX as u64) as u32;
        let mut service_ttl: Vec<_> = options
            .service_ttl
            .iter()
            .map(|(pattern, ttl)| (pattern.to_ascii_lowercase(), seconds(*ttl)))
            .collect();
        // An exact name wins over prefixes, a longer prefix over a shorter one: the first match of this order is the answer.
        service_ttl
            .sort_by_key(|(pattern, _)| (pattern.ends_with('*'), usize::MAX - pattern.len()));
        Self {
            zones: Zones {
                domain: name(&options.domain),
                alt_domain: options.alt_domain.as_deref().map(name),
                cluster: name(&options.cluster_domain),
                datacenter: name(&options.datacenter),
                others: Vec::new(),
            },
            node_ttl: seconds(options.node_ttl),
            cluster_ttl: seconds(options.cluster_ttl),
            only_passing: options.only_passing,
            a_record_limit: options.a_record_limit,
            domain_sizing: Sizing {
                plain_answers: options.udp_answer_limit.clamp(1, 8),
                max_udp_size: options.max_udp_size.clamp(512, LARGEST_UDP),
                truncate: options.truncate,
                whole_answers: true,
            },
            cluster_sizing: Sizing {
                plain_answers: u32::MAX,
                max_udp_size: options.cluster_max_udp_size.clamp(512, LARGEST_UDP),
                truncate: true,
                whole_answers: false,
            },
            node_meta_txt: options.node_meta_txt,
            tcp_idle: options.tcp_idle,
            negative_ttl: seconds(options.negative_ttl).min(5),
            service_ttl,
            allow: options.allow.clone(),
        }
    }

    /// The same with other datacenters that may stand in names.
    pub(crate) fn knowing(mut self, others: Vec<String>) -> Self {
        self.zones.others = others;
        self
    }

    /// How replies about `zone` are cut.
    #[inline]
    pub(crate) fn sizing(&self, zone: Zone) -> &Sizing {
        match zone {
            Zone::Domain | Zone::AltDomain | Zone::Reverse => &self.domain_sizing,
            Zone::Cluster => &self.cluster_sizing,
        }
    }

    /// The TTL of answers about the service with this flat name.
    pub(crate) fn service_ttl(&self, name: &str) -> u32 {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        self.service_ttl
            .iter()
            .find(|(pattern, _)| matches(pattern))
            .map_or(0, |(_, ttl)| *ttl)
    }

    /// Whether a client at `ip` is answered.
    #[inline]
    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.allow.iter().any(|network| network.contains(ip))
    }

    /// The first labels of the primary server's name below a zone, in wire form.
    pub(crate) fn primary(&self, zone: Zone) -> &'static [u8] {
        match zone {
            Zone::Domain | Zone::AltDomain | Zone::Reverse => b"\x02ns",
            Zone::Cluster => b"\x02ns\x03dns",
        }
    }

    /// The numbers of a zone's SOA record as of `revision`.
    pub(crate) fn soa(&self, zone: Zone, revision: Revision) -> Soa {
        let serial = revision.0 as u32;
        match zone {
            Zone::Domain | Zone::AltDomain | Zone::Reverse => Soa {
                serial,
                times: [3600, 600, 86400],
                minimum: self.negative_ttl,
            },
            Zone::Cluster => Soa {
                serial,
                times: [7200, 1800, 86400],
                minimum: self.cluster_ttl.min(5),
            },
        }
    }
}

/// A network: an address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u128,
    mask: u128,
    v6: bool,
    bits: u8,
}

impl Network {
    /// The network of `address` with `bits` leading bits; `None` when an address has not so many.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(u32::from(width - bits)).unwrap_or(0);
        Some(Self {
            first: number(address) & mask,
            mask,
            v6: address.is_ipv6(),
            bits,
        })
    }

    /// Whether `address` lies in it.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.v6 == address.is_ipv6() && number(address) & self.mask == self.first
    }

    /// The networks answered by default: loopback, private (RFC 1918, RFC 6598, RFC 4193) and link-local ones.
    pub fn near() -> Vec<Self> {
        let v4 = [
            ([127, 0, 0, 0], 8),
            ([10, 0, 0, 0], 8),
            ([172, 16, 0, 0], 12),
            ([192, 168, 0, 0], 16),
            ([100, 64, 0, 0], 10),
            ([169, 254, 0, 0], 16),
        ];
        let v6 = [
            (Ipv6Addr::LOCALHOST, 128),
            (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        ];
        let v4 = v4
            .into_iter()
            .map(|(octets, bits)| (IpAddr::V4(Ipv4Addr::from(octets)), bits));
        let v6 = v6
            .into_iter()
            .map(|(address, bits)| (IpAddr::V6(address), bits));
        v4.chain(v6)
            .filter_map(|(address, bits)| Self::new(address, bits))
            .collect()
    }
}

#[inline]
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or an address alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let wrong = || format!("{text:?} is not a network; write it like 10.0.0.0/8 or fd00::/8");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        Self::new(address, bits).ok_or_else(wrong)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 {
            write!(f, "{}/{}", Ipv6Addr::from(self.first), self.bits)
        } else {
            write!(f, "{}/{}", Ipv4Addr::from(self.first as u32), self.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_contain() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.168.1.77/24", "192.168.1.1", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "2001:db8::1", true),
        ] {
            let network: Network = network.parse().expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                expected,
                "{network} {address}"
            );
        }
        for text in ["10.0.0.0/33", "ten/8", "10.0.0.0/x", "", "::/129"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let shown: Vec<_> = Network::near().iter().map(Network::to_string).collect();
        assert!(
            shown.contains(&"172.16.0.0/12".to_owned()) && shown.contains(&"fc00::/7".to_owned())
        );
    }

    #[test]
    fn the_most_particular_ttl_wins() {
        let seconds = |n| Duration::from_secs(n);
        let settings = Settings::new(&Options {
            service_ttl: vec![
                ("*".into(), seconds(1)),
                ("web*".into(), seconds(2)),
                ("Web-api*".into(), seconds(3)),
                ("web-api-1".into(), seconds(4)),
            ],
            ..Options::default()
        });
        for (name, ttl) in [("db", 1), ("web", 2), ("web-api-2", 3), ("web-api-1", 4)] {
            assert_eq!(settings.service_ttl(name), ttl, "{name}");
        }
        assert_eq!(Settings::new(&Options::default()).service_ttl("web"), 0);
    }

    #[test]
    fn strangers_are_not_answered_by_default() {
        let settings = Settings::new(&Options::default());
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(
                settings.allows(ip.parse().expect("an address")),
                expected,
                "{ip}"
            );
        }
    }
}
