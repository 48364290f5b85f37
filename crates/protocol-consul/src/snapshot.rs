//! `/v1/snapshot`: the catalog in Consul's archive, and back.
//!
//! The state inside is Portolan's own: a Consul cannot take it, nor is one of Consul's taken. What clients do with it works all the same:
//! they check the archive's sums, keep it, and bring it back.

use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::server_info::Snapshots;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use portolan_archive::{Configuration, Damaged, Metadata};
use portolan_catalog::{Refusal, State, limits};
use portolan_listener::{Action, Resource};
use portolan_registry::Member;
use std::sync::Arc;

const ARCHIVE: HeaderValue = HeaderValue::from_static("application/x-gzip");

fn behind(server: &Server) -> Result<Snapshots, Failure> {
    let behind = server.info.snapshots.clone();
    behind.ok_or_else(|| Failure::server("snapshots are not kept by this server"))
}

/// GET /v1/snapshot, for whoever manages access: the tokens are in it. With `?stale` of this server, else confirmed by the leader.
pub(crate) async fn save(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Access)?;
    let options = request.read_options()?;
    let snapshots = behind(&server)?;
    let state = server.state_for(options.consistency).await?;
    let index = state.revision().0;
    let metadata = metadata(&state, snapshots.term.now(), server.registry.members());
    let packed = portolan_environment::blocking(move || -> std::io::Result<Vec<u8>> {
        let (mut file, mut archive) = (Vec::new(), Vec::new());
        snapshots.files.write(&state, &mut file)?;
        portolan_archive::pack(metadata, &file, &mut archive)?;
        Ok(archive)
    });
    let packed = packed.await.and_then(|packed| packed);
    let packed =
        packed.map_err(|error| Failure::server(format!("failed to save snapshot: {error}")))?;
    Ok(Reply::encoded(Bytes::from(packed))
        .header(CONTENT_TYPE, ARCHIVE)
        .fresh(server.freshness(&options, index)))
}

fn metadata(state: &State, term: u64, members: Vec<Member>) -> Metadata {
    let index = state.revision().0;
    let servers = members.into_iter().map(|member| portolan_archive::Server {
        suffrage: u8::from(!member.voter),
        id: format!("{:016x}", member.node),
        address: member.address,
    });
    Metadata {
        version: 1,
        id: format!("{term}-{index}-{}", state.last_at().0),
        index,
        term,
        configuration: Configuration {
            servers: servers.collect(),
        },
        configuration_index: 1,
        ..Metadata::default()
    }
}

/// PUT /v1/snapshot: takes the place of everything there is, as in Consul.
pub(crate) async fn restore(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Access)?;
    let snapshots = behind(&server)?;
    let most = request.caller.context().limits().snapshot_bytes;
    let archive = request.raw_body(most).await?;
    let bytes = archive.len();
    let unpacked = portolan_environment::blocking(move || {
        let (_, file) = portolan_archive::unpack(&archive, most as u64)?;
        let read = snapshots.files.read(&file);
        read.map_err(|what| {
            Damaged::Tar(format!(
                "state.bin is not a snapshot of this server: {what}"
            ))
        })
    });
    let unpacked = unpacked.await;
    let unpacked = unpacked.map_err(|error| Failure::server(error.to_string()))?;
    let parts = unpacked.map_err(|damaged| Failure::server(damaged.to_string()))?;
    let (by, peer, from) = (
        request.caller.principal(),
        request.caller.peer(),
        parts.revision,
    );
    tracing::info!(%by, %peer, bytes, from = from.0, "a snapshot is to take the place of the catalog");
    let settled = server.registry.restore(request.cause(), parts).await?;
    match settled.outcome {
        Ok(_) => {
            let revision = settled.revision.0;
            tracing::warn!(%by, %peer, bytes, from = from.0, revision, "a snapshot has taken the place of the catalog");
            Ok(Reply::empty())
        }
        Err(Refusal::Stale) => Err(Failure::server("another restore is under way")),
        Err(Refusal::Limit(what)) if what == limits::LEVEL => Err(Failure::server(format!(
            "failed to restore snapshot: it needs {what}"
        ))),
        Err(refusal) => Err(refusal.into()),
    }
}
