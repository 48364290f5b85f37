//! The kinds that are served: one table, from which paths, discovery, descriptions, selectors and columns follow.

use portolan_catalog::{Key, KeyRange, Keyspace};

/// The keyspace of objects.
pub(crate) const SPACE: Keyspace = Keyspace::Kubernetes;

/// What names a kind's objects may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// RFC 1035: begins with a letter, at most 63.
    Label1035,
    /// RFC 1123 label, at most 63.
    Label1123,
    /// RFC 1123 names with dots, at most 253.
    Subdomain,
}

/// Which calls a kind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// All of them.
    Full,
    /// Get, list and watch: what is in it, if anything, the server writes itself.
    Read,
    /// Create alone: a question that is answered and kept nowhere.
    Review,
}

/// One kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    /// The type in the list of fields.
    pub(crate) schema: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) access: Access,
    /// Subresources besides the object itself.
    pub(crate) subresources: &'static [&'static str],
    pub(crate) names: Names,
    /// A PUT to a name that is not there creates it.
    pub(crate) creates_on_put: bool,
    /// A PUT has to say which version it replaces.
    pub(crate) needs_version: bool,
    /// Fields that field selectors may name, besides name and namespace.
    pub(crate) selectable: &'static [&'static str],
}

const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    schema: "",
    namespaced: true,
    short: &[],
    categories: &[],
    access: Access::Full,
    subresources: &[],
    names: Names::Subdomain,
    creates_on_put: false,
    needs_version: false,
    selectable: &[],
};

const NETWORKING: Kind = Kind {
    group: "networking.k8s.io",
    access: Access::Read,
    ..PLAIN
};

pub(crate) static NAMESPACES: Kind = Kind {
    plural: "namespaces",
    singular: "namespace",
    kind: "Namespace",
    schema: "Namespace",
    namespaced: false,
    short: &["ns"],
    subresources: &["finalize", "status"],
    names: Names::Label1123,
    selectable: &["status.phase"],
    ..PLAIN
};

pub(crate) static SERVICES: Kind = Kind {
    plural: "services",
    singular: "service",
    kind: "Service",
    schema: "Service",
    short: &["svc"],
    categories: &["all"],
    subresources: &["status"],
    names: Names::Label1035,
    creates_on_put: true,
    selectable: &["spec.clusterIP", "spec.type"],
    ..PLAIN
};

pub(crate) static ENDPOINTS: Kind = Kind {
    plural: "endpoints",
    singular: "endpoints",
    kind: "Endpoints",
    schema: "Endpoints",
    short: &["ep"],
    creates_on_put: true,
    ..PLAIN
};

pub(crate) static PODS: Kind = Kind {
    plural: "pods",
    singular: "pod",
    kind: "Pod",
    schema: "Pod",
    short: &["po"],
    categories: &["all"],
    subresources: &["status"],
    selectable: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    ..PLAIN
};

pub(crate) static SLICES: Kind = Kind {
    group: "discovery.k8s.io",
    plural: "endpointslices",
    singular: "endpointslice",
    kind: "EndpointSlice",
    schema: "EndpointSlice",
    ..PLAIN
};

pub(crate) static EVENTS: Kind = Kind {
    plural: "events",
    singular: "event",
    kind: "Event",
    schema: "Event",
    short: &["ev"],
    creates_on_put: true,
    selectable: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    ..PLAIN
};

pub(crate) static ADDRESSES: Kind = Kind {
    plural: "ipaddresses",
    singular: "ipaddress",
    kind: "IPAddress",
    schema: "IPAddress",
    namespaced: false,
    short: &["ip"],
    ..NETWORKING
};

pub(crate) static RANGES: Kind = Kind {
    plural: "servicecidrs",
    singular: "servicecidr",
    kind: "ServiceCIDR",
    schema: "ServiceCIDR",
    namespaced: false,
    ..NETWORKING
};

static NODES: Kind = Kind {
    plural: "nodes",
    singular: "node",
    kind: "Node",
    schema: "Node",
    namespaced: false,
    short: &["no"],
    subresources: &["status"],
    selectable: &["spec.unschedulable"],
    ..PLAIN
};

static CONFIG_MAPS: Kind = Kind {
    plural: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    schema: "ConfigMap",
    short: &["cm"],
    ..PLAIN
};

static SECRETS: Kind = Kind {
    plural: "secrets",
    singular: "secret",
    kind: "Secret",
    schema: "Secret",
    access: Access::Read,
    selectable: &["type"],
    ..PLAIN
};

static SERVICE_ACCOUNTS: Kind = Kind {
    plural: "serviceaccounts",
    singular: "serviceaccount",
    kind: "ServiceAccount",
    schema: "ServiceAccount",
    short: &["sa"],
    access: Access::Read,
    ..PLAIN
};

