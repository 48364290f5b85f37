//! Permissions of roles, `NAMESPACE:GROUP:TYPE/NAME` with an action, and the rules of access control that they are.
//!
//! Rules know exact names and prefixes. So a permission may have asterisks at its end alone: `team:*:*`, `team:DEV:config/app*`. Names of
//! configurations are told apart by case, those of services are not, as everywhere here.

use portolan_catalog::ServiceKey;
use serde::{Deserialize, Serialize};

use crate::names::{PUBLIC, nacos_group, nacos_namespace};

/// The records that stand for services in rules. There are none: a question about a service that no rule of services answers is asked of
/// these.
pub(crate) const NAMING: &str = "nacos-naming";
/// The keyspace of configurations.
const CONFIG: &str = "nacos-config";

/// A role's permission, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permission {
    /// What it is about.
    pub(crate) resource: String,
    /// `r` or `rw`.
    pub(crate) action: String,
}

/// What rules call a service.
pub(crate) fn service(key: &ServiceKey) -> Vec<u8> {
    [&*group(key.namespace(), key.group()), key.name().as_bytes()].concat()
}

/// What the names of a group's services begin with in rules.
pub(crate) fn group(namespace: &str, group: &str) -> Vec<u8> {
    let (namespace, group) = (nacos_namespace(namespace), nacos_group(group));
    format!("{namespace}:{}:", group.to_ascii_lowercase()).into_bytes()
}

/// One rule: its name, and whether it is a prefix.
type Rule = (String, bool);

/// A part of a resource: its text, and whether an asterisk ends it.
fn part(text: &str) -> Option<(&str, bool)> {
    let (literal, open) = match text.strip_suffix('*') {
        Some(literal) => (literal, true),
        None => (text, false),
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '$' | '%' | '*');
    literal.chars().all(plain).then_some((literal, open))
}

/// The names that a resource means, if rules can say so.
fn names(resource: &str) -> Option<Vec<Rule>> {
    let mut parts = resource.splitn(3, ':');
    let (namespace, in_group, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let namespace = match namespace {
        "" => PUBLIC,
        namespace => namespace,
    };
    let (kinds, name): (&[&str], &str) = match rest.split_once('/') {
        None if rest == "*" => (&[NAMING, CONFIG], "*"),
        Some(("naming", name)) => (&[NAMING], name),
        Some(("config", name)) => (&[CONFIG], name),
        Some(("*", name)) => (&[NAMING, CONFIG], name),
        _ => return None,
    };
    let (mut text, mut open) = (Vec::new(), false);
    for one in [namespace, in_group, name] {
        let (literal, ends) = part(one)?;
        // Behind an asterisk there is nothing more to tell.
        if open && !(literal.is_empty() && ends) {
            return None;
        }
        if !open {
            text.push(literal);
        }
        open = open || ends;
    }
    let named = |kind: &&str| match *kind {
        NAMING => (
            format!("{NAMING}:{}", text.join(":").to_ascii_lowercase()),
            open,
        ),
        kind => (format!("{kind}:{}", text.join("/")), open),
    };
    Some(kinds.iter().map(named).collect())
}

/// Why a permission cannot be given; none when it can.
pub(crate) fn fault(permission: &Permission) -> Option<String> {
    let Permission { resource, action } = permission;
    if !matches!(&**action, "r" | "rw") {
        return Some(format!(
            "action {action:?} is neither r nor rw: whoever may write here may read as well"
        ));
    }
    names(resource).is_none().then(|| {
        format!("resource {resource:?} is not NAMESPACE:GROUP:* or NAMESPACE:GROUP:naming/NAME or NAMESPACE:GROUP:config/NAME, with asterisks at the end alone")
    })
}

/// The rules of a policy that is these permissions.
pub(crate) fn rules(permissions: &[Permission]) -> String {
    let mut text = String::new();
    for permission in permissions {
        let level = match &*permission.action {
            "rw" => "write",
            _ => "read",
        };
        for (name, prefix) in names(&permission.resource).unwrap_or_default() {
            let kind = match prefix {
                true => "record_prefix",
                false => "record",
            };
            text.push_str(&format!("{kind} \"{name}\" {{ policy = \"{level}\" }}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use portolan_catalog::DEFAULT;

    use super::*;

    #[test]
    fn what_can_be_said_in_rules_and_what_cannot() {
        let rows: [(&str, &[(&str, bool)]); 12] = [
            ("*:*:*", &[("nacos-naming:", true), ("nacos-config:", true)]),
            (
                "team:*:*",
                &[("nacos-naming:team:", true), ("nacos-config:team/", true)],
            ),
            (
                ":*:*",
                &[
                    ("nacos-naming:public:", true),
                    ("nacos-config:public/", true),
                ],
            ),
            (
                "team:DEV:*",
                &[
                    ("nacos-naming:team:dev:", true),
                    ("nacos-config:team/DEV/", true),
                ],
            ),
            (
                "team:DEV:naming/Web",
                &[("nacos-naming:team:dev:web", false)],
            ),
            (
                "team:DEV:config/a:b*",
                &[("nacos-config:team/DEV/a:b", true)],
            ),
            ("te*:*:naming/*", &[("nacos-naming:te", true)]),
            ("*:DEV:*", &[]),
            ("team:*:naming/web", &[]),
            ("team", &[]),
            ("team:DEV:ai/x", &[]),
            ("team:D\"V:*", &[]),
        ];
        for (resource, expected) in rows {
            let found = names(resource).unwrap_or_default();
            let expected: Vec<Rule> = expected
                .iter()
                .map(|(name, prefix)| ((*name).to_owned(), *prefix))
                .collect();
            assert_eq!(found, expected, "{resource}");
        }
        let permission = |action: &str| Permission {
            resource: "team:*:*".into(),
            action: action.into(),
        };
        assert_eq!(fault(&permission("rw")), None);
        assert!(fault(&permission("w")).is_some());
        assert_eq!(
            rules(&[permission("r")]),
            "record_prefix \"nacos-naming:team:\" { policy = \"read\" }\nrecord_prefix \"nacos-config:team/\" { policy = \"read\" }\n"
        );
        // The catalog's default is Nacos' `public`, and the other way round.
        assert_eq!(group(DEFAULT, DEFAULT), b"public:default_group:");
        assert_eq!(group(PUBLIC, "default_group"), b"default:default:");
        let key = ServiceKey::new(DEFAULT, DEFAULT, "Web");
        assert_eq!(service(&key), b"public:default_group:web");
    }
}
