//! What a policy says: levels, kinds of things, and rules as they are written in HCL or JSON.

use portolan_hcl as hcl;
use serde_json::{Map, Value};
use thiserror::Error;

/// What a rule grants. In this order, a later one wins where several policies speak of the same thing: denying wins over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// See it.
    Read,
    /// See it and the names below it (keys).
    List,
    /// Do anything with it.
    Write,
    /// Nothing, whatever other policies say.
    Deny,
}

impl Level {
    /// Its spelling in rules and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Read => "read",
            Level::List => "list",
            Level::Write => "write",
            Level::Deny => "deny",
        }
    }

    /// The inverse of [`Level::as_str`].
    pub fn parse(text: &str) -> Option<Level> {
        [Level::Read, Level::List, Level::Write, Level::Deny]
            .into_iter()
            .find(|level| level.as_str() == text)
    }

    /// Whether what this grants covers `wanted`.
    pub fn grants(self, wanted: Level) -> bool {
        self != Level::Deny && self >= wanted
    }
}

macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl $name {
            /// Every one of them, in the order of their discriminants.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// Its spelling in rules and messages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

spelled! {
    /// Things that have names, and rules by exact name and by prefix.
    Kind {
        /// An agent, by the name of its node.
        Agent "agent",
        /// User events.
        Event "event",
        /// Consul's keys.
        Key "key",
        /// Nodes.
        Node "node",
        /// Prepared queries.
        Query "query",
        /// Records of all other keyspaces, as `KEYSPACE:KEY`. Consul has no such rule.
        Record "record",
        /// Services.
        Service "service",
        /// Sessions and leases, by the name of their node or their id.
        Session "session",
    }
}

spelled! {
    /// Things there is one of.
    Whole {
        /// Access control itself.
        Acl "acl",
        /// Gossip keys.
        Keyring "keyring",
        /// The service mesh.
        Mesh "mesh",
        /// The cluster and its settings.
        Operator "operator",
        /// Clusters that share services.
        Peering "peering",
    }
}

impl Kind {
    /// Whether names of this kind are the same in any case.
    pub fn folds(self) -> bool {
        match self {
            Kind::Agent | Kind::Node | Kind::Query | Kind::Service | Kind::Session => true,
            Kind::Event | Kind::Key | Kind::Record => false,
        }
    }
}

/// A rule about named things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of which kind.
    pub kind: Kind,
    /// Whether it is about all names that begin with `name`.
    pub prefix: bool,
    /// The name, as it was written.
    pub name: String,
    /// What it grants.
    pub level: Level,
    /// Services: what it grants about intentions; what the level implies if it is not said.
    pub intentions: Option<Level>,
}

/// All that one policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// About named things.
    pub named: Vec<Rule>,
    /// About things there is one of.
    pub whole: Vec<(Whole, Level)>,
}

/// Rules that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// It is neither HCL nor JSON.
    #[error("Failed to parse ACL rules: {0}")]
    Text(#[from] hcl::Error),
    /// There is no such kind of rule.
    #[error("Invalid ACL rules: there is no rule {0:?}")]
    Unknown(String),
    /// A rule of this kind does not look like this.
    #[error("Invalid {kind} policy: {what}")]
    Rule {
        /// The kind, as it was written.
        kind: String,
        /// What is wrong.
        what: String,
    },
}

/// Rules of Consul's next resources, which are taken and mean nothing in its community edition either.
const IDLE: [&str; 2] = ["identity", "identity_prefix"];

impl Rules {
    /// Reads rules in HCL, or in JSON where they begin with a brace.
    ///
    /// # Errors
    /// [`Unreadable`], in words for the one who wrote them.
    pub fn parse(text: &str) -> Result<Rules, Unreadable> {
        let mut rules = Rules::default();
        let Value::Object(map) = hcl::parse(text)? else {
            return Ok(rules);
        };
        for (key, value) in &map {
            rules.add(key, value)?;
        }
        Ok(rules)
    }

