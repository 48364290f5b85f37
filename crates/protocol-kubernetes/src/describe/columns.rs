//! The columns of each kind and how their cells are worded, as the API server words them.

use portolan_catalog::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use crate::kind::Kind;
use crate::object::{items, meta, text};

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    kind: &'static str,
    /// Above 0: only with `-o wide`.
    priority: u8,
}

impl Column {
    pub(crate) fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": if self.name == "Name" && self.priority == 0 { "name" } else { "" },
            "description": "",
            "priority": self.priority,
        })
    }
}

const fn column(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 0,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        kind: "integer",
        ..column(name)
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name)
    }
}

const NAME: Column = column("Name");
const AGE: Column = column("Age");
const SERVICE: &[Column] = &[
    NAME,
    column("Type"),
    column("Cluster-IP"),
    column("External-IP"),
    column("Port(s)"),
    AGE,
    wide("Selector"),
];
const ENDPOINTS: &[Column] = &[NAME, column("Endpoints"), AGE];
const SLICE: &[Column] = &[
    NAME,
    column("AddressType"),
    column("Ports"),
    column("Endpoints"),
    AGE,
];
const POD: &[Column] = &[
    NAME,
    column("Ready"),
    column("Status"),
    column("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];
const NODE: &[Column] = &[
    NAME,
    column("Status"),
    column("Roles"),
    AGE,
    column("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
const NAMESPACE: &[Column] = &[NAME, column("Status"), AGE];
const CONFIG_MAP: &[Column] = &[NAME, number("Data"), AGE];
const SECRET: &[Column] = &[NAME, column("Type"), number("Data"), AGE];
const LEASE: &[Column] = &[NAME, column("Holder"), AGE];
const EVENT: &[Column] = &[
    column("Last Seen"),
    column("Type"),
    column("Reason"),
    column("Object"),
    wide("Subobject"),
    wide("Source"),
    column("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];
const ADDRESS: &[Column] = &[NAME, column("ParentRef")];
const RANGE: &[Column] = &[NAME, column("CIDRs"), AGE];
const OTHER: &[Column] = &[NAME, AGE];

/// A kind's columns.
pub(crate) fn columns(kind: &Kind) -> &'static [Column] {
    match kind.kind {
        "Service" => SERVICE,
        "Endpoints" => ENDPOINTS,
        "EndpointSlice" => SLICE,
        "Pod" => POD,
        "Node" => NODE,
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "Lease" => LEASE,
        "Event" => EVENT,
        "IPAddress" => ADDRESS,
        "ServiceCIDR" => RANGE,
        _ => OTHER,
    }
}

/// An object's cells, as many as its kind has columns.
pub(crate) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = json!(meta(object, "name"));
    let age = json!(since(meta(object, "creationTimestamp"), now));
    match kind.kind {
        "Service" => service(object, name, age),
        "Endpoints" => vec![name, json!(endpoints(object)), age],
        "EndpointSlice" => vec![
            name,
            object["addressType"].clone(),
            json!(slice_ports(object)),
            json!(slice_endpoints(object)),
            age,
        ],
        "Pod" => pod(object, name, age, now),
        "Node" => node(object, name, age),
        "Namespace" => vec![name, json!(text(object, "/status/phase")), age],
        "ConfigMap" | "Secret" => {
            let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
            let data = json!(count("data") + count("binaryData"));
            match kind.kind {
                "Secret" => vec![name, json!(text(object, "/type")), data, age],
                _ => vec![name, data, age],
            }
        }
        "Lease" => vec![name, json!(text(object, "/spec/holderIdentity")), age],
        "Event" => event(object, name, now),
        "IPAddress" => {
            let parent = &object["spec"]["parentRef"];
            let field = |name: &str| parent[name].as_str().unwrap_or_default();
            vec![
                name,
                json!(format!(
                    "{}/{}/{}",
                    field("resource"),
                    field("namespace"),
                    field("name")
                )),
            ]
        }
        "ServiceCIDR" => vec![name, json!(joined(items(object, "/spec/cidrs"))), age],
        _ => vec![name, age],
    }
}

fn joined(values: &[Value]) -> String {
    let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    texts.join(",")
}

fn or_none(text: String) -> String {
    match text.is_empty() {
        true => "<none>".into(),
        false => text,
    }
}

fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let own = items(spec, "/clusterIPs").first().and_then(Value::as_str);
    let cluster = own
        .or_else(|| spec["clusterIP"].as_str().filter(|ip| !ip.is_empty()))
        .unwrap_or("<none>");
    let external = joined(items(spec, "/externalIPs"));
    let external = match kind {
        "ExternalName" => text(spec, "/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = items(object, "/status/loadBalancer/ingress").iter();
            let mut all: Vec<String> = ingress
                .map(|one| match text(one, "/ip") {
                    "" => text(one, "/hostname").to_owned(),
                    ip => ip.to_owned(),
                })
                .collect();
            if all.is_empty() && external.is_empty() {
                all.push("<pending>".into());
            }
            if !external.is_empty() {
                all.push(external);
            }
            all.join(",")
        }
        _ => or_none(external),
    };
    let ports: Vec<String> = items(spec, "/ports")
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_u64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    let selector = spec["selector"].as_object().into_iter().flatten();
    let selector: Vec<String> = selector
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        name,
        json!(kind),
        json!(cluster),
        json!(external),
        json!(or_none(ports.join(","))),
        age,
        json!(or_none(selector.join(","))),
    ]
}

/// Endpoints named in a cell; of more the number.
const NAMED: usize = 3;

fn more(mut all: Vec<String>) -> String {
    let count = all.len();
    all.truncate(NAMED);
    let text = all.join(",");
    match count > NAMED {
        true => format!("{text} + {} more...", count - NAMED),
        false => text,
    }
}

fn endpoints(object: &Value) -> String {
    let subsets = items(object, "/subsets");
    let mut all = Vec::new();
    for subset in subsets {
        let ports = items(subset, "/ports");
        for address in items(subset, "/addresses") {
            let ip = text(address, "/ip");
            let host = if ip.contains(':') {
                format!("[{ip}]")
            } else {
                ip.to_owned()
            };
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{host}:{}", port["port"])));
        }
    }
    or_none(more(all))
}

fn slice_ports(object: &Value) -> String {
    let ports = items(object, "/ports");
    if ports.is_empty() {
        return "<unset>".into();
    }
    more(
        ports
            .iter()
            .map(|port| match (port["port"].as_u64(), text(port, "/name")) {
                (Some(number), _) => number.to_string(),
                (None, "") => "*".into(),
                (None, name) => name.to_owned(),
            })
            .collect(),
    )
}

fn slice_endpoints(object: &Value) -> String {
    let all = items(object, "/endpoints").iter();
    let all: Vec<String> = all
        .flat_map(|one| items(one, "/addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    match all.is_empty() {
        true => "<unset>".into(),
        false => more(all),
    }
}

fn pod(object: &Value, name: Value, age: Value, now: Timestamp) -> Vec<Value> {
    let statuses = items(object, "/status/containerStatuses");
    let total = items(object, "/spec/containers").len();
    let ready = statuses.iter().filter(|one| one["ready"] == true).count();
    let restarts: u64 = statuses
        .iter()
        .filter_map(|one| one["restartCount"].as_u64())
        .sum();
    let mut reason = match text(object, "/status/reason") {
        "" => text(object, "/status/phase"),
        reason => reason,
    };
    for one in statuses {
        for pointer in ["/state/waiting/reason", "/state/terminated/reason"] {
            let own = text(one, pointer);
            if !own.is_empty() {
                reason = own;
            }
        }
    }
    if !meta(object, "deletionTimestamp").is_empty() {
        reason = "Terminating";
    }
    let restarted = statuses
        .iter()
        .map(|one| text(one, "/lastState/terminated/finishedAt"))
        .max()
        .filter(|at| !at.is_empty() && restarts > 0)
        .map(|at| format!("{restarts} ({} ago)", since(at, now)));
    let none = |text: &str| json!(or_none(text.to_owned()));
    vec![
        name,
        json!(format!("{ready}/{total}")),
        json!(if reason.is_empty() { "Unknown" } else { reason }),
        json!(restarted.unwrap_or_else(|| restarts.to_string())),
        age,
        none(text(object, "/status/podIP")),
        none(text(object, "/spec/nodeName")),
        none(text(object, "/status/nominatedNodeName")),
        json!("<none>"),
    ]
}

fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let conditions = items(object, "/status/conditions");
    let ready = conditions.iter().find(|one| one["type"] == "Ready");
    let mut status = match ready.map(|one| text(one, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten();
    let roles: Vec<&str> = labels
        .filter_map(|(name, value)| {
            let role = name.strip_prefix("node-role.kubernetes.io/");
            let old = (name == "kubernetes.io/role")
                .then(|| value.as_str())
                .flatten();
            role.filter(|role| !role.is_empty()).or(old)
        })
        .collect();
    let address = |kind: &str| {
        let all = items(object, "/status/addresses").iter();
        let found = all.into_iter().find(|one| one["type"] == kind);
        or_none(
            found
                .map(|one| text(one, "/address").to_owned())
                .unwrap_or_default(),
        )
    };
    let info = |field: &str| {
        let text = text(object, &format!("/status/nodeInfo/{field}"));
        match text {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        }
    };
    vec![
        name,
        json!(status),
        json!(or_none(roles.join(","))),
        age,
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

fn event(object: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let first_of = |pointers: &[&str]| {
        let found = pointers.iter().map(|pointer| text(object, pointer));
        found
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let about = match object["involvedObject"].is_object() {
        true => &object["involvedObject"],
        false => &object["regarding"],
    };
    let last = first_of(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
    ]);
    let first = first_of(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let source = first_of(&[
        "/source/component",
        "/reportingComponent",
        "/reportingController",
    ]);
    let count = ["count", "deprecatedCount"]
        .iter()
        .find_map(|field| object[*field].as_u64());
    let count = object["series"]["count"].as_u64().or(count).unwrap_or(1);
    let kind = text(about, "/kind").to_ascii_lowercase();
    vec![
        json!(since(last, now)),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(format!("{kind}/{}", text(about, "/name"))),
        json!(text(about, "/fieldPath")),
        json!(source),
        json!(first_of(&["/message", "/note"]).trim()),
        json!(since(first, now)),
        json!(count.to_string()),
        name,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{KINDS, SERVICES, SLICES};

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in KINDS {
            let cells = cells(kind, &json!({}), Timestamp(0));
            assert_eq!(cells.len(), columns(kind).len(), "{}", kind.kind);
        }
    }

    #[test]
    fn services_and_slices_read_as_in_kubectl() {
        let object = json!({
            "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "selector": {"app": "web"},
                     "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
        });
        assert_eq!(
            json!(cells(&SERVICES, &object, Timestamp(0))),
            json!([
                "web",
                "NodePort",
                "10.96.0.9",
                "<none>",
                "80:30080/TCP,53/UDP",
                "<unknown>",
                "app=web"
            ])
        );
        let endpoints: Vec<Value> = (1..=5)
            .map(|n| json!({"addresses": [format!("10.0.0.{n}")]}))
            .collect();
        let object = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}], "endpoints": endpoints});
        assert_eq!(
            json!(cells(&SLICES, &object, Timestamp(0))),
            json!([
                "s",
                "IPv4",
                "80,x",
                "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...",
                "<unknown>"
            ])
        );
    }
}
