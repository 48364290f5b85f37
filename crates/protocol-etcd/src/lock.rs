//! The Lock service.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Key, Keyspace};
use portolan_listener::Action;
use portolan_registry::Registry;

use crate::{
    app::App,
    asker::Asker,
    error::{Failure, SESSION_EXPIRED},
    grpc, kv,
    queue::{self, Waiter, without_code},
    wire::{
        etcdserverpb::DeleteRangeRequest,
        v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
    },
};

pub(crate) async fn lock(
    app: Arc<App>,
    caller: Asker,
    request: LockRequest,
) -> Result<Bytes, Failure> {
    acquire(&app, &caller, request).await.map_err(without_code)
}

async fn acquire(app: &Arc<App>, caller: &Asker, request: LockRequest) -> Result<Bytes, Failure> {
    let prefix = queue::prefix(&request.name);
    queue::allow_queue(caller, Action::Read, &prefix)?;
    let lease = queue::session(app, caller, request.lease).await?;
    let place = queue::join(app, caller, &prefix, lease, Bytes::new()).await?;
    let waiter = Waiter::new(app, caller, &place);
    let mut seen = place.seen;
    if !is_first(&app.registry, &prefix, &place.key) {
        queue::turn(app, caller, &prefix, place.created).await?;
        // The lease may have ended while its holder waited.
        let state = app.state(false).await?;
        if state
            .record(Keyspace::Etcd, &Key::from(&place.key[..]))
            .is_none()
        {
            return Err(SESSION_EXPIRED);
        }
        seen = state.revision();
    }
    waiter.stays();
    Ok(grpc::frame(&LockResponse {
        header: Some(app.header(seen)),
        key: place.key,
    }))
}

fn is_first(registry: &Registry, prefix: &[u8], key: &[u8]) -> bool {
    let range = portolan_catalog::KeyRange::prefix(prefix);
    registry.read(|state| queue::first(state, &range).is_some_and(|(first, _)| first[..] == *key))
}

pub(crate) async fn unlock(
    app: Arc<App>,
    caller: Asker,
    request: UnlockRequest,
) -> Result<Bytes, Failure> {
    let deletion = DeleteRangeRequest {
        key: request.key,
        ..Default::default()
    };
    let deleted = kv::delete(&app, &caller, &deletion).await;
    let (revision, _) = deleted.map_err(without_code)?;
    Ok(grpc::frame(&UnlockResponse {
        header: Some(app.header(revision)),
    }))
}
