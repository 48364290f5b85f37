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
    fn the_preset_knows_service_and_address_and_nothing_else() {
        let services = Form::Template(Template::services());
        type Row = (
            &'static str,
            &'static [u8],
            Option<(&'static str, &'static str)>,
        );
        let rows: [Row; 14] = [
            (
                "/services/web/10.0.0.1:80",
                b"",
                Some(("web", "10.0.0.1:80")),
            ),
            (
                "/services/web/10.0.0.1:80",
                b"10.0.0.1:80",
                Some(("web", "10.0.0.1:80")),
            ),
            (
                "/services/web/10.0.0.1:80",
                b"\xff\xfe",
                Some(("web", "10.0.0.1:80")),
            ),
            (
                "/services/web/db-1.example_x:5432",
                b"any",
                Some(("web", "db-1.example_x:5432")),
            ),
            ("/services/web/[::1]:80", b"", Some(("web", "[::1]:80"))),
            ("/services/web/10.0.0.1", b"10.0.0.1:80", None),
            ("/services/web/10.0.0.1:", b"", None),
            ("/services/web/10.0.0.1:0", b"", None),
            ("/services/web/:80", b"", None),
            ("/services/web/a b:80", b"", None),
            ("/services/web/10.0.0.1:80/x", b"", None),
            ("/services//10.0.0.1:80", b"", None),
            ("/services/10.0.0.1:80", b"", None),
            ("services/web/10.0.0.1:80", b"", None),
        ];
        for (key, value, expected) in rows {
            let found = services.recognise(key.as_bytes(), value).map(|facts| {
                let at = facts.endpoint.host.with_port(facts.endpoint.port());
                (facts.service.name().to_owned(), at)
            });
            let expected = expected.map(|(name, at)| (name.to_owned(), at.to_owned()));
            assert_eq!(found, expected, "{key}");
        }
        let uses = [
            (KeyRange::prefix(b"/services/web/"), true),
            (KeyRange::prefix(b"/services/web/10."), true),
            (KeyRange::One("/services/web/10.0.0.1:80".into()), true),
            (KeyRange::prefix(b"/services/web"), false),
            (KeyRange::prefix(b"/services/"), false),
            (KeyRange::prefix(b"/services//"), false),
            (KeyRange::prefix(b"/"), false),
            (
                KeyRange::Between("/services/a/".into(), "/services/b/".into()),
                false,
            ),
            (KeyRange::From("/services/web/".into()), false),
        ];
        for (range, expected) in uses {
            assert_eq!(services.used_by(&range), expected, "{range:?}");
        }
    }

    #[test]
    fn a_layout_is_in_the_keyspace_its_pattern_names() {
        let tree = Form::Template(Template::parse("znodes:/services/{service}/{address}").unwrap());
        assert_eq!(tree.keyspace(), Keyspace::Znodes);
        let key = Key::znode("/services/web/10.0.0.1:80");
        let facts = tree.recognise(&key, b"").unwrap();
        assert_eq!(facts.key.origin, Protocol::ZooKeeper);
        assert_eq!(
            facts.key.as_record(),
            Some((Keyspace::Znodes, "/services/web/10.0.0.1:80"))
        );
        assert!(
            tree.used_by(&KeyRange::prefix(b"/services/web\0")),
            "its children"
        );
        assert!(!tree.used_by(&KeyRange::prefix(b"/services\0")));
        let kv = Form::Template(Template::parse("consul-kv:services/{service}/{address}").unwrap());
        let facts = kv.recognise(b"services/web/10.0.0.1:80", b"").unwrap();
        assert_eq!(
            facts.key.to_string(),
            "native:consul-kv/services/web/10.0.0.1:80"
        );
        assert_eq!(
            facts.key.as_record(),
            Some((Keyspace::ConsulKv, "services/web/10.0.0.1:80"))
        );
        for wrong in ["settings:/s/{service}/{id}", "znodes:s/{service}/{id}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_an_instance_is_a_plain_record() {
        let services = Form::Template(Template::services());
        let long = "s".repeat(256);
        for key in [
            format!("/services/{long}/a:80"),
            format!("/services/q/{}:80", "h".repeat(255)),
            "/services/x/a:+1".to_owned(),
            "/services/x/a:080".to_owned(),
            "/services/x/-a:80".to_owned(),
            "/services/x/a-:80".to_owned(),
            "/services/x/.:80".to_owned(),
            "/services/x/a..b:80".to_owned(),
            "/services/../a:80".to_owned(),
            "/services/./a:80".to_owned(),
            "/services/x\0y/a:80".to_owned(),
            "/services/x\n/a:80".to_owned(),
        ] {
            assert_eq!(services.recognise(key.as_bytes(), b"v"), None, "{key:?}");
        }
        for key in ["/services/x/a:80", "/services/x/a.b-c_d.:65535"] {
            assert!(services.recognise(key.as_bytes(), b"v").is_some(), "{key}");
        }
        let tags: Vec<String> = (0..20_000).map(|n| format!("\"t{n}\":\"v\"")).collect();
        for tags in [tags.join(","), format!("\"t\":\"{}\"", "v".repeat(1 << 20))] {
            let value =
                format!("{{\"network\":\"tcp\",\"address\":\"10.0.0.1:80\",\"tags\":{{{tags}}}}}");
            let key = b"kitex/registry-etcd/web/10.0.0.1:80";
            assert_eq!(Form::Kitex.recognise(key, value.as_bytes()), None);
        }
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