    fn add(&mut self, key: &str, value: &Value) -> Result<(), Unreadable> {
        if let Some(whole) = Whole::ALL.iter().find(|whole| whole.as_str() == key) {
            let level = value
                .as_str()
                .and_then(Level::parse)
                .filter(|level| *level != Level::List);
            let level = level.ok_or_else(|| wrong(key, value.to_string()))?;
            self.whole.push((*whole, level));
            return Ok(());
        }
        if IDLE.contains(&key) {
            return Ok(());
        }
        let (name, prefix) = match key.strip_suffix("_prefix") {
            Some(name) => (name, true),
            None => (key, false),
        };
        let kind = Kind::ALL.iter().find(|kind| kind.as_str() == name);
        let kind = *kind.ok_or_else(|| Unreadable::Unknown(key.to_owned()))?;
        for block in each(value) {
            let Value::Object(names) = block else {
                return Err(wrong(key, "expected a name and a block".to_owned()));
            };
            for (name, bodies) in names {
                for body in each(bodies) {
                    let Value::Object(body) = body else {
                        return Err(wrong(key, format!("expected a block after {name:?}")));
                    };
                    self.named.push(rule(key, kind, prefix, name, body)?);
                }
            }
        }
        Ok(())
    }
}

/// A value, or each of a list of them: HCL's blocks may be repeated.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn rule(
    key: &str,
    kind: Kind,
    prefix: bool,
    name: &str,
    body: &Map<String, Value>,
) -> Result<Rule, Unreadable> {
    let level = |field: &str| -> Result<Option<Level>, Unreadable> {
        let Some(value) = body.get(field) else {
            return Ok(None);
        };
        let level = value.as_str().and_then(Level::parse);
        let level = level.filter(|level| *level != Level::List || kind == Kind::Key);
        level
            .map(Some)
            .ok_or_else(|| wrong(key, format!("{name:?} has {field} = {value}")))
    };
    let known = |field: &str| match field {
        "policy" => true,
        "intentions" => kind == Kind::Service,
        _ => false,
    };
    if let Some(field) = body.keys().find(|field| !known(field)) {
        return Err(wrong(
            key,
            format!("{name:?} has an unknown field {field:?}"),
        ));
    }
    let intentions = level("intentions")?;
    let level = level("policy")?.ok_or_else(|| wrong(key, format!("{name:?} has no policy")))?;
    Ok(Rule {
        kind,
        prefix,
        name: name.to_owned(),
        level,
        intentions,
    })
}

fn wrong(kind: &str, what: String) -> Unreadable {
    Unreadable::Rule {
        kind: kind.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_hcl_and_json() {
        let hcl = r#"
            service "web" { policy = "write" intentions = "read" }
            service_prefix "" { policy = "read" }
            key "a/b" { policy = "deny" }
            key_prefix "a/" { policy = "list" }
            acl = "write"
            operator = "read"
        "#;
        let json = r#"{"service": {"web": {"policy": "write", "intentions": "read"}}, "service_prefix": {"": {"policy": "read"}},
            "key": {"a/b": {"policy": "deny"}}, "key_prefix": [{"a/": [{"policy": "list"}]}], "acl": "write", "operator": "read"}"#;
        let mut both = [Rules::parse(hcl).unwrap(), Rules::parse(json).unwrap()];
        for rules in &mut both {
            rules
                .named
                .sort_by(|a, b| (&a.name, a.prefix).cmp(&(&b.name, b.prefix)));
            rules.whole.sort_by_key(|(whole, _)| whole.as_str());
        }
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].named.len(), 4);
        assert_eq!(
            both[0].whole,
            [(Whole::Acl, Level::Write), (Whole::Operator, Level::Read)]
        );
        assert_eq!(Rules::parse("").unwrap(), Rules::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let rows = [
            ("servce \"a\" { policy = \"read\" }", "no rule \"servce\""),
            (
                "service \"a\" { policy = \"list\" }",
                "Invalid service policy",
            ),
            ("service \"a\" { }", "no policy"),
            (
                "service \"a\" { policy = \"read\" sentinel = 1 }",
                "unknown field",
            ),
            ("acl = \"list\"", "Invalid acl policy"),
            ("acl { }", "Invalid acl policy"),
            ("service = \"read\"", "expected a name"),
            ("service \"a\" {", "Failed to parse ACL rules: line 1"),
        ];
        for (text, part) in rows {
            let error = Rules::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
