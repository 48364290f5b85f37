//! What entries about services and all their proxies may say.

use super::schema::Shape::{
    Any, Flag, Many, Named, Nanos, One, Real, Span, Strings, Text, Texts, Whole, Wholes,
};
use super::schema::{Field, Shape};

const fn f(name: &'static str, shape: Shape) -> Field {
    Field::new(name, shape)
}

pub(super) const KIND: Field = f("Kind", Text);
pub(super) const NAME: Field = f("Name", Text);
pub(super) const META: Field = f("Meta", Strings);

const MESH_GATEWAY: &[Field] = &[f("Mode", Text)];
const TRANSPARENT: &[Field] = &[f("OutboundListenerPort", Whole), f("DialedDirectly", Flag)];
const EXPOSE: &[Field] = &[f("Checks", Flag), f("Paths", Many(EXPOSE_PATH))];
const EXPOSE_PATH: &[Field] = &[
    f("ListenerPort", Whole),
    f("Path", Text),
    f("LocalPathPort", Whole),
    f("Protocol", Text),
    f("ParsedFromCheck", Flag),
];
const EXTENSION: &[Field] = &[
    f("Name", Text),
    f("Required", Flag),
    f("Arguments", Any),
    f("ConsulVersion", Text),
    f("EnvoyVersion", Text),
];
const LOGS: &[Field] = &[
    f("Enabled", Flag),
    f("DisableListenerLogs", Flag),
    f("Type", Text),
    f("Path", Text),
    f("JSONFormat", Text),
    f("TextFormat", Text),
];
pub(super) const PASSIVE: &[Field] = &[
    f("Interval", Nanos),
    f("MaxFailures", Whole),
    f("EnforcingConsecutive5xx", Whole).said(),
    f("EnforcingConsecutiveGatewayFailure", Whole).said(),
    f("Consecutive5xx", Whole).said(),
    f("ConsecutiveGatewayFailure", Whole).said(),
    f("MaxEjectionPercent", Whole).said(),
    f("BaseEjectionTime", Nanos).said(),
];
pub(super) const LIMITS: &[Field] = &[
    f("MaxConnections", Whole).said(),
    f("MaxPendingRequests", Whole).said(),
    f("MaxConcurrentRequests", Whole).said(),
    f("PassiveHealthCheck", One(PASSIVE)),
];
const UPSTREAM: &[Field] = &[
    f("Name", Text),
    f("EnvoyListenerJSON", Text),
    f("EnvoyClusterJSON", Text),
    f("Protocol", Text),
    f("ConnectTimeoutMs", Whole),
    f("Limits", One(LIMITS)),
    f("PassiveHealthCheck", One(PASSIVE)),
    f("MeshGateway", One(MESH_GATEWAY)).always(),
    f("BalanceOutboundConnections", Text),
];
const UPSTREAMS: &[Field] = &[f("Overrides", Many(UPSTREAM)), f("Defaults", One(UPSTREAM))];
const DESTINATION: &[Field] = &[f("Addresses", Texts), f("Port", Whole)];
const RATES: &[Field] = &[f("InstanceLevel", One(INSTANCE_RATES))];
const INSTANCE_RATES: &[Field] = &[
    f("RequestsPerSecond", Whole),
    f("RequestsMaxBurst", Whole),
    f("Routes", Many(ROUTE_RATES)),
];
const ROUTE_RATES: &[Field] = &[
    f("PathExact", Text),
    f("PathPrefix", Text),
    f("PathRegex", Text),
    f("RequestsPerSecond", Whole),
    f("RequestsMaxBurst", Whole),
];
pub(super) const SERVICE_DEFAULTS: &[Field] = &[
    KIND,
    NAME,
    f("Protocol", Text),
    f("Mode", Text),
    f("TransparentProxy", One(TRANSPARENT)).always(),
    f("MutualTLSMode", Text),
    f("MeshGateway", One(MESH_GATEWAY)).always(),
    f("Expose", One(EXPOSE)).always(),
    f("ExternalSNI", Text),
    f("UpstreamConfig", One(UPSTREAMS)),
    f("Destination", One(DESTINATION)),
    f("MaxInboundConnections", Whole),
    f("LocalConnectTimeoutMs", Whole),
    f("LocalRequestTimeoutMs", Whole),
    f("BalanceInboundConnections", Text),
    f("RateLimits", One(RATES)),
    f("EnvoyExtensions", Many(EXTENSION)),
    f("MaxRequestHeadersKB", Whole).said(),
    META,
];
const BY_LOCALITY: &[Field] = &[f("Mode", Text)];
const POLICY: &[Field] = &[f("Mode", Text), f("Regions", Texts)];
pub(super) const PROXY_DEFAULTS: &[Field] = &[
    KIND,
    NAME,
    f("Config", Any),
    f("Mode", Text),
    f("TransparentProxy", One(TRANSPARENT)).always(),
    f("MutualTLSMode", Text),
    f("MeshGateway", One(MESH_GATEWAY)).always(),
    f("Expose", One(EXPOSE)).always(),
    f("AccessLogs", One(LOGS)),
    f("EnvoyExtensions", Many(EXTENSION)),
    f("FailoverPolicy", One(POLICY)),
    f("PrioritizeByLocality", One(BY_LOCALITY)),
    META,
];

