//! Which instance somebody means: `origin:id`, an id within a service, or `host:port`.

use std::sync::Arc;

use portolan_catalog::endpoint::split_host_port;
use portolan_catalog::{Host, Instance, InstanceKey, ServiceKey, State};

use crate::error::Failure;

/// Whether `text` means this row.
pub(crate) fn means(text: &str, row: &Instance) -> bool {
    let key = &row.key;
    InstanceKey::parse(text).is_some_and(|parsed| parsed == *key)
        || *key.id == *text
        || key.local() == text
        || split_host_port(text)
            .is_some_and(|(host, port)| row.endpoint.host == host && row.endpoint.port() == port)
        || row.endpoint.host == Host::new(text)
}

/// The one row that `text` means, in a service if one is given.
///
/// Twins are one: whichever is named first stands for them where the whole endpoint is meant.
pub(crate) fn find(
    state: &State,
    service: Option<&ServiceKey>,
    text: &str,
) -> Result<Arc<Instance>, Failure> {
    if let Some(row) = InstanceKey::parse(text).and_then(|key| state.instance(&key)) {
        return Ok(row.clone());
    }
    let found: Vec<Arc<Instance>> = match service {
        Some(service) => state
            .instances(service)
            .filter(|row| means(text, row))
            .cloned()
            .collect(),
        None => state
            .all_instances()
            .filter(|row| means(text, row))
            .take(10)
            .cloned()
            .collect(),
    };
    let within = service
        .map(|service| format!(" of service \"{service}\""))
        .unwrap_or_default();
    let Some(first) = found.first() else {
        return Err(Failure::not_found(format!(
            "there is no instance {text:?}{within}"
        )));
    };
    let same = |row: &Arc<Instance>| row.service == first.service && row.endpoint == first.endpoint;
    if !found.iter().all(same) {
        let ids: Vec<String> = found.iter().map(|row| row.key.to_string()).collect();
        return Err(Failure::conflict(
            "ambiguous",
            format!(
                "{text:?} is several instances: {}; name one of them",
                ids.join(", ")
            ),
        ));
    }
    // An exact id is meant more than a twin at the same address.
    let exact = found
        .iter()
        .find(|row| *row.key.id == *text || row.key.local() == text);
    Ok(exact.unwrap_or(first).clone())
}
