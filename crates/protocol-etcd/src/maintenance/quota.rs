//! The quota: when the data directory is larger, a NOSPACE alarm is raised for this member, and stays until an operator lifts it.

use std::{sync::Arc, time::Duration};

use portolan_catalog::{Cause, Protocol};
use portolan_listener::ServerContext;
use tokio::time::interval;

use crate::{
    alarm,
    app::App,
    wire::etcdserverpb::{AlarmMember, AlarmType},
};

/// How often it is looked how large the data directory is, so that writes need not ask.
const ROUND: Duration = Duration::from_millis(200);

/// Keeps the data directory within the quota until the server drains.
pub(crate) async fn keep_within(app: Arc<App>, context: ServerContext) {
    let mut round = interval(ROUND);
    loop {
        tokio::select! {
            _ = round.tick() => look(&app).await,
            () = context.draining() => return,
        }
    }
}

/// Raises the alarm if it is due.
async fn look(app: &App) {
    let standing = app.standing();
    // Whoever leads speaks for itself; the others' sizes follow its own.
    if standing.bytes <= app.settings.quota_bytes || !standing.is_leader {
        return;
    }
    let own = AlarmMember {
        member_id: app.settings.member_id,
        alarm: AlarmType::Nospace as i32,
    };
    if alarm::raised(&app.registry.snapshot()).any(|raised| raised == own) {
        return;
    }
    let cause = Cause::call(Protocol::Etcd, None);
    match app.registry.propose(cause, alarm::raise(&own)).await {
        Ok(_) => tracing::warn!(
            bytes = standing.bytes,
            quota = app.settings.quota_bytes,
            "the data directory is larger than --etcd-quota-backend-bytes: etcd writes are refused until the alarm is lifted"
        ),
        Err(error) => tracing::debug!(%error, "the alarm is raised the next time"),
    }
}
