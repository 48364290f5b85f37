//! What a protocol asks, in the words of rules. There is no default: a new resource does not compile before it is decided here.

use std::borrow::Cow;

use portolan_catalog::{Keyspace, ServiceKey, name};
use portolan_listener::{Action, Resource};

use crate::authorizer::Question;
use crate::rules::{Kind, Level, Whole};

/// The question that `action` on `resource` is. `node` is the name of this server's node, by which rules name its agent.
pub fn question<'a>(action: Action, resource: Resource<'a>, node: &'a str) -> Question<'a> {
    let level = match action {
        Action::Read | Action::Discover | Action::Watch => Level::Read,
        Action::Write | Action::Register | Action::Admin => Level::Write,
    };
    let text = |text: &'a str| Cow::Borrowed(text.as_bytes());
    match resource {
        Resource::Public => Question::Public,
        Resource::Service { namespace, name } => {
            Question::Named(Kind::Service, service(namespace, name), level)
        }
        // Protocols that show a list as it is need to be allowed all of it.
        Resource::Services => Question::Under(Kind::Service, text(""), level),
        Resource::AnyService => Question::Some(Kind::Service, level),
        Resource::Node(name) => Question::Named(Kind::Node, text(name), level),
        Resource::Nodes => Question::Under(Kind::Node, text(""), level),
        Resource::Record { keyspace, key } if keyspace == Keyspace::ConsulKv.as_str() => {
            Question::Named(Kind::Key, Cow::Borrowed(key), level)
        }
        Resource::Record { keyspace, key } => {
            Question::Named(Kind::Record, Cow::Owned(record(keyspace, key)), level)
        }
        Resource::Prefix { keyspace, prefix } => below(keyspace, prefix, level),
        Resource::Range {
            keyspace,
            start,
            end,
        } => below(keyspace, shared(start, end), level),
        Resource::Session(name) => Question::Named(Kind::Session, text(name), level),
        Resource::Query(name) => Question::Named(Kind::Query, text(name), level),
        Resource::Event(name) => Question::Named(Kind::Event, text(name), level),
        Resource::Agent | Resource::Metrics => Question::Named(Kind::Agent, text(node), level),
        Resource::Operator => Question::Whole(Whole::Operator, level),
        Resource::Access => Question::Whole(Whole::Acl, level),
        Resource::Keyring => Question::Whole(Whole::Keyring, level),
        Resource::Mesh => Question::Whole(Whole::Mesh, level),
        Resource::Peering => Question::Whole(Whole::Peering, level),
        Resource::Intentions(name) => Question::Intention(text(name), level),
    }
}

/// The name that rules have for a service: its flat name, as Consul shows it.
fn service<'a>(namespace: &str, name: &'a str) -> Cow<'a, [u8]> {
    // Groups stand in the name for protocols that have them, as `group@@name`; Consul's own requests come without a namespace.
    if namespace.is_empty() || namespace == portolan_catalog::DEFAULT {
        return Cow::Borrowed(name.as_bytes());
    }
    let key = ServiceKey::new(namespace, portolan_catalog::DEFAULT, name);
    Cow::Owned(name::flat(&key).into_bytes())
}

fn record(keyspace: &str, key: &[u8]) -> Vec<u8> {
    [keyspace.as_bytes(), b":", key].concat()
}

fn below<'a>(keyspace: &str, prefix: &'a [u8], level: Level) -> Question<'a> {
    if keyspace == Keyspace::ConsulKv.as_str() {
        Question::Under(Kind::Key, Cow::Borrowed(prefix), level)
    } else {
        Question::Under(Kind::Record, Cow::Owned(record(keyspace, prefix)), level)
    }
}

/// What all keys of a range begin with: no more than that can be asked of rules, and no less is asked.
fn shared<'a>(start: &'a [u8], end: &[u8]) -> &'a [u8] {
    let same = start.iter().zip(end).take_while(|(a, b)| a == b).count();
    // The keys below a prefix end where its last byte is one more.
    let successor = end.len() == same + 1
        && start
            .get(same)
            .is_some_and(|byte| byte.checked_add(1) == Some(end[same]));
    match successor && start.len() == same + 1 {
        true => start,
        false => &start[..same],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_asked_for_by_what_its_keys_begin_with() {
        let rows: [(&[u8], &[u8], &[u8]); 6] = [
            (b"a/", b"a0", b"a/"),
            (b"a", b"", b""),
            (b"a", b"b", b"a"),
            (b"ab", b"ad", b"a"),
            (b"a/b", b"a/c0", b"a/"),
            (b"a/bx", b"a/c", b"a/"),
        ];
        for (start, end, prefix) in rows {
            assert_eq!(shared(start, end), prefix, "{start:?} {end:?}");
        }
    }

    #[test]
    fn words_are_those_of_consuls_rules() {
        let rows = [
            (
                Action::Register,
                Resource::Service {
                    namespace: "",
                    name: "web",
                },
                "service",
                "write",
                Some("web"),
            ),
            (
                Action::Discover,
                Resource::Service {
                    namespace: "default",
                    name: "web",
                },
                "service",
                "read",
                Some("web"),
            ),
            (
                Action::Read,
                Resource::Service {
                    namespace: "team",
                    name: "web",
                },
                "service",
                "read",
                Some("web--default--team"),
            ),
            (Action::Read, Resource::Metrics, "agent", "read", Some("n1")),
            (Action::Admin, Resource::Operator, "operator", "write", None),
            (
                Action::Write,
                Resource::Record {
                    keyspace: "consul-kv",
                    key: b"a",
                },
                "key",
                "write",
                Some("a"),
            ),
            (
                Action::Write,
                Resource::Record {
                    keyspace: "etcd",
                    key: b"a",
                },
                "record",
                "write",
                Some("etcd:a"),
            ),
            (Action::Read, Resource::Access, "acl", "read", None),
        ];
        for (action, resource, kind, level, name) in rows {
            let question = question(action, resource, "n1");
            let (is_kind, is_level, is_name) = question.words();
            assert_eq!(
                (is_kind, is_level.as_str(), is_name.as_deref()),
                (kind, level, name)
            );
        }
    }
}
