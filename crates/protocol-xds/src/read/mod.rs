//! State to resources.

pub(crate) mod assignment;
mod cache;
mod cluster;
mod listener;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_catalog::{ServiceKey, State, name};
use portolan_listener::{Action, Caller, Resource as Asked};
use portolan_registry::Registry;

use crate::client::{Client, Flavor};
use crate::kind::Kind;
use crate::names::{Meaning, Zones};
use crate::policy::Policy;
use crate::resource::Resource;
use crate::wire::endpoint::ClusterLoadAssignment;

use cache::{Cache, Form};
use routes::Table;

/// The name of a proxy's listener, and of the routes behind it.
pub(crate) const EGRESS: &str = "portolan";
/// What comes before the address in the name of a gRPC server's listener: the template that [bootstrap files](crate) give.
const SERVER: &str = "grpc/server?xds.resource.listening_address=";
/// A name longer than this is nobody's.
const NAME_BYTES: usize = 1024;

/// Renders resources, and keeps what it rendered.
#[derive(Debug)]
pub(crate) struct Reader {
    registry: Registry,
    zones: Zones,
    /// The region of instances that say none: this server's datacenter.
    region: Arc<str>,
    /// Where proxies are told to listen.
    egress: Option<SocketAddr>,
    cache: Cache,
    table: Table,
}

impl Reader {
    pub(crate) fn new(
        registry: Registry,
        zones: Zones,
        region: Arc<str>,
        egress: Option<SocketAddr>,
    ) -> Reader {
        Reader {
            registry,
            zones,
            region,
            egress,
            cache: Cache::default(),
            table: Table::default(),
        }
    }

    /// Which service a name means; none for names of resources that are of no service.
    pub(crate) fn meaning(
        &self,
        state: &State,
        client: &Client,
        kind: Kind,
        name: &str,
    ) -> Option<Meaning> {
        let own = match (kind, client.flavor) {
            (Kind::Listeners, Flavor::Envoy) => true,
            (Kind::Listeners, Flavor::Grpc) => name.starts_with(SERVER),
            (Kind::Routes, Flavor::Envoy) => name == EGRESS,
            _ => false,
        };
        (!own && name.len() <= NAME_BYTES).then(|| self.zones.meaning(state, name))
    }

    /// The resource with a name, if there is one that `caller` may see.
    pub(crate) fn resource(
        &self,
        state: &State,
        caller: &Caller,
        client: &Client,
        kind: Kind,
        name: &Arc<str>,
    ) -> Option<Arc<Resource>> {
        let Some(meaning) = self.meaning(state, client, kind, name) else {
            return self.own(state, caller, client, kind, name);
        };
        let service = &meaning.service;
        if state.service(service).is_none() || !may(caller, service) {
            return None;
        }
        Some(self.of_service(state, client, kind, name, service))
    }

    /// The names of everything of a kind that `caller` may see.
    pub(crate) fn everything(
        &self,
        state: &State,
        caller: &Caller,
        client: &Client,
        kind: Kind,
    ) -> Vec<Arc<str>> {
        match kind {
            Kind::Clusters => services(state, caller)
                .map(|key| name::flat(key).into())
                .collect(),
            Kind::Listeners if client.flavor == Flavor::Envoy && self.egress.is_some() => {
                vec![EGRESS.into()]
            }
            _ => Vec::new(),
        }
    }

    /// Whether a name is one of everything: the servers' own service is found by its name only.
    pub(crate) fn is_in_everything(&self, state: &State, kind: Kind, name: &str) -> bool {
        kind != Kind::Clusters || !state.is_own_service(&name::read_flat(name))
    }

    /// The assignment of a service that is not there.
    pub(crate) fn nobody(&self, name: &Arc<str>) -> Arc<Resource> {
        let assignment = ClusterLoadAssignment {
            cluster_name: name.to_string(),
            endpoints: Vec::new(),
        };
        Arc::new(Resource::new(Kind::Assignments, name, &assignment))
    }

