//! Digests of the keys: a function of the state alone, so equal on all servers at one revision.
//!
//! The values are not those of etcd, which digests the bytes of its file; nobody compares the two.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{KeyRange, Keyspace, Revision, State};
use portolan_listener::{Action, Resource};

use crate::{
    app::{App, allow, unexpected},
    asker::Asker,
    error::{COMPACTED, FUTURE_REVISION, Failure},
    grpc,
    wire::{
        encode::Row,
        etcdserverpb::{HashKvRequest, HashKvResponse, HashRequest, HashResponse},
    },
};

pub(crate) async fn hash(app: Arc<App>, caller: Asker, _: HashRequest) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let state = app.registry.snapshot();
    let header = app.header(state.revision());
    let hash = digest(state).await?;
    Ok(grpc::frame(&HashResponse {
        header: Some(header),
        hash,
    }))
}

/// Of the keys as they were at a revision: the newest one when none is asked for.
pub(crate) async fn hash_kv(
    app: Arc<App>,
    caller: Asker,
    request: HashKvRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    app.who(&caller)?.manages()?;
    let now = app.registry.snapshot();
    let header = app.header(now.revision());
    let floors = now.floors();
    let compacted = floors.was_compacted(Keyspace::Etcd);
    let floor = now.floor(Some(Keyspace::Etcd));
    // A store that was never compacted says so.
    let compact_revision = if compacted { floor.0 as i64 } else { -1 };
    let hash_revision = match request.revision {
        0 => now.revision().0 as i64,
        asked => asked,
    };
    let state = match u64::try_from(request.revision).map(Revision) {
        Ok(asked) if asked > now.revision() => return Err(FUTURE_REVISION),
        Ok(asked) if asked.0 > 0 && asked < floor => return Err(COMPACTED),
        Ok(asked) if asked.0 > 0 && asked < now.revision() => {
            let past = app.registry.past(Some(Keyspace::Etcd), asked)?;
            let all = KeyRange::prefix(b"");
            let read = portolan_environment::blocking(move || past.records(Keyspace::Etcd, &all));
            Arc::new(read.await.map_err(|_| unexpected("digest"))??)
        }
        _ => now,
    };
    let hash = digest(state).await?;
    Ok(grpc::frame(&HashKvResponse {
        header: Some(header),
        hash,
        compact_revision,
        hash_revision,
    }))
}

/// CRC-32C of every key with everything that a client sees of it.
async fn digest(state: Arc<State>) -> Result<u32, Failure> {
    let all = move || {
        let everything = KeyRange::prefix(b"");
        let mut row = Vec::new();
        state
            .range(Keyspace::Etcd, &everything)
            .fold(0, |sum, (key, record)| {
                row.clear();
                Row::whole(key, record).put(&mut row);
                crc32c::crc32c_append(sum, &row)
            })
    };
    portolan_environment::blocking(all)
        .await
        .map_err(|_| unexpected("digest"))
}
