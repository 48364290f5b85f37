//! What entries about gateways, the mesh as a whole and providers of tokens may say. Nothing here acts on them: they are kept for who does.

use super::schema::Shape::{Any, Flag, Many, Nanos, One, Strings, Text, Texts, Whole, Wholes};
use super::schema::{Field, Shape};
use super::services::{HEADERS, JWT_RULE, KIND, LIMITS, META, NAME, PASSIVE};

const fn f(name: &'static str, shape: Shape) -> Field {
    Field::new(name, shape)
}

const SDS: &[Field] = &[f("ClusterName", Text), f("CertResource", Text)];
const TLS: &[Field] = &[
    f("Enabled", Flag).always(),
    f("SDS", One(SDS)),
    f("TLSMinVersion", Text),
    f("TLSMaxVersion", Text),
    f("CipherSuites", Texts),
];
const SERVICE_TLS: &[Field] = &[f("SDS", One(SDS))];
pub(super) const INGRESS: &[Field] = &[
    KIND,
    NAME,
    f("TLS", One(TLS)).always(),
    f("Listeners", Many(LISTENER)).always(),
    f("Defaults", One(INGRESS_DEFAULTS)),
    META,
];
const INGRESS_DEFAULTS: &[Field] = &[
    f("MaxConnections", Whole).always(),
    f("MaxPendingRequests", Whole).always(),
    f("MaxConcurrentRequests", Whole).always(),
    f("PassiveHealthCheck", One(PASSIVE)),
];
const LISTENER: &[Field] = &[
    f("Port", Whole),
    f("Protocol", Text),
    f("TLS", One(TLS)),
    f("Services", Many(INGRESS_SERVICE)),
];
const INGRESS_SERVICE: &[Field] = &[
    NAME,
    f("Hosts", Texts),
    f("TLS", One(SERVICE_TLS)),
    f("RequestHeaders", One(HEADERS)),
    f("ResponseHeaders", One(HEADERS)),
    f("MaxConnections", Whole),
    f("MaxPendingRequests", Whole),
    f("MaxConcurrentRequests", Whole),
    f("PassiveHealthCheck", One(PASSIVE)),
    META,
];
pub(super) const TERMINATING: &[Field] = &[KIND, NAME, f("Services", Many(LINKED)).always(), META];
const LINKED: &[Field] = &[
    NAME,
    f("DisableAutoHostRewrite", Flag),
    f("CAFile", Text),
    f("CertFile", Text),
    f("KeyFile", Text),
    f("SNI", Text),
];

pub(super) const MESH: &[Field] = &[
    KIND,
    f("TransparentProxy", One(MESH_TRANSPARENT)).always(),
    f("AllowEnablingPermissiveMutualTLS", Flag),
    f("ValidateClusters", Flag),
    f("TLS", One(MESH_TLS)),
    f("HTTP", One(MESH_HTTP)),
    f("Peering", One(MESH_PEERING)),
    META,
];
const MESH_TRANSPARENT: &[Field] = &[f("MeshDestinationsOnly", Flag).always()];
const MESH_TLS: &[Field] = &[
    f("Incoming", One(DIRECTION_TLS)),
    f("Outgoing", One(DIRECTION_TLS)),
];
const DIRECTION_TLS: &[Field] = &[
    f("TLSMinVersion", Text),
    f("TLSMaxVersion", Text),
    f("CipherSuites", Texts),
];
const MESH_HTTP: &[Field] = &[
    f("SanitizeXForwardedClientCert", Flag).always(),
    f("Incoming", One(DIRECTION_HTTP)),
];
const DIRECTION_HTTP: &[Field] = &[f("RequestNormalization", One(NORMALIZATION))];
const NORMALIZATION: &[Field] = &[
    f("InsecureDisablePathNormalization", Flag),
    f("MergeSlashes", Flag),
    f("PathWithEscapedSlashesAction", Text),
    f("HeadersWithUnderscoresAction", Text),
];
const MESH_PEERING: &[Field] = &[f("PeerThroughMeshGateways", Flag)];

