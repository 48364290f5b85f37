//! What is set about the cluster: where it listens, whom it joins, what it trusts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The port that servers are known by.
pub(crate) const PORT: u16 = 8300;

/// The cluster's part of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct ClusterConfig {
    pub(crate) listen: ClusterListen,
    /// Addresses with ports.
    pub(crate) join: Vec<String>,
    /// Servers of other datacenters, `NAME=ADDRESS` each.
    pub(crate) peer_datacenters: Vec<String>,
    /// Without a vote.
    pub(crate) agent: bool,
    /// How many servers found a cluster; 0 for none.
    pub(crate) expect: usize,
    /// A server that is told of no other waits to be found, rather than to found a cluster of its own.
    pub(crate) waits: bool,
    /// A directory that has left its cluster comes back.
    pub(crate) rejoin: bool,
    pub(crate) dead_after: Duration,
    pub(crate) authority: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    /// Others may reach the port although there are no certificates.
    pub(crate) insecure: bool,
    pub(crate) connections: usize,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            listen: ClusterListen::default(),
            join: Vec::new(),
            peer_datacenters: Vec::new(),
            agent: false,
            expect: 0,
            waits: false,
            rejoin: false,
            dead_after: Duration::from_secs(10),
            authority: None,
            certificate: None,
            key: None,
            insecure: false,
            connections: 4096,
        }
    }
}

impl ClusterConfig {
    /// Whether this server waits for others, or joins them, when its directory is empty.
    pub(crate) fn seeks_others(&self) -> bool {
        self.seeks().is_some()
    }

    /// Which of its settings has this server find others, in words; none when it is alone.
    pub(crate) fn seeks(&self) -> Option<String> {
        let join = self.join.first().map(|to| format!("--join {to} is given"));
        let expect =
            (self.expect > 0).then(|| format!("--bootstrap-expect {} is given", self.expect));
        let waits = || {
            self.waits
                .then(|| "this server waits for others to find it there".to_owned())
        };
        join.or(expect).or_else(waits)
    }

