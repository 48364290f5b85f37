//! Layouts: what frameworks that sit on key-value stores have agreed on, as pairs of pure functions between an instance
//! and a record.
//!
//! Recognition (parsing) happens in the front end before a command is proposed; rendering happens inside `apply`, so its
//! output is part of what replicas must agree on: a changed rendering is a new level, switched on by a command.

mod go_zero;
mod grpc_naming;
mod json;
mod kitex;
mod kratos;
mod template;

use std::sync::Arc;

use bytes::Bytes;

use crate::endpoint::{Host, split_host_port};
use crate::ids::{InstanceKey, Keyspace, Protocol, ServiceKey};
use crate::instance::{Instance, Registration, Via};
use crate::name::read_flat;
use crate::record::{Key, KeyRange};
use crate::service::{EndpointRow, Service};

pub use template::Template;

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
        Keyspace::Etcd
    }

    /// What its keys begin with.
    pub fn root(&self) -> String {
        match self {
            Form::Kitex => kitex::ROOT.to_owned(),
            Form::Kratos => kratos::ROOT.to_owned(),
            Form::GoZero { key } => format!("{key}/"),
            Form::GrpcNaming { target } => format!("{target}/"),
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
            Form::Template(template) => template.root(),
        };
        root.trim_end_matches('/')
    }

    /// Whether reading or watching `range` is a use of this layout: the range lies at or below its root.
    pub fn used_by(&self, range: &KeyRange) -> bool {
        let root = self.stem().as_bytes();
        match range {
            KeyRange::One(key) => key.starts_with(root),
            KeyRange::Between(start, end) => start.starts_with(root) && range_within(end, root),
            KeyRange::From(_) => false,
        }
    }

    /// The instance in a record, if it is of this form. The registration's key is the record's.
    pub fn recognise(&self, key: &[u8], value: &[u8]) -> Option<Registration> {
        if !key.starts_with(self.stem().as_bytes()) {
            return None;
        }
        let (key, value) = (
            std::str::from_utf8(key).ok()?,
            std::str::from_utf8(value).ok()?,
        );
        let mut facts = match self {
            Form::Kitex => kitex::recognise(key, value),
            Form::Kratos => kratos::recognise(key, value),
            Form::GoZero { key: service } => go_zero::recognise(service, key, value),
            Form::GrpcNaming { target } => grpc_naming::recognise(target, key, value),
            Form::Template(template) => template.recognise(key, value),
        }?;
        facts.key = InstanceKey::record(self.keyspace().protocol(), key);
        facts.via = Via::Record;
        Some(facts)
    }

    /// Whether `instance` was recognised in a record of this form: such an endpoint gets no derived record.
    pub fn owns(&self, instance: &Instance) -> bool {
        instance.via == Via::Record
            && instance.key.origin == self.keyspace().protocol()
            && instance.key.id.starts_with(self.root().as_str())
    }

    /// What `key` would show if it were rendered by this form: the service, and host and port where the key has them.
    pub(crate) fn rendered_to(&self, key: &str) -> Option<(ServiceKey, Option<(Host, u16)>)> {
        let rest = key.strip_prefix(self.root().as_str())?;
        let (path, last) = rest.rsplit_once('/').unwrap_or(("", rest));
        let service = match self {
            Form::Kitex | Form::Kratos | Form::Template(_) => read_flat(path),
            Form::GoZero { key } => read_flat(key),
            Form::GrpcNaming { target } => read_flat(target),
        };
        Some((service, split_host_port(last)))
    }

    /// The record that shows an endpoint, `None` when the form cannot.
    pub fn render(&self, row: &EndpointRow, service: &Service) -> Option<(Key, Bytes)> {
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
            Form::Template(template) => template.render(&name, primary),
        }?;
        Some((Key::from(key.as_str()), Bytes::from(value)))
    }
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
mod tests {
    use super::*;
    use crate::instance::Weight;

    #[test]
    fn records_are_recognised() {
        let services = Template::services();
        let by_id = Template::parse("/reg/{service}/{id}").unwrap();
        type Expected = Option<(&'static str, &'static str, u16)>;
        let rows: [(&str, Form, &str, &str, Expected); 10] = [
            (
                "kitex",
                Form::Kitex,
                "kitex/registry-etcd/web/10.0.0.1:80",
                r#"{"network":"tcp","address":"10.0.0.1:80","weight":20,"tags":null}"#,
                Some(("web", "10.0.0.1", 80)),
            ),
            (
                "kitex, not JSON",
                Form::Kitex,
                "kitex/registry-etcd/web/10.0.0.1:80",
                "10.0.0.1:80",
                None,
            ),
            (
                "kratos",
                Form::Kratos,
                "/microservices/web/i1",
                r#"{"id":"i1","name":"web","version":"v1","metadata":null,"endpoints":["ws://10.0.0.1:1","grpc://10.0.0.1:9000?isSecure=false"]}"#,
                Some(("web", "10.0.0.1", 9000)),
            ),
            (
                "kratos, another name",
                Form::Kratos,
                "/microservices/web/i1",
                r#"{"id":"i1","name":"other","endpoints":["grpc://10.0.0.1:9000"]}"#,
                None,
            ),
            (
                "go-zero",
                Form::GoZero {
                    key: "user.rpc".into(),
                },
                "user.rpc/758",
                "10.0.0.2:8080",
                Some(("user.rpc", "10.0.0.2", 8080)),
            ),
            (
                "go-zero, no number",
                Form::GoZero {
                    key: "user.rpc".into(),
                },
                "user.rpc/x",
                "10.0.0.2:8080",
                None,
            ),
            (
                "naming",
                Form::GrpcNaming {
                    target: "svc".into(),
                },
                "svc/a",
                r#"{"Op":0,"Addr":"10.0.0.3:1","Metadata":null}"#,
                Some(("svc", "10.0.0.3", 1)),
            ),
            (
                "template by address",
                Form::Template(services),
                "/services/web/[::1]:80",
                "",
                Some(("web", "::1", 80)),
            ),
            (
                "template by id",
                Form::Template(by_id.clone()),
                "/reg/web/7",
                r#"{"host":"h","port":9}"#,
                Some(("web", "h", 9)),
            ),
            (
                "template, deeper",
                Form::Template(by_id),
                "/reg/web/7/x",
                "h:9",
                None,
            ),
        ];
        for (name, form, key, value, expected) in rows {
            let found = form.recognise(key.as_bytes(), value.as_bytes());
            let found = found.map(|f| {
                (
                    f.service.name().to_owned(),
                    f.endpoint.host.to_string(),
                    f.endpoint.port(),
                )
            });
            assert_eq!(
                found,
                expected.map(|(s, h, p)| (s.to_owned(), h.to_owned(), p)),
                "{name}"
            );
        }
        let weighted = Form::Kitex.recognise(
            b"kitex/registry-etcd/web/h:80",
            br#"{"address":"h:80","weight":20}"#,
        );
        assert_eq!(weighted.map(|f| f.weight), Some(Weight(2000)));
    }

    #[test]
    fn a_use_lies_at_or_below_the_root() {
        let rows = [
            (KeyRange::prefix(b"kitex/registry-etcd/web"), true),
            (KeyRange::prefix(b"kitex/registry-etcd"), true),
            (KeyRange::prefix(b"kitex/"), false),
            (KeyRange::all(), false),
            (KeyRange::One("kitex/registry-etcd/web/h:1".into()), true),
        ];
        for (range, expected) in rows {
            assert_eq!(Form::Kitex.used_by(&range), expected, "{range:?}");
        }
    }
}
