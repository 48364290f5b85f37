//! Which protocols are open, and where.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use portolan_catalog::Protocol;

use super::suggest::nearest;

/// A protocol that `--listen` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Whether this version serves it.
    pub(crate) built: bool,
}

/// Every protocol, in the order in which ports are opened and announced.
pub(crate) const KNOWN: [Known; 9] = [
    Known {
        protocol: Protocol::Consul,
        port: 8500,
        built: true,
    },
    Known {
        protocol: Protocol::Dns,
        port: 8600,
        built: true,
    },
    Known {
        protocol: Protocol::Etcd,
        port: 2379,
        built: true,
    },
    Known {
        protocol: Protocol::ZooKeeper,
        port: 2181,
        built: false,
    },
    Known {
        protocol: Protocol::Eureka,
        port: 8761,
        built: true,
    },
    Known {
        protocol: Protocol::Nacos,
        port: 8848,
        built: false,
    },
    Known {
        protocol: Protocol::Kubernetes,
        port: 6444,
        built: false,
    },
    Known {
        protocol: Protocol::Xds,
        port: 18000,
        built: false,
    },
    Known {
        protocol: Protocol::Native,
        port: 7500,
        built: true,
    },
];

/// The address of each open protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen(BTreeMap<Protocol, SocketAddr>);

impl Default for Listen {
    /// All that are built, on loopback, on their customary ports.
    fn default() -> Self {
        let built = KNOWN.iter().filter(|known| known.built);
        Listen(
            built
                .map(|known| {
                    (
                        known.protocol,
                        SocketAddr::from(([127, 0, 0, 1], known.port)),
                    )
                })
                .collect(),
        )
    }
}

impl Listen {
    /// The address of a protocol; none when it is off.
    pub(crate) fn of(&self, protocol: Protocol) -> Option<SocketAddr> {
        self.0.get(&protocol).copied()
    }

    /// The open protocols and their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> {
        self.0
            .iter()
            .map(|(protocol, address)| (*protocol, *address))
    }

    /// Takes one `NAME=ADDR` or `NAME=off`.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, address) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not NAME=ADDR, such as consul=127.0.0.1:8500"))?;
        let (name, address) = (name.trim(), address.trim());
        let built: Vec<&str> = KNOWN
            .iter()
            .filter(|known| known.built)
            .map(|known| known.protocol.as_str())
            .collect();
        let Some(known) = KNOWN.iter().find(|known| known.protocol.as_str() == name) else {
            let meant = nearest(name, KNOWN.iter().map(|known| known.protocol.as_str()))
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            return Err(format!(
                "there is no protocol {name:?}, there is {}{meant}",
                built.join(", ")
            ));
        };
        if address == "off" {
            self.0.remove(&known.protocol);
            return Ok(());
        }
        if !known.built {
            return Err(format!(
                "protocol {name:?} is not built into this version; it has {}",
                built.join(", ")
            ));
        }
        let spelled = match address.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        };
        let address = spelled.parse().map_err(|_| {
            format!("{address:?} is not an address for {name}; write IP:PORT, such as 127.0.0.1:{}, or off", known.port)
        })?;
        self.0.insert(known.protocol, address);
        Ok(())
    }

    /// As `--listen` would be written, one per protocol.
    pub(crate) fn print(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|(p, a)| format!("{p}={a}")).collect();
        all.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listen_changes_its_own_protocol_only() {
        let mut listen = Listen::default();
        listen.set("consul=127.0.0.1:1").unwrap();
        listen.set("eureka=off").unwrap();
        listen.set("zookeeper=off").unwrap();
        listen.set("dns=localhost:53").unwrap();
        assert_eq!(
            listen.print(),
            "consul=127.0.0.1:1 dns=127.0.0.1:53 etcd=127.0.0.1:2379 native=127.0.0.1:7500"
        );
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_what_can() {
        let rows = [
            (
                "zookeeper=127.0.0.1:0",
                "not built into this version; it has consul, dns, etcd, eureka, native",
            ),
            ("consl=127.0.0.1:0", "did you mean \"consul\"?"),
            ("consul=nowhere", "\"nowhere\" is not an address"),
            ("consul", "is not NAME=ADDR"),
        ];
        for (text, expected) in rows {
            let error = Listen::default().set(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
