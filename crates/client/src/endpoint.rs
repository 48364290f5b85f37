//! Services and their endpoints as a client sees them.

use std::collections::BTreeMap;
use std::fmt;

use portolan_api as api;
use portolan_balance::{Distance, hash};
use serde::{Deserialize, Serialize};

/// Which service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace, `default` unless said.
    pub namespace: String,
    /// Its group, `default` unless said.
    pub group: String,
}

impl Service {
    /// The service of that name in the namespace and group `default`.
    pub fn new(name: &str) -> Service {
        Service {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            group: "default".to_owned(),
        }
    }

    /// The same in another namespace.
    pub fn namespace(mut self, namespace: &str) -> Service {
        self.namespace = namespace.to_owned();
        self
    }

    /// The same in another group.
    pub fn group(mut self, group: &str) -> Service {
        self.group = group.to_owned();
        self
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.namespace, &self.group] {
            if part != "default" {
                write!(f, "{part}/")?;
            }
        }
        f.write_str(&self.name)
    }
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// IP address or name.
    pub host: String,
    /// Main port, 0 for none.
    pub port: u16,
    /// Further ports, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Whether its checks let it be used: `passing` or `warning`.
    pub healthy: bool,
    /// Its share, 1 is an ordinary one; 0 for none, as in maintenance.
    pub weight: f64,
    /// Its region, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Its zone, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

impl Endpoint {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        self.authority_at(self.port)
    }

    pub(crate) fn authority_at(&self, port: u16) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        hash(self.authority().as_bytes())
    }

    pub(crate) fn distance(&self, region: &str, zone: &str) -> Distance {
        let same = |own: &str, its: &str| own.is_empty() || its.is_empty() || own == its;
        match (same(region, &self.region), same(zone, &self.zone)) {
            (true, true) => Distance::Zone,
            (true, false) => Distance::Region,
            (false, _) => Distance::Elsewhere,
        }
    }
}

impl From<api::Endpoint> for Endpoint {
    fn from(endpoint: api::Endpoint) -> Endpoint {
        let maintenance = endpoint.health == "maintenance";
        let healthy = matches!(endpoint.health.as_str(), "passing" | "warning");
        let mut found = Endpoint {
            host: endpoint.host,
            port: endpoint.port,
            ports: BTreeMap::new(),
            healthy,
            weight: 0.0,
            region: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            meta: BTreeMap::new(),
        };
        // Two registrations of one address are one endpoint: the oldest says what it is, the younger ones add what it does not say.
        for member in endpoint.members {
            found.weight = found.weight.max(member.weight);
            if found.region.is_empty() && found.zone.is_empty() {
                (found.region, found.zone) = (member.region, member.zone);
            }
            for tag in member.tags {
                if !found.tags.contains(&tag) {
                    found.tags.push(tag);
                }
            }
            for (name, value) in member.meta {
                found.meta.entry(name).or_insert(value);
            }
            for port in member.ports {
                found.ports.entry(port.name).or_insert(port.number);
            }
        }
        if maintenance {
            found.weight = 0.0;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_six_is_in_brackets_and_places_are_compared() {
        let text =
            r#"{"host":"::1","port":80,"healthy":true,"weight":1.0,"region":"eu","zone":"a"}"#;
        let endpoint: Endpoint = serde_json::from_str(text).unwrap();
        assert_eq!(endpoint.authority(), "[::1]:80");
        assert_eq!(endpoint.distance("eu", "a"), Distance::Zone);
        assert_eq!(endpoint.distance("eu", "b"), Distance::Region);
        assert_eq!(endpoint.distance("us", "a"), Distance::Elsewhere);
        assert_eq!(endpoint.distance("", ""), Distance::Zone);
        let service = Service::new("web").namespace("shop");
        assert_eq!(service.to_string(), "shop/web");
    }
}