    /// The other datacenters, each once, with the addresses of servers there.
    pub(crate) fn datacenters(&self) -> Vec<(String, Vec<String>)> {
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        let pairs = self.peer_datacenters.iter();
        for (name, address) in pairs.filter_map(|pair| pair.split_once('=')) {
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, addresses)) => addresses.push(address.to_owned()),
                None => all.push((name.to_owned(), vec![address.to_owned()])),
            }
        }
        all
    }

    /// What no single value shows; `own` is this datacenter.
    ///
    /// # Errors
    /// What to do.
    pub(crate) fn check(&self, own: &str) -> Result<(), String> {
        if self.datacenters().iter().any(|(name, _)| name == own) {
            return Err(format!(
                "--peer-datacenter {own}=...: that is this datacenter; name another one, or pass --datacenter"
            ));
        }
        let files = [&self.authority, &self.certificate, &self.key];
        let given = files.iter().filter(|file| file.is_some()).count();
        if given != 0 && given != files.len() {
            return Err(
                "--cluster-ca, --cluster-cert and --cluster-key belong together; `portolan tls create` makes all three".into(),
            );
        }
        if self.agent {
            return match (self.join.is_empty(), self.expect) {
                (true, _) => Err(
                    "--agent needs a server to follow: --join NAME, once for each that is known"
                        .into(),
                ),
                (false, 0) => Ok(()),
                (false, _) => Err(
                    "--agent and --bootstrap-expect exclude each other: an agent founds no cluster"
                        .into(),
                ),
            };
        }
        match self.listen.address() {
            None if self.seeks_others() => Err(
                "--join and --bootstrap-expect need a cluster port; leave out --cluster-listen off"
                    .into(),
            ),
            Some(address)
                if given == 0 && !self.insecure && !address.ip().to_canonical().is_loopback() =>
            {
                Err(format!(
                    "--cluster-listen {address} can be reached from other machines, and whoever reaches it can read and write everything: give --cluster-ca, --cluster-cert and --cluster-key (`portolan tls create` makes them), or pass --insecure-cluster"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Where the cluster port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterListen {
    /// At the customary port of an address; a server that is alone takes any free one if another process has that.
    Customary(IpAddr),
    /// There and nowhere else.
    At(SocketAddr),
    /// Nowhere: this server is alone for good.
    Off,
}

impl Default for ClusterListen {
    fn default() -> Self {
        ClusterListen::Customary(Ipv4Addr::LOCALHOST.into())
    }
}

impl ClusterListen {
    /// The address that is tried first.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            ClusterListen::Customary(ip) => Some(SocketAddr::new(ip, PORT)),
            ClusterListen::At(address) => Some(address),
            ClusterListen::Off => None,
        }
    }

    pub(super) fn print(self) -> String {
        self.address()
            .map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// Reads the address of the cluster port.
pub(super) fn listen(text: &str) -> Result<ClusterListen, String> {
    let text = text.trim();
    if text == "off" {
        return Ok(ClusterListen::Off);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ClusterListen::At(SocketAddr::new(ip, PORT)));
    }
    let spelled = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address = spelled.parse().map(ClusterListen::At);
    address.map_err(|_| {
        format!("{text:?} is not an address; write IP:PORT, such as 10.0.0.1:{PORT}, or off")
    })
}

/// Reads the name of a datacenter: as Consul has it, in lower case, and a label of DNS.
pub(super) fn datacenter(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_lowercase();
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        return Err(format!(
            "{text:?} cannot be a datacenter's name; use letters, digits, - and _, at most 63 of them"
        ));
    }
    Ok(name)
}

/// Reads where servers of another datacenter are: `NAME=ADDRESS`.
pub(super) fn peer_datacenter(text: &str) -> Result<String, String> {
    let Some((name, address)) = text.split_once('=') else {
        return Err(format!(
            "{text:?} names no datacenter and server; write NAME=ADDR, such as dc2=10.2.0.1:{PORT}"
        ));
    };
    Ok(format!("{}={}", datacenter(name)?, with_port(address)?))
}

/// Reads what an agent follows.
pub(super) fn follow(text: &str) -> Result<(), String> {
    match text.trim() {
        "all" => Ok(()),
        "asked" => Err(
            "an agent that follows only what was asked for is not built yet; leave out --follow, or write all".into(),
        ),
        other => Err(format!("{other:?} is not what an agent can follow; write all")),
    }
}

/// An address to join, with a port.
pub(crate) fn with_port(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains('/') {
        return Err(format!(
            "{text:?} is not an address to join; write a name or an address, such as server1 or 10.0.0.1:{PORT}"
        ));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT).to_string());
    }
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(_)) => Err(format!("{text:?} has no port after its colon")),
        None => Ok(format!("{text}:{PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_join_have_a_port() {
        let rows = [
            ("server1", "server1:8300"),
            ("server1:1", "server1:1"),
            ("10.0.0.1", "10.0.0.1:8300"),
            ("::1", "[::1]:8300"),
            ("[::1]:7", "[::1]:7"),
        ];
        for (text, expected) in rows {
            assert_eq!(with_port(text).as_deref(), Ok(expected));
        }
        for wrong in ["", "a b", "http://x", "server1:port"] {
            assert!(with_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_datacenter_is_named_with_a_server_of_it() {
        let pair = peer_datacenter(" DC2=10.2.0.1 ").unwrap();
        assert_eq!(pair, "dc2=10.2.0.1:8300");
        for wrong in ["dc2", "dc2=", "=10.2.0.1", "d.c=10.2.0.1", "dc2=a b"] {
            assert!(peer_datacenter(wrong).is_err(), "{wrong}");
        }
        let config = ClusterConfig {
            peer_datacenters: vec![pair, "dc3=a:1".to_owned(), "dc2=b:2".to_owned()],
            ..ClusterConfig::default()
        };
        let all = config.datacenters();
        assert_eq!(all[0].1, ["10.2.0.1:8300", "b:2"]);
        assert_eq!(all[1].0, "dc3");
        assert!(config.check("dc3").unwrap_err().contains("another one"));
        assert_eq!(config.check("dc1"), Ok(()));
    }

    #[test]
    fn an_agent_joins_servers_and_follows_everything() {
        let mut config = ClusterConfig {
            agent: true,
            ..ClusterConfig::default()
        };
        assert!(config.check("dc1").unwrap_err().contains("--join"));
        config.join.push("server1:8300".to_owned());
        assert_eq!(config.check("dc1"), Ok(()));
        config.expect = 3;
        assert!(
            config
                .check("dc1")
                .unwrap_err()
                .contains("founds no cluster")
        );
        assert_eq!(follow("all"), Ok(()));
        assert!(follow("asked").unwrap_err().contains("not built yet"));
        assert!(follow("some").is_err());
    }

    #[test]
    fn an_open_port_needs_certificates_or_consent() {
        let mut config = ClusterConfig {
            listen: listen("10.0.0.1").unwrap(),
            ..ClusterConfig::default()
        };
        assert!(config.check("dc1").unwrap_err().contains("tls create"));
        config.insecure = true;
        assert_eq!(config.check("dc1"), Ok(()));
        config.key = Some("k".to_owned());
        assert!(config.check("dc1").unwrap_err().contains("belong together"));
        let off = ClusterConfig {
            listen: listen("off").unwrap(),
            expect: 3,
            ..ClusterConfig::default()
        };
        assert!(off.check("dc1").is_err());
        assert_eq!(ClusterConfig::default().check("dc1"), Ok(()));
    }
}
