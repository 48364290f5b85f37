//! Layouts: what frameworks that sit on key-value stores have agreed on, as pairs of pure functions between an instance
//! and a record.
//!
//! Recognition (parsing) happens in the front end before a command is proposed; rendering happens inside `apply`, so its
//! output is part of what replicas must agree on: a changed rendering is a new level, switched on by a command.

mod curator;
mod dubbo;
mod go_zero;
mod grpc_naming;
mod json;
mod kitex;
mod kratos;
mod template;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::bounds;
use crate::endpoint::{Host, split_host_port};
use crate::ids::{InstanceKey, Keyspace, Protocol, ServiceKey};
use crate::instance::{Instance, Registration, Via};
use crate::name::read_flat;
use crate::record::{Key, KeyRange};
use crate::service::{EndpointRow, Service};

pub use curator::Dialect;
pub(crate) use curator::dialect;
pub use template::Template;

/// The feature level from which on an instance of Dubbo's is rendered as one wherever it was registered.
pub(crate) const DUBBO_LEVEL: u8 = 5;

/// The formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Kitex `registry-etcd`: `kitex/registry-etcd/<service>/<host:port>`.
    Kitex,
    /// go-kratos: `/microservices/<name>/<id>`.
    Kratos,
    /// go-zero `discov` under a configured key, which is the service's name: `<key>/<lease id>`, value `host:port`.
    GoZero {
        /// The key, without final slash.
        key: Arc<str>,
    },
    /// gRPC naming (`etcd:///target`) under a configured target, which is the service's name: `<target>/<anything>`.
    GrpcNaming {
        /// The target, without final slash.
        target: Arc<str>,
    },
    /// Curator's discovery and what is built on it: `<root>/<service>/<id>`.
    Curator {
        /// The base path, without final slash.
        root: Arc<str>,
        /// Whose payload its nodes have.
        dialect: Dialect,
    },
    /// Dubbo by interface: `<root>/<interface>/providers/<URL>`.
    Dubbo {
        /// The registry's group as a path, without final slash.
        root: Arc<str>,
    },
    /// A plain pattern such as `/services/{service}/{address}`.
    Template(Template),
}

/// Whether a layout derives records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Neither recognises nor derives.
    Off,
    /// Recognises; derives nothing until somebody uses it.
    Asleep,
    /// Recognises and derives.
    Awake,
}

/// A layout as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutState {
    /// Its format.
    pub form: Form,
    /// Whether it derives.
    pub mode: Mode,
    /// Level of its rendering, 1 for now.
    pub level: u16,
}

impl LayoutState {
    /// A layout that derives nothing until somebody uses it.
    pub fn asleep(form: Form) -> LayoutState {
        LayoutState {
            form,
            mode: Mode::Asleep,
            level: 1,
        }
    }
}

impl Form {
    /// The keyspace its records are in.
    pub fn keyspace(&self) -> Keyspace {
        match self {
            Form::Kitex | Form::Kratos | Form::GoZero { .. } | Form::GrpcNaming { .. } => {
                Keyspace::Etcd
            }
            Form::Curator { .. } | Form::Dubbo { .. } => Keyspace::Znodes,
            Form::Template(template) => template.keyspace(),
        }
    }

    /// Whether a layout of this form is what one of form `wanted` becomes: the same, or one whose dialect a client has decided.
    pub fn settles(&self, wanted: &Form) -> bool {
        match (self, wanted) {
            (
                Form::Curator { root, .. },
                Form::Curator {
                    root: wanted,
                    dialect: Dialect::Open,
                },
            ) => root == wanted,
            _ => self == wanted,
        }
    }

    /// What its keys begin with.
    pub fn root(&self) -> String {
        match self {
            Form::Kitex => kitex::ROOT.to_owned(),
            Form::Kratos => kratos::ROOT.to_owned(),
            Form::GoZero { key } => format!("{key}/"),
            Form::GrpcNaming { target } => format!("{target}/"),
            Form::Curator { root, .. } | Form::Dubbo { root } => format!("{root}/"),
            Form::Template(template) => template.root().to_owned(),
        }
    }

