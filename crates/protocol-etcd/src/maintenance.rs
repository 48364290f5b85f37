//! The Maintenance service: what operators do to the store. Status and alarms are [`crate::cluster`]'s and [`crate::alarm`]'s.

mod bolt;
mod hash;
mod quota;
mod snapshot;

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Resource};

pub(crate) use self::{
    hash::{hash, hash_kv},
    quota::keep_within,
    snapshot::snapshot,
};
use crate::{
    app::{App, allow},
    asker::Asker,
    error::{Code, Failure},
    grpc,
    wire::etcdserverpb::{DefragmentRequest, DefragmentResponse},
};

/// Writes a snapshot of the state, so that the log before it can go. Other calls go on meanwhile, which in etcd they do not.
pub(crate) async fn defragment(
    app: Arc<App>,
    caller: Asker,
    _: DefragmentRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    app.settings.defragment.run().await.map_err(|why| {
        Failure::saying(
            Code::Internal,
            format!("etcdserver: cannot defragment: {why}"),
        )
    })?;
    // As in etcd, without a header.
    Ok(grpc::frame(&DefragmentResponse::default()))
}
