//! Which protocols are open, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use portolan_catalog::Protocol;

use super::suggest::nearest;

/// What one of a protocol's ports is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The port that the protocol is known by.
    Main,
    /// gRPC beside it: Nacos' clients look for one a thousand above the other.
    Grpc,
    /// HTTPS beside it, closed until it is named: DNS has that.
    Https,
    /// The gateway, which is no protocol's; closed until it is named.
    Gateway,
}

/// One port of a protocol. Its name, in `--listen` and where ports are announced, is the protocol's, with `-grpc` or `+https` for that role and
/// `+tls` for the port that speaks TLS beside the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortId {
    pub(crate) protocol: Protocol,
    pub(crate) role: Role,
    /// Beside the plain one, for TLS alone.
    pub(crate) tls: bool,
}

impl PortId {
    /// The port that `protocol` is known by.
    pub(crate) const fn main(protocol: Protocol) -> PortId {
        PortId {
            protocol,
            role: Role::Main,
            tls: false,
        }
    }

    /// The one for gRPC beside it.
    pub(crate) const fn grpc(protocol: Protocol) -> PortId {
        PortId {
            protocol,
            role: Role::Grpc,
            tls: false,
        }
    }

    /// The one for HTTPS beside it.
    pub(crate) const fn https(protocol: Protocol) -> PortId {
        PortId {
            protocol,
            role: Role::Https,
            tls: true,
        }
    }

    /// The gateway's.
    pub(crate) const fn gateway() -> PortId {
        PortId {
            protocol: Protocol::Portolan,
            role: Role::Gateway,
            tls: false,
        }
    }

    /// The one for TLS beside this one.
    pub(crate) const fn over_tls(self) -> PortId {
        PortId { tls: true, ..self }
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Gateway => f.write_str("gateway")?,
            _ => f.write_str(self.protocol.as_str())?,
        }
        match self.role {
            Role::Main | Role::Gateway => {}
            Role::Grpc => f.write_str("-grpc")?,
            Role::Https => return f.write_str("+https"),
        }
        match self.tls {
            true => f.write_str("+tls"),
            false => Ok(()),
        }
    }
}

/// A port that `--listen` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: PortId,
    pub(crate) port: u16,
    /// The number of the one for TLS beside it, which is closed until it is named; none where there is none.
    pub(crate) tls: Option<u16>,
    /// Whether this version serves it.
    pub(crate) built: bool,
}

const fn known(id: PortId, port: u16, tls: Option<u16>, built: bool) -> Known {
    Known {
        id,
        port,
        tls,
        built,
    }
}

/// Every port, in the order in which they are opened and announced; the one for TLS comes after each.
pub(crate) const KNOWN: [Known; 12] = [
    known(PortId::main(Protocol::Consul), 8500, Some(8501), true),
    known(PortId::main(Protocol::Dns), 8600, Some(853), true),
    known(PortId::https(Protocol::Dns), 443, None, true),
    known(PortId::main(Protocol::Etcd), 2379, Some(2378), true),
    known(PortId::main(Protocol::ZooKeeper), 2181, Some(2281), true),
    known(PortId::main(Protocol::Eureka), 8761, Some(8762), true),
    known(PortId::main(Protocol::Nacos), 8848, Some(8849), true),
    known(PortId::grpc(Protocol::Nacos), 9848, Some(9849), true),
    known(PortId::main(Protocol::Kubernetes), 6444, Some(6445), true),
    known(PortId::main(Protocol::Xds), 18000, Some(18001), true),
    known(PortId::main(Protocol::Native), 7500, Some(7501), true),
    known(PortId::gateway(), 8080, Some(8443), true),
];

/// All ports of a table: the plain ones, and after each the one for TLS.
fn with_tls(table: &[Known]) -> impl Iterator<Item = Known> + '_ {
    table.iter().flat_map(|plain| {
        let beside = plain.tls.map(|port| Known {
            id: plain.id.over_tls(),
            port,
            ..*plain
        });
        [*plain].into_iter().chain(beside)
    })
}

/// The ids of all ports, in the order in which they are announced.
pub(crate) fn ids() -> impl Iterator<Item = PortId> {
    with_tls(&KNOWN).map(|known| known.id)
}

/// How far above its main port clients look for a protocol's gRPC port.
pub(crate) const GRPC_ABOVE: u16 = 1000;

/// The address of each open port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    ports: BTreeMap<PortId, SocketAddr>,
    /// Ports beside a main one that were given an address, or closed, by themselves; others follow the main one.
    alone: BTreeSet<PortId>,
    /// Ports that speak TLS although their name does not say so.
    secure: BTreeSet<PortId>,
}