    /// The root without its final slash, at hand without an allocation: what every use of this layout begins with.
    pub fn stem(&self) -> &str {
        let root = match self {
            Form::Kitex => kitex::ROOT,
            Form::Kratos => kratos::ROOT,
            Form::GoZero { key } => key,
            Form::GrpcNaming { target } => target,
            Form::Curator { root, .. } | Form::Dubbo { root } => root,
            Form::Template(template) => template.root(),
        };
        root.trim_end_matches('/')
    }

    /// The records directly below a path that ends in a slash.
    pub fn records_below(&self, path: &str) -> KeyRange {
        match self.keyspace() {
            Keyspace::Znodes => {
                let parent = path.strip_suffix('/').unwrap_or(path);
                KeyRange::prefix(format!("{parent}\0").as_bytes())
            }
            _ => KeyRange::prefix(path.as_bytes()),
        }
    }

    /// Whether reading or watching `range` is a use of this layout: the range lies at or below its root, or for a template at or
    /// below the root of one service.
    pub fn used_by(&self, range: &KeyRange) -> bool {
        let start = range.start();
        let Some(root) = self.root_of_use(&path(self.keyspace(), start)) else {
            return false;
        };
        match range {
            KeyRange::One(_) => true,
            KeyRange::Between(_, end) => range_within(end, &start[..root]),
            KeyRange::From(_) => false,
        }
    }

    /// How much of a path a range must share to be a use, if the path is one.
    fn root_of_use(&self, path: &[u8]) -> Option<usize> {
        let Form::Template(template) = self else {
            let stem = self.stem().as_bytes();
            return path.starts_with(stem).then_some(stem.len());
        };
        let root = template.root().as_bytes();
        let below = path.strip_prefix(root)?;
        let service = below.iter().position(|byte| *byte == b'/')?;
        (service > 0).then_some(root.len() + service + 1)
    }

    /// The instance in a record, if it is of this form. The registration's key is the record's. What cannot be an instance, because it is
    /// beyond a bound or named like none, is none: the record is kept as any other.
    pub fn recognise(&self, key: &[u8], value: &[u8]) -> Option<Registration> {
        self.read(key, value)
            .filter(|facts| could_be_name(&facts.spelling) && bounds::check(facts).is_ok())
    }

    /// As [`Form::recognise`], whatever the instance is like.
    pub(crate) fn read(&self, key: &[u8], value: &[u8]) -> Option<Registration> {
        let space = self.keyspace();
        let path = path(space, key);
        if !path.starts_with(self.stem().as_bytes()) {
            return None;
        }
        let path = std::str::from_utf8(&path).ok()?;
        let value = match (std::str::from_utf8(value), self) {
            (Ok(value), _) => value,
            // The key says it all.
            (Err(_), Form::Dubbo { .. }) => "",
            (Err(_), Form::Template(template)) if template.is_by_address() => "",
            (Err(_), _) => return None,
        };
        let mut facts = match self {
            Form::Kitex => kitex::recognise(path, value),
            Form::Kratos => kratos::recognise(path, value),
            Form::GoZero { key: service } => go_zero::recognise(service, path, value),
            Form::GrpcNaming { target } => grpc_naming::recognise(target, path, value),
            Form::Curator { root, .. } => curator::recognise(root, path, value),
            Form::Dubbo { root } => dubbo::recognise(root, path),
            Form::Template(template) => template.recognise(path, value),
        }?;
        facts.key = InstanceKey::record(space, std::str::from_utf8(key).ok()?);
        facts.via = Via::Record;
        Some(facts)
    }

    /// Whether `instance` was recognised in a record of this form: such an endpoint gets no derived record.
    pub fn owns(&self, instance: &Instance) -> bool {
        let record = instance
            .key
            .as_record()
            .filter(|_| instance.via == Via::Record);
        record.is_some_and(|(space, key)| {
            space == self.keyspace()
                && path(space, key.as_bytes()).starts_with(self.root().as_bytes())
        })
    }

