//! What is there without being written: built-in policies, the anonymous token, identities and templates.

use crate::rows::{NodeIdentity, Policy, ServiceIdentity, TemplatedPolicy, Token};
use crate::rules::{Kind, Level, Rule, Rules, Whole};

/// The policy that allows everything.
pub const MANAGEMENT: &str = "00000000-0000-0000-0000-000000000001";
/// The policy that reads everything but access control.
pub const READ_ONLY: &str = "00000000-0000-0000-0000-000000000002";
/// The accessor of whoever shows no token.
pub const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";
/// The secret of the anonymous token.
const ANONYMOUS_SECRET: &str = "anonymous";

/// Ids that only built-in rows have.
pub fn reserved(id: &str) -> bool {
    id.starts_with("00000000-0000-0000-0000-0000000000")
}

/// The built-in policies.
pub fn policies() -> [Policy; 2] {
    let of = |id: &str, name: &str, description: &str, level: Level| {
        let mut rules = String::new();
        for whole in Whole::ALL {
            rules.push_str(&format!("{} = \"{}\"\n", whole.as_str(), level.as_str()));
        }
        for kind in Kind::ALL {
            let intentions = match (kind, level) {
                (Kind::Service, level) => format!("\n\tintentions = \"{}\"", level.as_str()),
                _ => String::new(),
            };
            rules.push_str(&format!(
                "{}_prefix \"\" {{\n\tpolicy = \"{}\"{intentions}\n}}\n",
                kind.as_str(),
                level.as_str()
            ));
        }
        Policy {
            id: id.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            rules,
            datacenters: Vec::new(),
        }
    };
    [
        of(
            MANAGEMENT,
            "global-management",
            "A policy that grants unlimited access",
            Level::Write,
        ),
        of(
            READ_ONLY,
            "builtin/global-read-only",
            "A policy that grants read only access",
            Level::Read,
        ),
    ]
}

/// The token of whoever shows none.
pub fn anonymous() -> Token {
    Token {
        accessor: ANONYMOUS.to_owned(),
        secret: ANONYMOUS_SECRET.to_owned(),
        description: "Anonymous Token".to_owned(),
        ..Token::default()
    }
}

/// A template: its name, its id, and whether it takes a name.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// `builtin/service`.
    pub name: &'static str,
    /// A UUID.
    pub id: &'static str,
    /// Whether a name has to be filled in.
    pub named: bool,
    /// For people.
    pub description: &'static str,
    /// What it stands for, with `${name}` where the name goes.
    pub text: &'static str,
}

/// Every template.
pub const TEMPLATES: [Template; 5] = [
    Template {
        name: "builtin/service",
        id: "00000000-0000-0000-0000-000000000003",
        named: true,
        description: "Gives the token or role permissions to register a service and discover services in the Consul catalog. It also gives the specified service's sidecar proxy the permission to discover and route traffic to other services.",
        text: "service \"${name}\" {\n\tpolicy = \"write\"\n}\nservice \"${name}-sidecar-proxy\" {\n\tpolicy = \"write\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}\n",
    },
    Template {
        name: "builtin/node",
        id: "00000000-0000-0000-0000-000000000004",
        named: true,
        description: "Gives the token or role permissions for a register an agent/node into the catalog. A node is typically a consul agent but can also be a physical server, cloud instance or a container.",
        text: "node \"${name}\" {\n\tpolicy = \"write\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\n",
    },
    Template {
        name: "builtin/dns",
        id: "00000000-0000-0000-0000-000000000005",
        named: false,
        description: "Gives the token or role permissions for the Consul DNS to query services in the network.",
        text: "node_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nquery_prefix \"\" {\n\tpolicy = \"read\"\n}\n",
    },
    Template {
        name: "builtin/api-gateway",
        id: "00000000-0000-0000-0000-000000000008",
        named: true,
        description: "Gives the token or role permissions for a Consul api gateway",
        text: "mesh = \"read\"\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice \"${name}\" {\n\tpolicy = \"write\"\n}\n",
    },
    Template {
        name: "builtin/nomad-client",
        id: "00000000-0000-0000-0000-000000000009",
        named: false,
        description: "Gives the token or role permissions required for integration with a nomad client.",
        text: "agent_prefix \"\" {\n\tpolicy = \"read\"\n}\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice_prefix \"\" {\n\tpolicy = \"write\"\n}\nkey_prefix \"\" {\n\tpolicy = \"read\"\n}\n",
    },
];

/// The template of that name or id.
pub fn template(name_or_id: &str) -> Option<&'static Template> {
    TEMPLATES
        .iter()
        .find(|template| template.name == name_or_id || template.id == name_or_id)
}

/// Whether a service or node may be spoken for under this name: lower-case letters, digits, `-` and `_`, a letter or digit at both ends.
pub fn speakable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if plain(*first) && plain(*last))
        && bytes
            .iter()
            .all(|byte| plain(*byte) || matches!(byte, b'-' | b'_'))
        && bytes.len() <= 256
}

/// The text of a template with the name filled in.
pub fn filled(template: &Template, name: &str) -> String {
    template.text.replace("${name}", name)
}

fn rule(kind: Kind, prefix: bool, name: &str, level: Level) -> Rule {
    Rule {
        kind,
        prefix,
        name: name.to_owned(),
        level,
        intentions: None,
    }
}

/// What speaking for a service allows.
pub fn of_service(identity: &ServiceIdentity) -> Rules {
    let name = &identity.service_name;
    let sidecar = format!("{name}-sidecar-proxy");
    Rules {
        named: vec![
            rule(Kind::Service, false, name, Level::Write),
            rule(Kind::Service, false, &sidecar, Level::Write),
            rule(Kind::Service, true, "", Level::Read),
            rule(Kind::Node, true, "", Level::Read),
        ],
        whole: Vec::new(),
    }
}

/// What speaking for a node allows.
pub fn of_node(identity: &NodeIdentity) -> Rules {
    Rules {
        named: vec![
            rule(Kind::Node, false, &identity.node_name, Level::Write),
            rule(Kind::Service, true, "", Level::Read),
        ],
        whole: Vec::new(),
    }
}

/// What a filled template allows; nothing if there is no such template or its name could be read as rules.
pub fn of_template(policy: &TemplatedPolicy) -> Rules {
    let Some(template) = template(&policy.template_name) else {
        return Rules::default();
    };
    let variables = policy.template_variables.as_ref();
    let name = variables.map_or("", |variables| &variables.name);
    if template.named && !speakable(name) {
        return Rules::default();
    }
    Rules::parse(&filled(template, name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read() {
        for policy in policies() {
            let rules = Rules::parse(&policy.rules).unwrap();
            assert_eq!(rules.named.len(), Kind::ALL.len());
            assert_eq!(rules.whole.len(), Whole::ALL.len());
        }
        for template in &TEMPLATES {
            let policy = TemplatedPolicy {
                template_name: template.name.to_owned(),
                template_variables: Some(crate::rows::TemplateVariables {
                    name: "web".to_owned(),
                }),
                ..TemplatedPolicy::default()
            };
            assert!(!of_template(&policy).named.is_empty(), "{}", template.name);
        }
    }

    #[test]
    fn names_that_could_be_read_as_rules_are_not_spoken_for() {
        for name in ["web", "a", "web-1", "a_b", "0"] {
            assert!(speakable(name), "{name}");
        }
        for name in ["", "Web", "-a", "a-", "a\" {", "a b", "ä"] {
            assert!(!speakable(name), "{name}");
        }
    }
}