    /// Notes that something about these services changed.
    pub(crate) fn changed<'a>(&self, services: impl Iterator<Item = &'a ServiceKey>) {
        self.table.changed(services);
    }

    /// Forgets everything that was rendered: nobody follows, or nobody can say what changed.
    pub(crate) fn forget(&self) {
        self.cache.forget();
        self.table.forget();
    }

    /// Instances that a resource of a service leaves out, and words that could not be understood, for people.
    pub(crate) fn remarks(&self, state: &State, service: &ServiceKey) -> Vec<String> {
        let (_, wrong) = Policy::of(state, service);
        let wrong = wrong.into_iter().map(|words| {
            format!("xDS: the metadata {words} cannot be read, and is as if it were not there")
        });
        let left_out = assignment::left_out(state, service);
        let names = (left_out > 0).then(|| {
            format!("xDS: instances without an IP address or without a port are left out of assignments: {left_out}")
        });
        names.into_iter().chain(wrong).collect()
    }

    fn own(
        &self,
        state: &State,
        caller: &Caller,
        client: &Client,
        kind: Kind,
        name: &Arc<str>,
    ) -> Option<Arc<Resource>> {
        match (kind, client.flavor) {
            (Kind::Listeners, Flavor::Grpc) => {
                let address = name.strip_prefix(SERVER)?.parse().ok()?;
                let listener = listener::of_server(name, address);
                Some(Arc::new(Resource::new(kind, name, &listener)))
            }
            (Kind::Listeners, Flavor::Envoy) if **name == *EGRESS => {
                let listener = listener::of_proxy(EGRESS, self.egress?);
                Some(Arc::new(Resource::new(kind, name, &listener)))
            }
            (Kind::Routes, Flavor::Envoy) if caller.restricted() => {
                let hosts = services(state, caller).filter_map(|key| {
                    Some(routes::host(
                        &self.zones,
                        state,
                        state.service(key)?,
                        client.flavor,
                    ))
                });
                let table = routes::table(EGRESS, hosts);
                Some(Arc::new(Resource::new(kind, name, &table)))
            }
            (Kind::Routes, Flavor::Envoy) => {
                Some(self.table.get(&self.registry, &self.zones, EGRESS))
            }
            _ => None,
        }
    }

    fn of_service(
        &self,
        state: &State,
        client: &Client,
        kind: Kind,
        name: &Arc<str>,
        service: &ServiceKey,
    ) -> Arc<Resource> {
        let form = Form {
            kind,
            flavor: client.flavor,
            place: (kind == Kind::Assignments).then(|| client.place.clone()),
            name: name.clone(),
        };
        self.cache.get(state, service, form, || {
            let (policy, _) = Policy::of(state, service);
            match kind {
                Kind::Clusters => {
                    let cluster = cluster::render(name, &policy, client.flavor);
                    Resource::new(kind, name, &cluster)
                }
                Kind::Assignments => {
                    let view = assignment::View {
                        region: &self.region,
                        client,
                        prefer: policy.prefer,
                    };
                    Resource::new(kind, name, &assignment::render(state, service, name, &view))
                }
                Kind::Listeners => {
                    let routes =
                        routes::of_service(name, &name::flat(service), &policy, client.flavor);
                    Resource::new(kind, name, &listener::of_channel(name, routes))
                }
                Kind::Routes => {
                    let routes =
                        routes::of_service(name, &name::flat(service), &policy, client.flavor);
                    Resource::new(kind, name, &routes)
                }
            }
        })
    }
}

/// The services that a caller may see among everything. The servers' own service is found by its name only.
fn services<'a>(state: &'a State, caller: &'a Caller) -> impl Iterator<Item = &'a ServiceKey> {
    let restricted = caller.restricted();
    let keys = state.services().map(|service| &service.key);
    keys.filter(move |key| !state.is_own_service(key) && (!restricted || may(caller, key)))
}

/// Whether a caller may know of a service.
pub(crate) fn may(caller: &Caller, service: &ServiceKey) -> bool {
    let namespace = match service.namespace() {
        portolan_catalog::DEFAULT => "",
        other => other,
    };
    let asked = Asked::Service {
        namespace,
        name: service.name(),
    };
    caller.may(Action::Discover, asked)
}