    /// What `key` would show if it were rendered by this form: the service, and host and port where the key has them.
    pub(crate) fn rendered_to(&self, key: &Key) -> Option<(ServiceKey, Option<(Host, u16)>)> {
        let path = path(self.keyspace(), key);
        let rest = std::str::from_utf8(&path)
            .ok()?
            .strip_prefix(self.root().as_str())?;
        let (path, last) = rest.rsplit_once('/').unwrap_or(("", rest));
        let service = match self {
            Form::Kitex | Form::Kratos | Form::Curator { .. } | Form::Template(_) => {
                read_flat(path)
            }
            Form::Dubbo { root } => {
                let whole = self::path(self.keyspace(), key);
                let service = dubbo::service_at(root, std::str::from_utf8(&whole).ok()?)?;
                return Some((service, None));
            }
            Form::GoZero { key } => read_flat(key),
            Form::GrpcNaming { target } => read_flat(target),
        };
        Some((service, split_host_port(last)))
    }

    /// The record that shows an endpoint at a feature level, `None` when the form cannot.
    pub fn render(&self, row: &EndpointRow, service: &Service, level: u8) -> Option<(Key, Bytes)> {
        let primary = row.primary();
        if primary.key.origin == Protocol::Portolan {
            return None;
        }
        let name = crate::name::flat_spelled(&service.key, &service.spelling);
        let (key, value) = match self {
            Form::Kitex => kitex::render(&name, primary),
            Form::Kratos => kratos::render(&name, primary),
            Form::GoZero { key } => go_zero::render(key, &name, primary),
            Form::GrpcNaming { target } => grpc_naming::render(target, &name, primary),
            Form::Curator { root, dialect } => {
                let dialect = dialect.of(primary, level);
                curator::render(root, dialect, &name, primary)
            }
            Form::Dubbo { root } => dubbo::render(root, &name, primary, level),
            Form::Template(template) => template.render(&name, primary),
        }?;
        let key = match self.keyspace() {
            Keyspace::Znodes => Key::znode(&key),
            _ => Key::from(key.as_str()),
        };
        Some((key, Bytes::from(value)))
    }
}

/// Whether a part of a path could be a service's name.
fn could_be_name(spelling: &str) -> bool {
    !matches!(spelling, "." | "..") && !spelling.contains(|c: char| c.is_control())
}

/// A record's key as the path that layouts know, byte for byte as long: in a tree of znodes a zero byte stands before the last name.
fn path(space: Keyspace, key: &[u8]) -> Cow<'_, [u8]> {
    if space != Keyspace::Znodes {
        return Cow::Borrowed(key);
    }
    let slashes = |byte: &u8| if *byte == 0 { b'/' } else { *byte };
    Cow::Owned(key.iter().map(slashes).collect())
}

/// Whether an exclusive end still lies within the keys that begin with `root`.
fn range_within(end: &Key, root: &[u8]) -> bool {
    match KeyRange::prefix(root) {
        KeyRange::Between(_, last) => *end <= last,
        _ => true,
    }
}

/// The instance that the first of `layouts` to know the form finds in a record.
pub fn recognise<'a>(
    layouts: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<LayoutState>)>,
    space: Keyspace,
    key: &[u8],
    value: &[u8],
) -> Option<(Arc<str>, Registration)> {
    layouts
        .into_iter()
        .filter(|(_, layout)| layout.mode != Mode::Off && layout.form.keyspace() == space)
        .find_map(|(name, layout)| Some((name.clone(), layout.form.recognise(key, value)?)))
}

/// Tags as one metadata entry: joined by commas, with `,` and `%` inside a tag percent-escaped. Never read back.
pub fn tags_as_text(instance: &Instance) -> String {
    let escaped: Vec<String> = instance
        .tags
        .iter()
        .map(|t| t.replace('%', "%25").replace(',', "%2C"))
        .collect();
    escaped.join(",")
}

/// A stable number for an endpoint that needs an id: from service, host and port of its oldest instance.
fn hash(primary: &Instance) -> u64 {
    use sha2::{Digest, Sha256};
    let text = format!(
        "{}\0{}\0{}",
        primary.service,
        primary.endpoint.host,
        primary.endpoint.port()
    );
    let digest = Sha256::digest(text);
    digest[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn hash_hex(primary: &Instance) -> String {
    format!("{:016x}", hash(primary))
}

#[cfg(test)]
mod tests;
