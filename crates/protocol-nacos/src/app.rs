//! What every call needs: the registry, who this server says it is, and who follows what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_access::AccessControl;
use portolan_catalog::{Command, Done, NodeName, Refusal, ServiceKey};
use portolan_listener::{Action, Caller, Denied, Metrics, Resource};
use portolan_registry::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::auth::{Auth, permission};
use crate::error::Problem;
use crate::names::ServiceName;
use crate::watch::connections::Connections;
use crate::watch::hub::Hub;
use crate::watch::udp::UdpPush;

/// Who this server says it is, and what it allows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's node: it runs the health checks of persistent instances that it registered.
    pub node: NodeName,
    /// The version that is claimed. Default `3.0.3`.
    pub version: String,
    /// Bytes of a configuration's content. Default 10 MiB.
    pub content_bytes: usize,
    /// How long a pushed change may stay unacknowledged before it is pushed again. Default 5 s.
    pub push_timeout: Duration,
    /// How long a connection may be silent before it is asked for a sign of life; a quarter of it later it is closed. Default 20 s.
    pub idle_timeout: Duration,
    /// gRPC connections. Default 20,000.
    pub connections: usize,
    /// Services and configurations that one connection follows. Default 100,000.
    pub watched: usize,
    /// Clients of 1.x that are told of changes by UDP. Default 10,000.
    pub udp_clients: usize,
    /// Who may do what; none where nobody is asked. Default none.
    pub access: Option<AccessControl>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            node: NodeName::new("portolan"),
            version: "3.0.3".to_owned(),
            content_bytes: 10 << 20,
            push_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            connections: 20_000,
            watched: 100_000,
            udp_clients: 10_000,
            access: None,
        }
    }
}

/// The Nacos front end of one server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) auth: Auth,
    pub(crate) settings: Settings,
    /// The HTTP port, as clients know it.
    pub(crate) address: SocketAddr,
    pub(crate) hub: Arc<Hub>,
    pub(crate) connections: Connections,
    pub(crate) udp: UdpPush,
    pub(crate) gauges: Gauges,
}

/// What is counted beside the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) connections: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) listens: Gauge,
    pub(crate) pushes: Counter,
    pub(crate) repeated: Counter,
    pub(crate) udp_pushes: Counter,
    pub(crate) limited: Counter,
}

impl Gauges {
    pub(crate) fn register(&self, metrics: &Metrics) {
        let Gauges {
            connections,
            subscriptions,
            listens,
            pushes,
            repeated,
            udp_pushes,
            limited,
        } = self.clone();
        metrics.register(
            "nacos_connections",
            "gRPC connections that were set up",
            connections,
        );
        metrics.register(
            "nacos_subscriptions",
            "services that gRPC connections subscribe to",
            subscriptions,
        );
        metrics.register(
            "nacos_listens",
            "configurations that gRPC connections listen to",
            listens,
        );
        metrics.register("nacos_pushes", "changes pushed over gRPC", pushes);
        metrics.register(
            "nacos_repeated_pushes",
            "pushes that were not acknowledged in time",
            repeated,
        );
        metrics.register("nacos_udp_pushes", "changes pushed by UDP", udp_pushes);
        metrics.register(
            "nacos_limited",
            "connections, subscriptions and UDP clients beyond a bound",
            limited,
        );
    }
}

impl App {
    /// What a command of `caller` did.
    pub(crate) async fn settle(&self, caller: &Caller, command: Command) -> Result<Done, Problem> {
        let settled = self.registry.propose(caller.call_cause(), command).await?;
        settled.outcome.map_err(|refusal: Refusal| refusal.into())
    }

    /// Asks whether `caller` may do `action` to a service: by a rule about services, or by a permission of Nacos'.
    pub(crate) fn allow_service(
        &self,
        caller: &Caller,
        action: Action,
        service: &ServiceKey,
    ) -> Result<(), Denied> {
        let resource = Resource::Service {
            namespace: service.namespace(),
            name: service.name(),
        };
        if !self.auth.has_permissions() || caller.may(action, resource) {
            return caller.allow(action, resource);
        }
        let permitted = Resource::Record {
            keyspace: permission::NAMING,
            key: &permission::service(service),
        };
        match caller.may(action, permitted) {
            true => Ok(()),
            false => caller.allow(action, resource),
        }
    }

    /// Asks whether `caller` may do `action` to every service of a group; of every group and namespace for none.
    pub(crate) fn allow_group(
        &self,
        caller: &Caller,
        action: Action,
        group: Option<(&str, &str)>,
    ) -> Result<(), Denied> {
        if !self.auth.has_permissions() || caller.may(action, Resource::Services) {
            return caller.allow(action, Resource::Services);
        }
        let prefix = group.map(|(namespace, group)| {
            // As a service of that group is called.
            let key = ServiceName::new(namespace, group, "any").map(|name| name.key);
            key.map(|key| permission::group(key.namespace(), key.group()))
        });
        let prefix = match prefix {
            None => Vec::new(),
            Some(Ok(prefix)) => prefix,
            // There is no such group.
            Some(Err(_)) => return caller.allow(action, Resource::Services),
        };
        let permitted = Resource::Prefix {
            keyspace: permission::NAMING,
            prefix: &prefix,
        };
        match caller.may(action, permitted) {
            true => Ok(()),
            false => caller.allow(action, Resource::Services),
        }
    }
}

/// Asks whether `caller` may do `action` to a configuration.
pub(crate) fn allow_config(caller: &Caller, action: Action, key: &[u8]) -> Result<(), Denied> {
    caller.allow(
        action,
        Resource::Record {
            keyspace: "nacos-config",
            key,
        },
    )
}
