//! The state of another service: the worst of its checks and its node's, and what operators said about the two.

use portolan_catalog::{Admin, AdminStatus, CheckKey, InstanceKey, NodeName, State, Status};

use super::Finding;

/// What an alias of `service` on `node` shows now. The alias itself, `own`, does not count.
pub(super) fn alias(state: &State, own: &CheckKey, node: &NodeName, service: &str) -> Finding {
    let target = (!service.is_empty()).then(|| InstanceKey::consul(node, service));
    if let Some(order) = taken_out(state, node, target.as_ref()) {
        return Finding::critical(format!("Aliased check \"{order}\" failing: "));
    }
    let of_service = target.iter().flat_map(|key| state.checks_of(key));
    let all = state
        .node_checks(node)
        .chain(of_service)
        .filter(|check| check.key != *own);
    let mut found = false;
    let mut worst: Option<&portolan_catalog::Check> = None;
    for check in all {
        found = true;
        let worse = worst.is_none_or(|w| check.status > w.status);
        if check.status != Status::Passing && worse {
            worst = Some(check);
        }
    }
    match worst {
        Some(check) => Finding {
            status: check.status,
            output: format!("Aliased check \"{}\" failing: {}", check.name, check.output),
        },
        None if target.is_some_and(|key| state.instance(&key).is_none()) => Finding::critical(
            format!("Service {service} could not be found on node {node}"),
        ),
        None if found => Finding::passing("All checks passing."),
        None => Finding::passing("No checks found."),
    }
}

/// The name of the check that shows who was taken out of service, the node or the instance, if either was.
fn taken_out(state: &State, node: &NodeName, target: Option<&InstanceKey>) -> Option<&'static str> {
    let out = |admin: Option<&Admin>| match admin?.status {
        AdminStatus::Up => None,
        AdminStatus::OutOfService | AdminStatus::Draining => Some("Service Maintenance Mode"),
        AdminStatus::Down => Some("Service Status Override"),
    };
    if out(state.node(node).and_then(|node| node.admin.as_deref())).is_some() {
        return Some("Node Maintenance Mode");
    }
    out(state.instance(target?)?.admin.as_deref())
}
