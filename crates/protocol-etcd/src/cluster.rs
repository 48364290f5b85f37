//! The Maintenance service: what this server says of itself.

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Resource};

use crate::{
    alarm,
    app::{App, allow},
    asker::Asker,
    error::Failure,
    grpc,
    wire::etcdserverpb::{AlarmType, DowngradeInfo, StatusRequest, StatusResponse},
};

pub(crate) async fn status(
    app: Arc<App>,
    caller: Asker,
    _: StatusRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Operator)?;
    app.who(&caller)?.is_known()?;
    let state = app.registry.snapshot();
    let standing = app.standing();
    let mut errors = Vec::new();
    if !standing.has_leader {
        errors.push("etcdserver: no leader".to_owned());
    }
    for alarm in alarm::all(&app, &state) {
        let kind = AlarmType::try_from(alarm.alarm).unwrap_or_default();
        errors.push(format!(
            "memberID:{} alarm:{} ",
            alarm.member_id,
            kind.as_str_name()
        ));
    }
    let size = standing.bytes as i64;
    let response = StatusResponse {
        header: Some(app.header(state.revision())),
        version: app.settings.version.clone(),
        db_size: size,
        db_size_in_use: size,
        leader: if standing.has_leader { leader(&app) } else { 0 },
        raft_index: standing.committed,
        raft_applied_index: standing.applied,
        raft_term: standing.term,
        errors,
        is_learner: app
            .registry
            .members()
            .iter()
            .any(|server| server.own && !server.voter),
        storage_version: storage_version(&app.settings.version),
        db_size_quota: i64::try_from(app.settings.quota_bytes).unwrap_or(i64::MAX),
        downgrade_info: Some(DowngradeInfo::default()),
    };
    Ok(grpc::frame(&response))
}

/// The id of whoever leads; alone, this server leads or nobody does.
fn leader(app: &App) -> u64 {
    let servers = app.registry.members();
    let leader = servers.iter().find(|server| server.leader);
    match leader {
        Some(leader) if servers.len() > 1 => leader.node,
        _ => app.settings.member_id,
    }
}

/// The version of the storage format that goes with a version: the same without its patch level.
pub(crate) fn storage_version(version: &str) -> String {
    let mut parts = version.split('.');
    format!(
        "{}.{}.0",
        parts.next().unwrap_or("3"),
        parts.next().unwrap_or("7")
    )
}
