//! What every call needs: the registry, what the server is set to, and what is counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portolan_catalog::{Cause, Command, Why};
use portolan_catalog::{Done, Expect, Op, Put, Record, State, Write};
use portolan_listener::{Action, Authenticator, Caller, Denied, Metrics, Resource};
use portolan_registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::kind::{ADDRESSES, Kind, NAMESPACES, RANGES, SERVICES, SPACE};
use crate::object;
use crate::ranges::Ranges;

/// How the API is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses that Services get. Default `10.96.0.0/16`.
    pub service_range: ServiceRange,
    /// Ports that Services of type NodePort get. Default 30000 to 32767.
    pub node_ports: PortRange,
    /// Bytes of an object. Default 1.5 MiB.
    pub object_bytes: usize,
    /// Watches that are open at a time. Default 20,000.
    pub watches: usize,
    /// Where clients reach this server, for the service `kubernetes`; the port's own address if not given.
    pub advertise: Option<IpAddr>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            service_range: ServiceRange::default(),
            node_ports: PortRange::default(),
            object_bytes: 3 << 19,
            watches: 20_000,
            advertise: None,
        }
    }
}

pub use crate::ranges::{PortRange, ServiceRange};

/// The Kubernetes front end of one server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) ranges: Ranges,
    /// The port, as clients know it.
    pub(crate) address: SocketAddr,
    pub(crate) gauges: Gauges,
    /// Who tells whose a token is; none without access control.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
}

/// What is counted beside the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) watches: Gauge,
    pub(crate) limited: Counter,
    pub(crate) events: Counter,
    pub(crate) reconciled: Counter,
    pub(crate) failed: Counter,
}

impl Gauges {
    pub(crate) fn register(&self, metrics: &Metrics) {
        let Gauges {
            watches,
            limited,
            events,
            reconciled,
            failed,
        } = self.clone();
        metrics.register("kubernetes_watches", "watches that are open", watches);
        metrics.register(
            "kubernetes_limited",
            "watches refused because too many were open",
            limited,
        );
        metrics.register(
            "kubernetes_watch_events",
            "events that watches were sent",
            events,
        );
        metrics.register(
            "kubernetes_reconciled",
            "services whose endpoints were worked out again",
            reconciled,
        );
        metrics.register(
            "kubernetes_reconcile_failures",
            "services whose endpoints could not be written, to be tried again",
            failed,
        );
    }
}

/// Namespaces that are there from the beginning.
pub(crate) const FIRST: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

impl App {
    /// Whether the API was used in this catalog.
    pub(crate) fn is_awake(state: &State) -> bool {
        state.record(SPACE, &NAMESPACES.key("", FIRST[0])).is_some()
    }

    /// The first request of a catalog's life makes what a cluster has from the beginning; a catalog nobody asks through this API has none
    /// of it.
    pub(crate) async fn wake(&self) -> Result<(), Failure> {
        if self.registry.read(App::is_awake) {
            return Ok(());
        }
        let created = object::time(self.registry.now());
        let mut ops = Vec::new();
        let mut add = |kind: &Kind, namespace: &str, object: Value| {
            let name = object::meta(&object, "name").to_owned();
            ops.push(put(kind, namespace, &name, &object, Expect::Absent));
        };
        let meta =
            |name: &str| json!({"name": name, "uid": object::uid(), "creationTimestamp": created});
        for name in FIRST {
            let mut metadata = meta(name);
            metadata["labels"] = json!({"kubernetes.io/metadata.name": name});
            let namespace = json!({"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
            add(&NAMESPACES, "", namespace);
        }
        let mut range = meta("kubernetes");
        range["name"] = "kubernetes".into();
        add(
            &RANGES,
            "",
            json!({"metadata": range, "spec": {"cidrs": [self.ranges.addresses.to_string()]}}),
        );
        let own = self.ranges.addresses.first().to_string();
        let mut metadata = meta("kubernetes");
        metadata["namespace"] = "default".into();
        metadata["labels"] = json!({"component": "apiserver", "provider": "kubernetes"});
        let family = if own.contains(':') { "IPv6" } else { "IPv4" };
        add(
            &SERVICES,
            "default",
            json!({"metadata": metadata, "spec": {
                "clusterIP": own, "clusterIPs": [own], "internalTrafficPolicy": "Cluster", "ipFamilies": [family],
                "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "type": "ClusterIP",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": self.address.port()}],
            }, "status": {"loadBalancer": {}}}),
        );
        add(
            &ADDRESSES,
            "",
            crate::service::address_object(&own, "default", "kubernetes", &created),
        );
        let write = Write {
            then: ops,
            ..Write::default()
        };
        let settled = self
            .registry
            .propose(Cause::own(Why::Start), Command::Write(write))
            .await?;
        // Another server may have been first.
        match settled.outcome {
            Ok(_) | Err(portolan_catalog::Refusal::Exists) => Ok(()),
            Err(refusal) => Err(Failure::refused(&refusal, &NAMESPACES, FIRST[0])),
        }
    }

