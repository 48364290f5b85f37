//! State to Consul's rows: what is shown, and how it looks.

mod checks;
mod nodes;
mod services;

use crate::server_info::ServerInfo;
use crate::sight::Sight;
use portolan_catalog::{
    EndpointRow, Instance, InstanceKey, LookupKind, NodeName, Protocol, ServiceKey, State,
    name::flat_spelled,
};
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use checks::aggregated;
pub(crate) use nodes::SERF_HEALTH;
pub(crate) use services::Flavour;

/// A snapshot as Consul shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) state: &'a State,
    pub(crate) info: &'a ServerInfo,
    /// Who looks, if they may not see everything.
    pub(crate) sight: Option<&'a Sight>,
}

/// Rows Consul calls its own: its registrations, and the server's own service.
pub(crate) fn is_own(instance: &Instance) -> bool {
    matches!(instance.key.origin, Protocol::Consul | Protocol::Portolan)
}

/// The `ServiceID` of a row: its own, or `origin:id` for a row born elsewhere.
pub(crate) fn service_id(instance: &Instance) -> Cow<'_, str> {
    if is_own(instance) {
        Cow::Borrowed(instance.key.local())
    } else {
        Cow::Owned(instance.key.to_string())
    }
}

/// The service's name as the row's registrant spelled it, with group and namespace where it has them.
pub(crate) fn service_name(instance: &Instance) -> Cow<'_, str> {
    let plain = instance.service.namespace() == portolan_catalog::DEFAULT
        && instance.service.group() == portolan_catalog::DEFAULT
        && !instance.spelling.contains("--");
    if plain {
        Cow::Borrowed(&instance.spelling)
    } else {
        Cow::Owned(flat_spelled(&instance.service, &instance.spelling))
    }
}

impl<'a> Shown<'a> {
    /// The rows of one endpoint: Consul's own if it has any, else the endpoint once.
    pub(crate) fn rows_of_endpoint(
        self,
        row: &'a EndpointRow,
    ) -> impl Iterator<Item = &'a Arc<Instance>> {
        row.shown_to(is_own)
    }

    /// The rows of a service, by node and id.
    pub(crate) fn rows_of(self, service: &ServiceKey) -> Vec<&'a Arc<Instance>> {
        let mut rows: Vec<_> = self
            .state
            .endpoints(service)
            .flat_map(|row| self.rows_of_endpoint(row))
            .filter(|row| self.sees_row(row))
            .collect();
        rows.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.key.cmp(&b.key)));
        rows
    }

    /// The proxies and connect-native instances that stand for a service of this name.
    pub(crate) fn connected(self, service: &str) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.state
            .lookup(LookupKind::Connect, &service.to_ascii_lowercase())
            .filter(move |row| self.sees_row(row))
    }

    /// The rows of all services that whoever looks may see.
    pub(crate) fn all_rows(self) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.state
            .all_endpoints()
            .flat_map(move |row| self.rows_of_endpoint(row))
            .filter(move |row| self.sees_service(row))
    }

    /// Whether a row is shown at all.
    pub(crate) fn is_shown(self, instance: &Instance) -> bool {
        is_own(instance)
            || self.state.endpoint_of(instance).is_some_and(|row| {
                self.rows_of_endpoint(row)
                    .any(|shown| shown.key == instance.key)
            })
    }

    /// The rows on a node, by id.
    pub(crate) fn rows_on(self, node: &NodeName) -> Vec<&'a Arc<Instance>> {
        self.there_on(node)
            .filter(|instance| self.sees_service(instance))
            .collect()
    }

    /// The rows on a node, whoever looks.
    fn there_on(self, node: &NodeName) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.state
            .instances_on(node)
            .filter(move |instance| self.is_shown(instance))
    }

    /// The row with a service id on a node.
    pub(crate) fn row(self, node: &NodeName, id: &str) -> Option<&'a Arc<Instance>> {
        let own = self.state.instance(&InstanceKey::consul(node, id));
        let server = || {
            let key = InstanceKey::new(Protocol::Portolan, InstanceKey::consul(node, id).id);
            self.state.instance(&key)
        };
        let foreign = || self.foreign(id).filter(|instance| instance.node == *node);
        own.or_else(server).or_else(foreign)
    }

    /// The row born elsewhere with the id `origin:id`.
    pub(crate) fn foreign(self, id: &str) -> Option<&'a Arc<Instance>> {
        let key = InstanceKey::parse(id).filter(|key| key.origin != Protocol::Consul)?;
        self.state.instance(&key)
    }
}
