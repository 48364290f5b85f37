//! Other datacenters: what is asked of one of them by `?dc=` is answered from the copy of its catalog, and what is written goes on to its
//! leader, both by the same handlers. `/v1/catalog/datacenters` lists them.

use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::server_info::ServerInfo;
use http::Method;
use portolan_listener::{Action, Resource};
use portolan_registry::{Datacenter, Datacenters};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What answers for each datacenter that was asked about.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere(Mutex<BTreeMap<Arc<str>, Arc<Server>>>);

/// Paths whose requests may be meant for another datacenter. Agents answer for themselves whatever is asked, as Consul's do.
const PASSED_ON: [&str; 10] = [
    "/v1/catalog/",
    "/v1/health/",
    "/v1/kv/",
    "/v1/session/",
    "/v1/txn",
    "/v1/query",
    "/v1/status/",
    "/v1/coordinate/",
    "/v1/internal/ui/",
    "/v1/event/",
];

/// What changes a cluster or its settings is done in its own datacenter; it can be looked at from everywhere.
const LOOKED_AT: &str = "/v1/operator/";

impl Server {
    /// What answers a request that names `datacenter`; none if that is this very server.
    pub(crate) fn meant(
        &self,
        request: &Request,
        datacenter: &str,
    ) -> Result<Option<Arc<Server>>, Failure> {
        let path = request.uri_path();
        if self.is_here(datacenter) || path.starts_with("/v1/agent/") {
            return Ok(None);
        }
        let other = self.elsewhere(datacenter)?;
        let looks = path.starts_with(LOOKED_AT) && request.method() == Method::GET;
        if looks || PASSED_ON.iter().any(|begin| path.starts_with(begin)) {
            return Ok(Some(other));
        }
        Err(Failure::server(format!(
            "this is done in datacenter {:?} itself: ask a server there",
            other.info.datacenter
        )))
    }

    /// What answers for the datacenter that a body names.
    pub(crate) fn named_in(self: Arc<Self>, datacenter: &str) -> Result<Arc<Server>, Failure> {
        match self.is_here(datacenter) {
            true => Ok(self),
            false => self.elsewhere(datacenter),
        }
    }

    /// What answers for another datacenter.
    ///
    /// # Errors
    /// Consul's sentences where there is no such datacenter, or nothing is known of it yet.
    pub(crate) fn elsewhere(&self, datacenter: &str) -> Result<Arc<Server>, Failure> {
        let Some(known) = self.info.datacenters.find(datacenter) else {
            return Err(Failure::server("No path to datacenter"));
        };
        let mut made = self
            .elsewhere
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = made.get(known.name()) {
            return Ok(server.clone());
        }
        let Some(copy) = known.copy() else {
            return Err(Failure::server(
                "Remote DC has no server currently reachable",
            ));
        };
        let info = ServerInfo {
            datacenter: known.name().clone(),
            datacenters: Datacenters::default(),
            ..self.info.clone()
        };
        let server = Arc::new(Server::new(copy.clone(), info));
        made.insert(known.name().clone(), server.clone());
        Ok(server)
    }

    /// The names of all datacenters that can be asked about: this one first, then by distance.
    pub(crate) fn datacenter_names(&self) -> Vec<&str> {
        let others = self.info.datacenters.by_distance();
        let others = others
            .into_iter()
            .map(|one: &Arc<Datacenter>| &**one.name());
        std::iter::once(&*self.info.datacenter)
            .chain(others)
            .collect()
    }
}

/// GET /v1/catalog/datacenters
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    Reply::json(&server.datacenter_names())
}