static LEASES: Kind = Kind {
    group: "coordination.k8s.io",
    plural: "leases",
    singular: "lease",
    kind: "Lease",
    schema: "Lease",
    creates_on_put: true,
    needs_version: true,
    ..PLAIN
};

static NEW_EVENTS: Kind = Kind {
    group: "events.k8s.io",
    plural: "events",
    singular: "event",
    kind: "Event",
    schema: "EventsEvent",
    short: &["ev"],
    creates_on_put: true,
    ..PLAIN
};

static INGRESSES: Kind = Kind {
    plural: "ingresses",
    singular: "ingress",
    kind: "Ingress",
    schema: "Ingress",
    short: &["ing"],
    ..NETWORKING
};

static INGRESS_CLASSES: Kind = Kind {
    plural: "ingressclasses",
    singular: "ingressclass",
    kind: "IngressClass",
    schema: "IngressClass",
    namespaced: false,
    ..NETWORKING
};

const REVIEW: Kind = Kind {
    namespaced: false,
    access: Access::Review,
    ..PLAIN
};

static ACCESS_REVIEWS: Kind = Kind {
    group: "authorization.k8s.io",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    kind: "SelfSubjectAccessReview",
    schema: "SelfSubjectAccessReview",
    ..REVIEW
};

static RULES_REVIEWS: Kind = Kind {
    group: "authorization.k8s.io",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    kind: "SelfSubjectRulesReview",
    schema: "SelfSubjectRulesReview",
    ..REVIEW
};

static TOKEN_REVIEWS: Kind = Kind {
    group: "authentication.k8s.io",
    plural: "tokenreviews",
    singular: "tokenreview",
    kind: "TokenReview",
    schema: "TokenReview",
    ..REVIEW
};

static SELF_REVIEWS: Kind = Kind {
    group: "authentication.k8s.io",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    kind: "SelfSubjectReview",
    schema: "SelfSubjectReview",
    ..REVIEW
};

/// All of them, by group.
pub(crate) static KINDS: [&Kind; 20] = [
    &CONFIG_MAPS,
    &ENDPOINTS,
    &EVENTS,
    &NAMESPACES,
    &NODES,
    &PODS,
    &SECRETS,
    &SERVICE_ACCOUNTS,
    &SERVICES,
    &SELF_REVIEWS,
    &TOKEN_REVIEWS,
    &ACCESS_REVIEWS,
    &RULES_REVIEWS,
    &LEASES,
    &SLICES,
    &NEW_EVENTS,
    &INGRESSES,
    &INGRESS_CLASSES,
    &ADDRESSES,
    &RANGES,
];

/// The kind at a path; none when it is not served.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .into_iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The groups with their versions, the core group first.
pub(crate) fn groups() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = KINDS
        .iter()
        .map(|kind| (kind.group, kind.version))
        .collect();
    all.dedup();
    all
}

impl Kind {
    /// `v1`, or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        group_version(self.group, self.version)
    }

    /// `services`, or `plural.group`: how messages call them.
    pub(crate) fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind of a list.
    pub(crate) fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The verbs, in the order in which discovery has them.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.access {
            Access::Full => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Access::Read => &["get", "list", "watch"],
            Access::Review => &["create"],
        }
    }

    /// The key of an object's record.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Key {
        Key::from(format!("{}/{namespace}/{name}", self.resource()).as_str())
    }

    /// The keys of all objects, or of those of one namespace.
    pub(crate) fn range(&self, namespace: Option<&str>) -> KeyRange {
        let prefix = match namespace {
            Some(namespace) => format!("{}/{namespace}/", self.resource()),
            None => format!("{}/", self.resource()),
        };
        KeyRange::prefix(prefix.as_bytes())
    }

    /// The kind whose objects have keys like this one, and the rest of the key: namespace and name.
    pub(crate) fn of_key(key: &[u8]) -> Option<(&'static Kind, &str, &str)> {
        let text = std::str::from_utf8(key).ok()?;
        let mut parts = text.splitn(3, '/');
        let (resource, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = KINDS.into_iter().find(|kind| {
            resource
                .strip_prefix(kind.plural)
                .is_some_and(|rest| rest.strip_prefix('.').unwrap_or(rest) == kind.group)
        })?;
        Some((kind, namespace, name))
    }
}

/// `v1`, or `group/version`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_kinds() {
        for kind in KINDS {
            let key = kind.key("ns", "a");
            assert_eq!(Kind::of_key(&key), Some((kind, "ns", "a")));
            assert!(crate::schema::fields(kind.schema).is_some());
            assert_eq!(find(kind.group, kind.version, kind.plural), Some(kind));
        }
        assert_eq!(Kind::of_key(b"nothing/a/b"), None);
        assert_eq!(groups().len(), 7);
    }
}
