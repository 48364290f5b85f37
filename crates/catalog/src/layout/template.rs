//! Plain patterns: keys such as `/services/{service}/{address}`, the address in the key or as the value.

use std::sync::Arc;

use serde_json::Value;

use super::json;
use crate::endpoint::{Endpoint, Host, split_host_port};
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::{Instance, Registration};
use crate::name::read_flat;

/// A key pattern of three parts: a fixed root, `{service}`, and `{address}` (`host:port`) or `{id}` (anything).
///
/// With `{address}` the key says where the instance is and the value is free: JSON objects give metadata. With `{id}` the
/// value says it: `host:port`, or a JSON object with `address` (and `port`), or `host` and `port`.
///
/// The records are etcd keys, or in the keyspace before a colon: `consul-kv:services/{service}/{address}`,
/// `znodes:/services/{service}/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pattern: Arc<str>,
    space: Keyspace,
    root: Arc<str>,
    by_address: bool,
}

impl Template {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for the person who configured it.
    pub fn parse(pattern: &str) -> Result<Template, String> {
        let wrong = || {
            format!(
                "layout pattern \"{pattern}\" must end in \"{{service}}/{{address}}\" or \"{{service}}/{{id}}\""
            )
        };
        let spaces = [Keyspace::Etcd, Keyspace::ConsulKv, Keyspace::Znodes];
        let named = pattern.split_once(':').and_then(|(name, path)| {
            let space = spaces.into_iter().find(|space| space.as_str() == name)?;
            Some((space, path))
        });
        let (space, path) = named.unwrap_or((Keyspace::Etcd, pattern));
        let (root, last) = path.split_once("{service}/").ok_or_else(wrong)?;
        if root.is_empty() || !root.ends_with('/') {
            return Err(format!(
                "layout pattern \"{pattern}\" must begin with a fixed part that ends in \"/\""
            ));
        }
        let other = Keyspace::ALL.iter().any(|space| {
            root.strip_prefix(space.as_str())
                .is_some_and(|rest| rest.starts_with(':'))
        });
        if other || space == Keyspace::Znodes && !root.starts_with('/') {
            return Err(format!(
                "layout pattern \"{pattern}\" must be a path, after \"consul-kv:\" or \"znodes:\" if it is not one of etcd keys; those of znodes begin with \"/\""
            ));
        }
        let by_address = match last {
            "{address}" => true,
            "{id}" => false,
            _ => return Err(wrong()),
        };
        Ok(Template {
            pattern: pattern.into(),
            space,
            root: root.into(),
            by_address,
        })
    }

    /// The preset: `/services/{service}/{address}`.
    pub fn services() -> Template {
        Template {
            pattern: "/services/{service}/{address}".into(),
            space: Keyspace::Etcd,
            root: "/services/".into(),
            by_address: true,
        }
    }

    /// The pattern as written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn keyspace(&self) -> Keyspace {
        self.space
    }

    /// Whether the key says where the instance is.
    pub(super) fn is_by_address(&self) -> bool {
        self.by_address
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) fn recognise(&self, key: &str, value: &str) -> Option<Registration> {
        let (service, last) = key.strip_prefix(&*self.root)?.split_once('/')?;
        if service.is_empty() || last.is_empty() || last.contains('/') {
            return None;
        }
        let json: Option<Value> = serde_json::from_str(value).ok();
        let (host, port) = if self.by_address {
            plain_address(last)?
        } else {
            address(value, json.as_ref())?
        };
        let mut facts = Registration::new(
            InstanceKey::record(Keyspace::Etcd, key),
            read_flat(service),
            Endpoint::new(host, port),
        );
        facts.spelling = service.into();
        let object = json.as_ref().and_then(|json| {
            json.get("metadata")
                .or_else(|| json.get("meta"))
                .or_else(|| json.get("tags"))
        });
        facts.meta = json::meta(object);
        Some(facts)
    }

    pub(super) fn render(&self, name: &str, primary: &Instance) -> Option<(String, String)> {
        let port = primary.endpoint.port();
        if port == 0 || name.contains('/') {
            return None;
        }
        let address = primary.endpoint.host.with_port(port);
        let last = if self.by_address {
            address.clone()
        } else {
            super::hash_hex(primary)
        };
        Some((format!("{}{name}/{last}", self.root), address))
    }
}

/// Host and port as people write them, and not just any text with a colon.
fn plain_address(text: &str) -> Option<(Host, u16)> {
    let (_, port) = text.rsplit_once(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    split_host_port(text).filter(|(host, _)| is_number && could_be_host(host))
}

/// Whether this is an address, or a name of labels that neither begin nor end with a hyphen.
fn could_be_host(host: &Host) -> bool {
    let usual = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match host {
        Host::Ip(_) => true,
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name).split('.').all(usual),
    }
}

fn address(value: &str, json: Option<&Value>) -> Option<(Host, u16)> {
    let Some(Value::Object(object)) = json else {
        return split_host_port(value.trim());
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let port = || u16::try_from(object.get("port")?.as_u64()?).ok();
    match text("address")
        .or_else(|| text("addr"))
        .or_else(|| text("host"))
    {
        Some(address) => split_host_port(address).or_else(|| Some((Host::new(address), port()?))),
        None => None,
    }
}