pub(super) const HEADERS: &[Field] = &[f("Add", Strings), f("Set", Strings), f("Remove", Texts)];
pub(super) const ROUTER: &[Field] = &[KIND, NAME, f("Routes", Many(ROUTE)), META];
const ROUTE: &[Field] = &[
    f("Match", One(ROUTE_MATCH)),
    f("Destination", One(ROUTE_DESTINATION)),
];
const ROUTE_MATCH: &[Field] = &[f("HTTP", One(ROUTE_HTTP))];
const ROUTE_HTTP: &[Field] = &[
    f("PathExact", Text),
    f("PathPrefix", Text),
    f("PathRegex", Text),
    f("CaseInsensitive", Flag),
    f("Header", Many(HEADER_MATCH)),
    f("QueryParam", Many(QUERY_MATCH)),
    f("Methods", Texts),
];
const HEADER_MATCH: &[Field] = &[
    NAME,
    f("Present", Flag),
    f("Exact", Text),
    f("Prefix", Text),
    f("Suffix", Text),
    f("Contains", Text),
    f("Regex", Text),
    f("Invert", Flag),
    f("IgnoreCase", Flag),
];
const QUERY_MATCH: &[Field] = &[NAME, f("Present", Flag), f("Exact", Text), f("Regex", Text)];
const ROUTE_DESTINATION: &[Field] = &[
    f("Service", Text),
    f("ServiceSubset", Text),
    f("PrefixRewrite", Text),
    f("RequestTimeout", Span),
    f("IdleTimeout", Span),
    f("NumRetries", Whole),
    f("RetryOnConnectFailure", Flag),
    f("RetryOnStatusCodes", Wholes),
    f("RetryOn", Texts),
    f("RequestHeaders", One(HEADERS)),
    f("ResponseHeaders", One(HEADERS)),
];
pub(super) const SPLITTER: &[Field] = &[KIND, NAME, f("Splits", Many(SPLIT)), META];
const SPLIT: &[Field] = &[
    f("Weight", Real).always(),
    f("Service", Text),
    f("ServiceSubset", Text),
    f("RequestHeaders", One(HEADERS)),
    f("ResponseHeaders", One(HEADERS)),
];
pub(super) const RESOLVER: &[Field] = &[
    KIND,
    NAME,
    f("DefaultSubset", Text),
    f("Subsets", Named(SUBSET)),
    f("Redirect", One(REDIRECT)),
    f("Failover", Named(FAILOVER)),
    f("ConnectTimeout", Span),
    f("RequestTimeout", Span),
    f("PrioritizeByLocality", One(BY_LOCALITY)),
    f("LoadBalancer", One(BALANCER)),
    META,
];
const SUBSET: &[Field] = &[f("Filter", Text), f("OnlyPassing", Flag)];
const REDIRECT: &[Field] = &[
    f("Service", Text),
    f("ServiceSubset", Text),
    f("Datacenter", Text),
];
const FAILOVER: &[Field] = &[
    f("Service", Text),
    f("ServiceSubset", Text),
    f("Datacenters", Texts),
    f("Targets", Many(FAILOVER_TARGET)),
    f("Policy", One(POLICY)),
];
/// Peers of a target are kept: a chain leaves them out, since there are none.
const FAILOVER_TARGET: &[Field] = &[
    f("Service", Text),
    f("ServiceSubset", Text),
    f("Datacenter", Text),
    f("Peer", Text),
];
const BALANCER: &[Field] = &[
    f("Policy", Text),
    f("RingHashConfig", One(RING)),
    f("LeastRequestConfig", One(LEAST)),
    f("HashPolicies", Many(HASH)),
];
const RING: &[Field] = &[f("MinimumRingSize", Whole), f("MaximumRingSize", Whole)];
const LEAST: &[Field] = &[f("ChoiceCount", Whole)];
const HASH: &[Field] = &[
    f("Field", Text),
    f("FieldValue", Text),
    f("CookieConfig", One(COOKIE)),
    f("SourceIP", Flag),
    f("Terminal", Flag),
];
const COOKIE: &[Field] = &[f("Session", Flag), f("TTL", Nanos), f("Path", Text)];

pub(super) const INTENTIONS: &[Field] = &[
    KIND,
    NAME,
    f("Sources", Many(SOURCE)),
    f("JWT", One(JWT_RULE)),
    META,
];
const SOURCE: &[Field] = &[
    NAME,
    f("Action", Text),
    f("Permissions", Many(PERMISSION)),
    f("Precedence", Whole),
    f("Type", Text),
    f("Description", Text),
    f("LegacyID", Text),
    f("LegacyMeta", Strings),
    f("LegacyCreateTime", Text),
    f("LegacyUpdateTime", Text),
];
const PERMISSION: &[Field] = &[
    f("Action", Text),
    f("HTTP", One(PERMISSION_HTTP)),
    f("JWT", One(JWT_RULE)),
];
const PERMISSION_HTTP: &[Field] = &[
    f("PathExact", Text),
    f("PathPrefix", Text),
    f("PathRegex", Text),
    f("Header", Many(HEADER_MATCH)),
    f("Methods", Texts),
];
pub(super) const JWT_RULE: &[Field] = &[f("Providers", Many(JWT_USE))];
const JWT_USE: &[Field] = &[NAME, f("VerifyClaims", Many(CLAIM))];
const CLAIM: &[Field] = &[f("Path", Texts), f("Value", Text)];