impl Default for Listen {
    /// All protocols that are built, on loopback, on their customary ports.
    fn default() -> Self {
        let open = |known: &&Known| known.built && !known.id.tls && known.id.role != Role::Gateway;
        let built = KNOWN.iter().filter(open);
        let address = |known: &Known| SocketAddr::from(([127, 0, 0, 1], known.port));
        Listen {
            ports: built.map(|known| (known.id, address(known))).collect(),
            alone: BTreeSet::new(),
            secure: BTreeSet::new(),
        }
    }
}

impl Listen {
    /// The address of a port; none when it is off.
    pub(crate) fn of(&self, id: PortId) -> Option<SocketAddr> {
        self.ports.get(&id).copied()
    }

    /// Whether a port beside a main one has its place above that.
    pub(crate) fn follows(&self, id: PortId) -> bool {
        id.role == Role::Grpc && !self.alone.contains(&id)
    }

    /// The open ports and their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PortId, SocketAddr)> {
        self.ports.iter().map(|(id, address)| (*id, *address))
    }

    /// Whether a port speaks TLS.
    pub(crate) fn speaks_tls(&self, id: PortId) -> bool {
        id.tls || self.secure.contains(&id)
    }

    /// The open ports that speak TLS.
    pub(crate) fn secure(&self) -> impl Iterator<Item = PortId> {
        self.iter()
            .map(|(id, _)| id)
            .filter(|id| self.speaks_tls(*id))
    }

    /// Takes one `NAME=ADDR` or `NAME=off`. A protocol's own name moves its other ports as well, unless they were given by themselves,
    /// and with `off` closes them.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), String> {
        self.set_of(&KNOWN, text)
    }

    fn set_of(&mut self, table: &[Known], text: &str) -> Result<(), String> {
        let (name, address) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not NAME=ADDR, such as consul=127.0.0.1:8500"))?;
        let (name, address) = (name.trim(), address.trim());
        if name == "all" {
            return self.set_all(table, address);
        }
        let all: Vec<Known> = with_tls(table).collect();
        let names: Vec<(String, &Known)> = all.iter().map(|k| (k.id.to_string(), k)).collect();
        let built = || {
            // Each may have its `+tls` beside it, which says nothing new.
            let plain = |known: &Known| known.built && !known.id.tls;
            let built = names.iter().filter(|(_, known)| plain(known));
            let built: Vec<&str> = built.map(|(name, _)| name.as_str()).collect();
            built.join(", ")
        };
        let Some((_, known)) = names.iter().find(|(known, _)| known == name) else {
            let meant = nearest(name, names.iter().map(|(known, _)| known.as_str()))
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            return Err(format!(
                "there is no protocol {name:?}, there is {}{meant}",
                built()
            ));
        };
        if known.id.role == Role::Grpc {
            self.alone.insert(known.id);
        }
        if address == "off" {
            // A plain main port takes all others along, one for TLS those for TLS whose names say so.
            let says_tls = |id: &PortId| id.tls && id.role != Role::Https;
            self.ports.retain(|id, _| match known.id.role {
                Role::Main | Role::Gateway => {
                    id.protocol != known.id.protocol || (known.id.tls && !says_tls(id))
                }
                Role::Grpc | Role::Https => *id != known.id,
            });
            return Ok(());
        }
        if !known.built {
            return Err(format!(
                "protocol {name:?} is not built into this version; it has {}",
                built()
            ));
        }
        let (address, secure) = match address.strip_suffix(",tls") {
            Some(address) => (address, true),
            None => (address, false),
        };
        if secure && known.id.protocol == Protocol::Dns {
            return Err(
                "DNS over TLS has a port beside that of UDP and TCP: write dns+tls=ADDR, or dns+https=ADDR"
                    .into(),
            );
        }
        let spelled = match address.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        };
        let address: SocketAddr = spelled.parse().map_err(|_| {
            format!("{address:?} is not an address for {name}; write IP:PORT, such as 127.0.0.1:{}, or off", known.port)
        })?;
        let beside = all.iter().find(|other| {
            let (own, id) = (known.id, other.id);
            other.built && id.protocol == own.protocol && id.tls == own.tls && id.role != own.role
        });
        let set = |listen: &mut Listen, id: PortId, address: SocketAddr| {
            listen.ports.insert(id, address);
            match secure {
                true => listen.secure.insert(id),
                false => listen.secure.remove(&id),
            };
        };
        if let Some(beside) = beside.filter(|other| self.follows(other.id)) {
            let port = match address.port() {
                0 => 0,
                port => port.checked_add(GRPC_ABOVE).ok_or_else(|| {
                    format!(
                        "there is no port {GRPC_ABOVE} above {address}, where clients of {name} look for gRPC; give a port up to {}, or {}=ADDR first",
                        u16::MAX - GRPC_ABOVE, beside.id
                    )
                })?,
            };
            set(self, beside.id, SocketAddr::new(address.ip(), port));
        }
        set(self, known.id, address);
        Ok(())
    }

    /// Every port that is open moves to its customary number at one address.
    fn set_all(&mut self, table: &[Known], text: &str) -> Result<(), String> {
        let ip: IpAddr = text.parse().map_err(|_| {
            format!(
                "{text:?} is not an address for all; write an IP without a port, such as 127.0.0.2"
            )
        })?;
        for known in with_tls(table) {
            if let Some(address) = self.ports.get_mut(&known.id) {
                *address = SocketAddr::new(ip, known.port);
            }
        }
        Ok(())
    }

    /// As `--listen` would be written, one per port.
    pub(crate) fn print(&self) -> String {
        let tls = |id| match self.secure.contains(id) {
            true => ",tls",
            false => "",
        };
        let ports = self.ports.iter();
        let all: Vec<String> = ports.map(|(p, a)| format!("{p}={a}{}", tls(p))).collect();
        all.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listen_changes_its_own_protocol_only() {
        let mut listen = Listen::default();
        listen.set("all=127.0.0.2").unwrap();
        assert!(listen.print().starts_with("consul=127.0.0.2:8500 "));
        listen.set("all=127.0.0.1").unwrap();
        assert!(listen.set("all=127.0.0.1:80").is_err());
        listen.set("consul=127.0.0.1:1").unwrap();
        listen.set("eureka=off").unwrap();
        listen.set("zookeeper=off").unwrap();
        listen.set("dns=localhost:53").unwrap();
        assert_eq!(
            listen.print(),
            "consul=127.0.0.1:1 dns=127.0.0.1:53 etcd=127.0.0.1:2379 nacos=127.0.0.1:8848 nacos-grpc=127.0.0.1:9848 kubernetes=127.0.0.1:6444 xds=127.0.0.1:18000 native=127.0.0.1:7500"
        );
    }

    #[test]
    fn a_protocol_may_have_several_ports() {
        let table = [
            known(PortId::main(Protocol::Nacos), 8848, Some(8849), true),
            known(PortId::grpc(Protocol::Nacos), 9848, Some(9849), true),
        ];
        let mut listen = Listen {
            ports: BTreeMap::new(),
            alone: BTreeSet::new(),
            secure: BTreeSet::new(),
        };
        let mut set = |text: &str| listen.set_of(&table, text).map(|()| listen.print());
        assert_eq!(
            set("nacos-grpc=127.0.0.1:2").unwrap(),
            "nacos-grpc=127.0.0.1:2"
        );
        assert_eq!(
            set("nacos=127.0.0.1:1").unwrap(),
            "nacos=127.0.0.1:1 nacos-grpc=127.0.0.1:2"
        );
        assert_eq!(set("nacos-grpc=off").unwrap(), "nacos=127.0.0.1:1");
        set("nacos-grpc=127.0.0.1:3").unwrap();
        assert_eq!(set("nacos=off").unwrap(), "", "the protocol is off");
        let error = set("nacos-grcp=off").unwrap_err();
        assert!(error.ends_with("did you mean \"nacos-grpc\"?"), "{error}");
    }

    #[test]
    fn a_port_speaks_tls_alone_or_beside_the_plain_one() {
        let rows = [
            ("consul=127.0.0.1:1,tls", "consul=127.0.0.1:1,tls", 1),
            (
                "consul+tls=127.0.0.1:2",
                "consul=127.0.0.1:8500 consul+tls=127.0.0.1:2",
                1,
            ),
            (
                "nacos=127.0.0.1:1,tls",
                "nacos=127.0.0.1:1,tls nacos-grpc=127.0.0.1:1001,tls",
                2,
            ),
            (
                "kubernetes+tls=127.0.0.1:6445",
                "kubernetes=127.0.0.1:6444 kubernetes+tls=127.0.0.1:6445",
                1,
            ),
            (
                "nacos+tls=127.0.0.1:4",
                "nacos=127.0.0.1:8848 nacos+tls=127.0.0.1:4 nacos-grpc=127.0.0.1:9848 nacos-grpc+tls=127.0.0.1:1004",
                2,
            ),
            ("etcd=127.0.0.1:3", "etcd=127.0.0.1:3", 0),
            (
                "dns+tls=127.0.0.1:5",
                "dns=127.0.0.1:8600 dns+tls=127.0.0.1:5",
                1,
            ),
            (
                "dns+https=127.0.0.1:4",
                "dns=127.0.0.1:8600 dns+https=127.0.0.1:4",
                1,
            ),
        ];
        for (text, expected, secure) in rows {
            let mut listen = Listen::default();
            listen.set(text).unwrap();
            let name = text.split(['=', '+']).next().unwrap();
            listen.ports.retain(|id, _| id.protocol.as_str() == name);
            assert_eq!(listen.print(), expected);
            assert_eq!(listen.secure().count(), secure, "{text}");
        }
        for known in KNOWN
            .iter()
            .filter(|known| known.built && known.tls.is_some())
        {
            let set = Listen::default().set(&format!("{}+tls=127.0.0.1:0", known.id));
            assert_eq!(set, Ok(()), "{}", known.id);
        }
        let mut listen = Listen::default();
        for text in ["nacos+tls=127.0.0.1:4", "nacos+tls=off"] {
            listen.set(text).unwrap();
        }
        assert_eq!(listen, Listen::default(), "the plain ones stay");
        for text in [
            "dns+tls=127.0.0.1:5",
            "dns+https=127.0.0.1:4",
            "dns+tls=off",
        ] {
            listen.set(text).unwrap();
        }
        assert!(listen.print().contains("dns+https=127.0.0.1:4"));
        assert!(!listen.print().contains("dns+tls"));
        listen.set("dns+https=off").unwrap();
        assert_eq!(listen, Listen::default());
        for text in ["nacos+tls=127.0.0.1:4", "nacos=off"] {
            listen.set(text).unwrap();
        }
        assert!(!listen.print().contains("nacos"), "{}", listen.print());
        let error = Listen::default().set("dns=127.0.0.1:853,tls").unwrap_err();
        assert!(error.contains("write dns+tls=ADDR"), "{error}");
    }

    #[test]
    fn the_gateway_is_closed_until_it_is_named() {
        let mut listen = Listen::default();
        assert_eq!(listen.of(PortId::gateway()), None);
        for text in ["gateway=127.0.0.1:1", "gateway+tls=127.0.0.1:2"] {
            listen.set(text).unwrap();
        }
        assert!(
            listen
                .print()
                .ends_with(" gateway=127.0.0.1:1 gateway+tls=127.0.0.1:2")
        );
        listen.set("gateway=off").unwrap();
        assert_eq!(listen, Listen::default());
    }

    #[test]
    fn a_port_beside_the_main_one_follows_it() {
        let rows = [
            (
                &["nacos=127.0.0.1:18848"][..],
                "nacos=127.0.0.1:18848 nacos-grpc=127.0.0.1:19848",
            ),
            (
                &["nacos=127.0.0.1:0"],
                "nacos=127.0.0.1:0 nacos-grpc=127.0.0.1:0",
            ),
            (
                &["nacos-grpc=off", "nacos=127.0.0.1:1"],
                "nacos=127.0.0.1:1",
            ),
            (
                &["nacos=127.0.0.1:1", "nacos-grpc=127.0.0.1:2"],
                "nacos=127.0.0.1:1 nacos-grpc=127.0.0.1:2",
            ),
        ];
        for (texts, expected) in rows {
            let mut listen = Listen::default();
            for text in texts {
                listen.set(text).unwrap();
            }
            listen.ports.retain(|id, _| id.protocol == Protocol::Nacos);
            assert_eq!(listen.print(), expected);
        }
        let error = Listen::default().set("nacos=127.0.0.1:65000").unwrap_err();
        assert!(error.contains("give a port up to 64535"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_what_can() {
        let rows = [
            (
                "consl=127.0.0.1:0",
                "there is consul, dns, etcd, zookeeper, eureka, nacos, nacos-grpc, kubernetes, xds, native, gateway; did you mean \"consul\"?",
            ),
            ("consul=nowhere", "\"nowhere\" is not an address"),
            ("consul", "is not NAME=ADDR"),
        ];
        for (text, expected) in rows {
            let error = Listen::default().set(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let table = [
            known(PortId::main(Protocol::Consul), 8500, Some(8501), true),
            known(PortId::main(Protocol::Xds), 18000, Some(18001), false),
        ];
        let error = Listen::default()
            .set_of(&table, "xds=127.0.0.1:0")
            .unwrap_err();
        assert_eq!(
            error,
            "protocol \"xds\" is not built into this version; it has consul"
        );
    }
}
