//! Names: Nacos' namespaces, groups and services as the catalog's keys, and back.
//!
//! Nacos calls its default namespace `public` (or leaves it empty) and its default group `DEFAULT_GROUP`; the catalog calls both
//! `default`. The two names are exchanged and not replaced, so that the way back is exact: Nacos' namespace called `default` is the
//! catalog's `public`.

use std::fmt;

use portolan_catalog::{DEFAULT, InstanceKey, Protocol, ServiceKey, name};

/// Nacos' default namespace.
pub(crate) const PUBLIC: &str = "public";
/// Nacos' default group.
pub(crate) const DEFAULT_GROUP: &str = "DEFAULT_GROUP";
/// Nacos' default cluster.
pub(crate) const DEFAULT_CLUSTER: &str = "DEFAULT";
/// What stands between group and service.
const SPLITTER: &str = "@@";

/// A service as a client names it. Answers repeat the client's own spelling, because clients compare.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServiceName {
    /// Identity in the catalog.
    pub(crate) key: ServiceKey,
    /// The namespace, never empty.
    pub(crate) namespace: String,
    /// The group, never empty.
    pub(crate) group: String,
    /// The name without the group.
    pub(crate) name: String,
}

/// A name that cannot be one, in the words of Nacos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadName(pub(crate) String);

impl ServiceName {
    /// From the three parts. No namespace is `public`, no group `DEFAULT_GROUP`. A name that is written `GROUP@@name` brings its own group.
    ///
    /// # Errors
    /// When the name or the group in it is empty.
    pub(crate) fn new(namespace: &str, group: &str, name: &str) -> Result<ServiceName, BadName> {
        let name = name.trim();
        let (group, name) = match name.split_once(SPLITTER) {
            Some(("", _)) => {
                return Err(BadName(
                    "Param 'serviceName' is illegal, groupName can't be empty".into(),
                ));
            }
            Some((group, name)) => (group, name),
            None if group.trim().is_empty() => (DEFAULT_GROUP, name),
            None => (group.trim(), name),
        };
        if name.is_empty() || name.contains('\0') || group.contains('\0') {
            return Err(BadName(
                "Param 'serviceName' is illegal, serviceName is blank".into(),
            ));
        }
        let namespace = match namespace.trim() {
            "" => PUBLIC,
            other => other,
        };
        Ok(ServiceName {
            key: ServiceKey::new(&model_namespace(namespace), &model_group(group), name),
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }

    /// A service of the catalog in the spelling it has there. `group` is a client's spelling of the group, where one is known.
    pub(crate) fn of(key: &ServiceKey, spelling: &str, group: Option<&str>) -> ServiceName {
        ServiceName {
            namespace: nacos_namespace(key.namespace()),
            group: group.map_or_else(|| nacos_group(key.group()), str::to_owned),
            name: spelling.to_owned(),
            key: key.clone(),
        }
    }

    /// `GROUP@@name`.
    pub(crate) fn grouped(&self) -> String {
        format!("{}{SPLITTER}{}", self.group, self.name)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.grouped())
    }
}

/// The catalog's name of a namespace.
pub(crate) fn model_namespace(nacos: &str) -> String {
    match name::fold(nacos.trim()).as_ref() {
        "" | PUBLIC => DEFAULT.to_owned(),
        DEFAULT => PUBLIC.to_owned(),
        other => other.to_owned(),
    }
}

/// Nacos' name of a namespace of the catalog.
pub(crate) fn nacos_namespace(model: &str) -> String {
    match model {
        DEFAULT => PUBLIC.to_owned(),
        PUBLIC => DEFAULT.to_owned(),
        other => other.to_owned(),
    }
}

/// The catalog's name of a group.
pub(crate) fn model_group(nacos: &str) -> String {
    let folded = name::fold(nacos);
    match folded.as_ref() {
        "" | "default_group" => DEFAULT.to_owned(),
        DEFAULT => "default_group".to_owned(),
        other => other.to_owned(),
    }
}

/// Nacos' name of a group of the catalog.
pub(crate) fn nacos_group(model: &str) -> String {
    match model {
        DEFAULT => DEFAULT_GROUP.to_owned(),
        "default_group" => DEFAULT.to_owned(),
        other => other.to_owned(),
    }
}

/// The identity of an instance: `namespace/group/service/ip#port#cluster`.
pub(crate) fn instance_key(
    service: &ServiceKey,
    ip: &str,
    port: u16,
    cluster: &str,
) -> InstanceKey {
    InstanceKey::new(
        Protocol::Nacos,
        format!(
            "{}/{}/{}/{ip}#{port}#{cluster}",
            service.namespace(),
            service.group(),
            service.name()
        ),
    )
}

/// A cluster's name, `DEFAULT` when there is none.
///
/// # Errors
/// When it has other characters than letters, digits and `-`, as in Nacos.
pub(crate) fn cluster(name: &str) -> Result<&str, BadName> {
    let name = name.trim();
    if name.is_empty() {
        return Ok(DEFAULT_CLUSTER);
    }
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && name.len() <= 64 {
        Ok(name)
    } else {
        Err(BadName(format!(
            "Instance 'clusterName' should be characters with only 0-9a-zA-Z-. (current: {name})"
        )))
    }
}

/// Names against a pattern in which `*` stands for anything, as search pages and fuzzy watches write them.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_exchanged_and_not_replaced() {
        let rows = [
            ("", "", "web", "default/default/web", "DEFAULT_GROUP@@web"),
            (
                "public",
                "DEFAULT_GROUP",
                "Web",
                "default/default/web",
                "DEFAULT_GROUP@@Web",
            ),
            (
                "default",
                "default",
                "web",
                "public/default_group/web",
                "default@@web",
            ),
            ("prod", "DEV", "Order", "prod/dev/order", "DEV@@Order"),
            ("prod", "DEV", "OPS@@Order", "prod/ops/order", "OPS@@Order"),
            (
                "",
                "",
                "providers:com.foo.Bar:1.0.0:",
                "default/default/providers:com.foo.bar:1.0.0:",
                "DEFAULT_GROUP@@providers:com.foo.Bar:1.0.0:",
            ),
        ];
        for (namespace, group, name, key, grouped) in rows {
            let service = ServiceName::new(namespace, group, name).unwrap();
            let k = &service.key;
            assert_eq!(format!("{}/{}/{}", k.namespace(), k.group(), k.name()), key);
            assert_eq!(service.grouped(), grouped);
            let back = ServiceName::of(k, &service.name, None);
            assert_eq!(back.key, service.key);
            assert_eq!(model_namespace(&back.namespace), k.namespace());
            assert_eq!(model_group(&back.group), k.group());
        }
        for name in ["", "@@", "@@x", "g@@", " "] {
            assert!(ServiceName::new("", "", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn patterns() {
        let rows = [
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*a", "a", false),
            ("", "", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