    /// What a write of `caller` did.
    pub(crate) async fn settle(
        &self,
        caller: &Caller,
        ops: Vec<Op>,
    ) -> Result<Result<Done, portolan_catalog::Refusal>, Failure> {
        let write = Write {
            then: ops,
            ..Write::default()
        };
        let command = Command::Write(write);
        Ok(self
            .registry
            .propose(caller.call_cause(), command)
            .await?
            .outcome)
    }
}

/// The operation that puts an object, with the instances that others see in it.
pub(crate) fn put(kind: &Kind, namespace: &str, name: &str, object: &Value, expect: Expect) -> Op {
    Op::Put(Box::new(Put {
        expect,
        recognised: crate::instances::recognise(kind, namespace, name, object),
        ..Put::new(
            SPACE,
            kind.key(namespace, name),
            object::encode(kind, object),
        )
    }))
}

/// The operation that removes an object.
pub(crate) fn delete(kind: &Kind, namespace: &str, name: &str, expect: Expect) -> Op {
    Op::Delete {
        space: SPACE,
        range: portolan_catalog::KeyRange::One(kind.key(namespace, name)),
        expect,
    }
}

/// An object's record.
pub(crate) fn record<'a>(
    state: &'a State,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Option<&'a Arc<Record>> {
    state.record(SPACE, &kind.key(namespace, name))
}

/// Asks whether `caller` may do `action` to an object.
pub(crate) fn allow(
    caller: &Caller,
    action: Action,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<(), Denied> {
    caller.allow(
        action,
        Resource::Record {
            keyspace: SPACE.as_str(),
            key: &kind.key(namespace, name),
        },
    )
}

/// Asks whether `caller` may see what a list or watch selects: one object, where it is selected by its name, else all of them.
pub(crate) fn allow_selected(
    caller: &Caller,
    action: Action,
    kind: &Kind,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<(), Denied> {
    match (name, namespace, kind.namespaced) {
        (Some(name), Some(namespace), true) => allow(caller, action, kind, namespace, name),
        (Some(name), _, false) => allow(caller, action, kind, "", name),
        _ => allow_all(caller, action, kind, namespace),
    }
}

/// Asks whether `caller` may do `action` to the objects of a kind, or of one of its namespaces.
pub(crate) fn allow_all(
    caller: &Caller,
    action: Action,
    kind: &Kind,
    namespace: Option<&str>,
) -> Result<(), Denied> {
    let range = kind.range(namespace);
    let end: &[u8] = match &range {
        portolan_catalog::KeyRange::Between(_, end) => end,
        _ => &[],
    };
    caller.allow(
        action,
        Resource::Range {
            keyspace: SPACE.as_str(),
            start: range.start(),
            end,
        },
    )
}