const CONDITIONS: &[Field] = &[f("Conditions", Many(CONDITION)).always()];
const CONDITION: &[Field] = &[
    f("Type", Text),
    f("Status", Text),
    f("Reason", Text),
    f("Message", Text),
    f("Resource", One(REFERENCE)),
    f("LastTransitionTime", Text),
];
const REFERENCE: &[Field] = &[KIND, NAME, f("SectionName", Text)];
pub(super) const API_GATEWAY: &[Field] = &[
    KIND,
    NAME,
    f("TLS", One(TLS)),
    f("Listeners", Many(API_LISTENER)).always(),
    f("Defaults", One(LIMITS)),
    f("ExtAuthz", One(ENABLED)),
    f("Status", One(CONDITIONS)).always(),
    META,
];
const ENABLED: &[Field] = &[f("Enabled", Flag).always()];
const API_LISTENER: &[Field] = &[
    NAME,
    f("Hostname", Text),
    f("Port", Whole),
    f("Protocol", Text),
    f("TLS", One(API_TLS)).always(),
    f("Override", One(API_POLICY)),
    f("Default", One(API_POLICY)),
    f("MaxRequestHeadersKB", Whole).said(),
];
const API_TLS: &[Field] = &[
    f("Certificates", Many(REFERENCE)),
    f("SDS", One(SDS)),
    f("MaxVersion", Text),
    f("MinVersion", Text),
    f("CipherSuites", Texts),
];
const API_POLICY: &[Field] = &[f("JWT", One(JWT_RULE))];
pub(super) const CERTIFICATE: &[Field] = &[
    KIND,
    NAME,
    f("Certificate", Text).always(),
    f("PrivateKey", Text).always(),
    META,
];
pub(super) const TCP_ROUTE: &[Field] = &[
    KIND,
    NAME,
    f("Parents", Many(REFERENCE)),
    f("Services", Many(TCP_SERVICE)),
    f("Status", One(CONDITIONS)).always(),
    META,
];
const TCP_SERVICE: &[Field] = &[NAME, f("TLS", One(SERVICE_TLS)), f("Limits", One(LIMITS))];
pub(super) const HTTP_ROUTE: &[Field] = &[
    KIND,
    NAME,
    f("Parents", Many(REFERENCE)),
    f("Rules", Many(HTTP_RULE)),
    f("Hostnames", Texts),
    f("Status", One(CONDITIONS)).always(),
    META,
];
const HTTP_RULE: &[Field] = &[
    f("Filters", One(HTTP_FILTERS)).always(),
    f("ResponseFilters", One(RESPONSE_FILTERS)).always(),
    f("Matches", Many(HTTP_MATCH)),
    f("Services", Many(HTTP_SERVICE)),
];
const HTTP_FILTERS: &[Field] = &[
    f("Headers", Many(HEADERS)),
    f("URLRewrite", One(REWRITE)),
    f("RetryFilter", One(RETRY)),
    f("TimeoutFilter", One(TIMEOUT)),
    f("JWT", One(JWT_RULE)),
    f("ExtProc", Any),
    f("ExtAuthz", One(ENABLED)),
];
const RESPONSE_FILTERS: &[Field] = &[f("Headers", Many(HEADERS))];
const REWRITE: &[Field] = &[f("Path", Text)];
const RETRY: &[Field] = &[
    f("NumRetries", Whole),
    f("RetryOn", Texts),
    f("RetryOnStatusCodes", Wholes),
    f("RetryOnConnectFailure", Flag),
];
const TIMEOUT: &[Field] = &[f("RequestTimeout", Nanos), f("IdleTimeout", Nanos)];
const HTTP_MATCH: &[Field] = &[
    f("Headers", Many(VALUE_MATCH)),
    f("Method", Text),
    f("Path", One(PATH_MATCH)),
    f("Query", Many(VALUE_MATCH)),
];
const VALUE_MATCH: &[Field] = &[f("Match", Text), NAME, f("Value", Text), f("Invert", Flag)];
const PATH_MATCH: &[Field] = &[f("Match", Text), f("Value", Text)];
const HTTP_SERVICE: &[Field] = &[
    NAME,
    f("Weight", Whole),
    f("Filters", One(HTTP_FILTERS)).always(),
    f("ResponseFilters", One(RESPONSE_FILTERS)).always(),
    f("TLS", One(SERVICE_TLS)),
    f("Limits", One(LIMITS)),
];

pub(super) const JWT_PROVIDER: &[Field] = &[
    KIND,
    NAME,
    f("JSONWebKeySet", One(KEY_SET)),
    f("Issuer", Text),
    f("Audiences", Texts),
    f("Locations", Many(LOCATION)),
    f("Forwarding", One(FORWARDING)),
    f("ClockSkewSeconds", Whole),
    f("CacheConfig", One(CACHE)),
    META,
];
const LOCATION: &[Field] = &[
    f("Header", One(LOCATION_HEADER)),
    f("QueryParam", One(ONLY_NAME)),
    f("Cookie", One(ONLY_NAME)),
];
const LOCATION_HEADER: &[Field] = &[NAME, f("ValuePrefix", Text), f("Forward", Flag)];
const ONLY_NAME: &[Field] = &[NAME];
const FORWARDING: &[Field] = &[f("HeaderName", Text), f("PadForwardPayloadHeader", Flag)];
const CACHE: &[Field] = &[f("Size", Whole)];
const KEY_SET: &[Field] = &[f("Local", One(LOCAL_KEYS)), f("Remote", One(REMOTE_KEYS))];
const LOCAL_KEYS: &[Field] = &[f("JWKS", Text), f("Filename", Text)];
const REMOTE_KEYS: &[Field] = &[
    f("URI", Text),
    f("RequestTimeoutMs", Whole),
    f("CacheDuration", Nanos),
    f("FetchAsynchronously", Flag),
    f("UseSNI", Flag),
    f("RetryPolicy", One(KEYS_RETRY)),
    f("JWKSCluster", One(KEYS_CLUSTER)),
];
const KEYS_RETRY: &[Field] = &[
    f("NumRetries", Whole),
    f("RetryPolicyBackOff", One(BACK_OFF)),
];
const BACK_OFF: &[Field] = &[f("BaseInterval", Nanos), f("MaxInterval", Nanos)];
const KEYS_CLUSTER: &[Field] = &[
    f("DiscoveryType", Text),
    f("TLSCertificates", One(KEYS_TLS)),
    f("ConnectTimeout", Nanos),
];
const KEYS_TLS: &[Field] = &[
    f("CaCertificateProviderInstance", Strings),
    f("TrustedCA", One(TRUSTED)),
];
const TRUSTED: &[Field] = &[
    f("Filename", Text),
    f("EnvironmentVariable", Text),
    f("InlineString", Text),
    f("InlineBytes", Text),
];
