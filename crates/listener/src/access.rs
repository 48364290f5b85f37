//! Who may do what: one question, asked by every handler of every protocol.
//!
//! Invariants
//! - There is one place that decides, [`Caller::allow`](crate::Caller::allow), by the server's one [`Policy`]. A protocol never decides
//!   by itself; it names the action and the resource, and words the refusal.
//! - Nested things are asked for one by one: each operation of a transaction, each event of a watch, each item of a list.

use std::fmt;
use std::sync::Arc;

/// Who asks. Without an [`Authenticator`](crate::Authenticator), everyone is anonymous.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// Somebody whom an authenticator or a handshake vouches for.
    Named(Arc<str>),
}

impl Principal {
    /// The authenticated name, as causes record it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Principal::Anonymous => None,
            Principal::Named(name) => Some(name),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("anonymous"))
    }
}

/// What a principal wants to do with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See a value or a list.
    Read,
    /// Change or remove a value.
    Write,
    /// Announce, renew, check or withdraw an instance.
    Register,
    /// Look up the instances of a service.
    Discover,
    /// Be told of changes.
    Watch,
    /// Run the server itself: compaction, alarms, operator endpoints.
    Admin,
}

impl Action {
    /// The verb for messages and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Write => "write",
            Action::Register => "register",
            Action::Discover => "discover",
            Action::Watch => "watch",
            Action::Admin => "administer",
        }
    }
}

/// What an action is aimed at. Borrowed, so that asking allocates nothing.
///
/// Namespaces, names and keyspaces are the catalog's folded spellings (`""` is the default namespace; keyspaces are `etcd`, `consul-kv`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One service.
    Service {
        /// The service's namespace.
        namespace: &'a str,
        /// The service's name.
        name: &'a str,
    },
    /// All services: for what cannot be shown or done in part.
    Services,
    /// Some service, whichever it is: for lists whose items are then asked for one by one, and for requests that name theirs further down.
    AnyService,
    /// One node.
    Node(&'a str),
    /// The list of nodes.
    Nodes,
    /// One record.
    Record {
        /// The keyspace's name.
        keyspace: &'a str,
        /// The key's bytes.
        key: &'a [u8],
    },
    /// A range of records, as in etcd: from `start` up to, not including, `end`; an empty `end` is the end of the keyspace.
    Range {
        /// The keyspace's name.
        keyspace: &'a str,
        /// First key.
        start: &'a [u8],
        /// First key after the range.
        end: &'a [u8],
    },
    /// The records whose keys begin with `prefix`.
    Prefix {
        /// The keyspace's name.
        keyspace: &'a str,
        /// What the keys begin with.
        prefix: &'a [u8],
    },
    /// A lease or connection by the name its protocol gives it, a session by that of its node.
    Session(&'a str),
    /// A prepared query, by id or name.
    Query(&'a str),
    /// A user event, by name.
    Event(&'a str),
    /// This server's view of itself: members, self, maintenance.
    Agent,
    /// The cluster's own settings and membership.
    Operator,
    /// Access control itself: tokens, policies, roles.
    Access,
    /// Keys of gossip.
    Keyring,
    /// The service mesh.
    Mesh,
    /// Clusters that share services.
    Peering,
    /// Who may call a service.
    Intentions(&'a str),
    /// Metrics and profiles.
    Metrics,
    /// What everyone may know: health, version, the error for an unknown route.
    Public,
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Service {
                namespace: "",
                name,
            } => write!(f, "service {name:?}"),
            Resource::Service { namespace, name } => {
                write!(f, "service {name:?} in namespace {namespace:?}")
            }
            Resource::Services => f.write_str("the list of services"),
            Resource::AnyService => f.write_str("any service"),
            Resource::Node(name) => write!(f, "node {name:?}"),
            Resource::Nodes => f.write_str("the list of nodes"),
            Resource::Record { keyspace, key } => {
                write!(f, "{keyspace} key \"{}\"", key.escape_ascii())
            }
            Resource::Range {
                keyspace,
                start,
                end,
            } => {
                write!(
                    f,
                    "{keyspace} keys from \"{}\" to \"{}\"",
                    start.escape_ascii(),
                    end.escape_ascii()
                )
            }
            Resource::Prefix { keyspace, prefix } => {
                write!(f, "{keyspace} keys below \"{}\"", prefix.escape_ascii())
            }
            Resource::Session(id) => write!(f, "session {id:?}"),
            Resource::Query(id) => write!(f, "query {id:?}"),
            Resource::Event(name) => write!(f, "event {name:?}"),
            Resource::Agent => f.write_str("the agent"),
            Resource::Operator => f.write_str("the cluster"),
            Resource::Access => f.write_str("access control"),
            Resource::Keyring => f.write_str("the keyring"),
            Resource::Mesh => f.write_str("the service mesh"),
            Resource::Peering => f.write_str("peerings"),
            Resource::Intentions(name) => write!(f, "intentions of service {name:?}"),
            Resource::Metrics => f.write_str("metrics"),
            Resource::Public => f.write_str("public information"),
        }
    }
}

/// The answer of a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Answer with the protocol's own "permission denied".
    Deny,
}

/// A refusal to let a principal act, ready to be shown. Map it to 403, `PERMISSION_DENIED`, `REFUSED`, `NOAUTH`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Denied {
    /// Who asked.
    pub principal: Principal,
    /// What for.
    pub action: Action,
    /// The resource, spelled out.
    pub resource: String,
    /// The policy's own words for it.
    pub explanation: Option<String>,
}

impl Denied {
    fn words(&self) -> String {
        self.explanation.clone().unwrap_or_else(|| {
            let (who, what) = (&self.principal, self.action.as_str());
            format!("{who} may not {what} {}", self.resource)
        })
    }
}

/// Rules that decide. A policy is a snapshot: it does not change, it is replaced
/// ([`ServerContext::set_policy`](crate::ServerContext::set_policy)), and every decision is by the one that is in force then.
///
/// Called on the hot path of every protocol, several times for one request: it must not wait, and should not allocate.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Whether `principal` may do `action` to `resource`.
    fn decide(&self, principal: &Principal, action: Action, resource: Resource<'_>) -> Decision;

    /// Whether there is nothing that `principal` may not do: lists are then shown as they are, without a question for each item.
    fn unrestricted(&self, _principal: &Principal) -> bool {
        false
    }

    /// The words of a denial, if the policy has its own.
    fn explain(&self, _: &Principal, _: Action, _: Resource<'_>) -> Option<String> {
        None
    }
}

/// The policy of a server without rules: everybody may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn decide(&self, _: &Principal, _: Action, _: Resource<'_>) -> Decision {
        Decision::Allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_who_what_and_which() {
        let rows = [
            (
                Resource::Service {
                    namespace: "",
                    name: "web",
                },
                r#"anonymous may not register service "web""#,
            ),
            (
                Resource::Service {
                    namespace: "team",
                    name: "web",
                },
                r#"anonymous may not register service "web" in namespace "team""#,
            ),
            (
                Resource::Record {
                    keyspace: "etcd",
                    key: b"a/\xff",
                },
                r#"anonymous may not register etcd key "a/\xff""#,
            ),
            (Resource::Operator, "anonymous may not register the cluster"),
        ];
        for (resource, message) in rows {
            let denied = Denied {
                principal: Principal::Anonymous,
                action: Action::Register,
                resource: resource.to_string(),
                explanation: None,
            };
            assert_eq!(denied.to_string(), message);
        }
    }
}
