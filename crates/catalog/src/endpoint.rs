//! Where an instance is reached: a canonical host and its ports.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::ids::{InstanceKey, NodeName, ServiceKey};

/// A canonical host: an IP address or a lower-case name without final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address; IPv4-mapped IPv6 addresses are IPv4.
    Ip(IpAddr),
    /// A DNS name, or anything else a client called a host.
    Name(Arc<str>),
}

impl Host {
    /// Canonicalises what a client wrote: brackets, zones, final dots and upper case go.
    pub fn new(text: &str) -> Host {
        let text = text.trim();
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        let unzoned = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Ok(ip) = unzoned.parse::<Ipv6Addr>() {
            return Host::Ip(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
        }
        match bare.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(
                bare.strip_suffix('.')
                    .unwrap_or(bare)
                    .to_ascii_lowercase()
                    .into(),
            ),
        }
    }

    /// The address, unless the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    /// `host:port`, with brackets round IPv6 addresses.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            host => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits `host:port`, `[v6]:port`; `None` when there is no valid port.
pub fn split_host_port(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    Some((Host::new(host), port.parse().ok()?))
}

/// A port's transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP, what everybody means who says nothing.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// One port of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port's name (`http`, `grpc`), empty when it has none.
    pub name: Arc<str>,
    /// The number, 1 to 65535.
    pub number: u16,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// TCP or UDP.
    pub transport: Transport,
}

impl Port {
    /// A plain, unnamed TCP port.
    pub fn plain(number: u16) -> Port {
        Port {
            name: Arc::default(),
            number,
            secure: false,
            transport: Transport::Tcp,
        }
    }
}

/// The host and ports of an instance. `ports[0]` is the main port; none means the instance has no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Canonical host.
    pub host: Host,
    /// The ports, main port first; may be empty.
    pub ports: Arc<[Port]>,
}

impl Endpoint {
    /// An endpoint with at most one plain port; 0 means none.
    pub fn new(host: Host, port: u16) -> Endpoint {
        let ports = if port == 0 {
            Arc::default()
        } else {
            Arc::from([Port::plain(port)])
        };
        Endpoint { host, ports }
    }

    /// The main port's number, 0 when there is none.
    pub fn port(&self) -> u16 {
        self.ports.first().map_or(0, |p| p.number)
    }
}

/// Identity of an endpoint: the service, the host and the main port; instances without a port are endpoints of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// The service.
    pub service: ServiceKey,
    /// Canonical host.
    pub host: Host,
    /// Main port, 0 for none.
    pub port: u16,
    /// The instance, when it has no port and so no twins.
    pub sole: Option<InstanceKey>,
}

/// The stand-in node name of a host, for instances whose protocol has no nodes: `10-0-0-1.virtual`.
pub fn virtual_node(host: &Host) -> NodeName {
    NodeName::new(&format!(
        "{}.virtual",
        host.to_string().replace(['.', ':'], "-")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let rows = [
            ("10.0.0.1", "10.0.0.1"),
            ("[2001:DB8:0:0::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("Web.Example.COM.", "web.example.com"),
        ];
        for (text, expected) in rows {
            assert_eq!(Host::new(text).to_string(), expected);
        }
        assert_eq!(split_host_port("[::1]:80"), Some((Host::new("::1"), 80)));
        assert_eq!(split_host_port("h:80"), Some((Host::new("h"), 80)));
        assert_eq!(split_host_port("::1"), None);
        assert_eq!(split_host_port("h:x"), None);
    }
}
