//! The past of a configuration, read from the catalog's: every publication and removal within the retention.

use std::collections::VecDeque;
use std::sync::Arc;

use portolan_catalog::{Batch, Change, Keyspace, Record, Revision};
use portolan_registry::{Registry, Selector};
use serde::Serialize;

use super::key::ConfigKey;
use super::read;
use crate::error::{Code, Problem, time};

/// Entries that can be paged through; older ones are found by their number.
const KEPT: usize = 5_000;
/// Batches read in one go.
const PIECE: usize = 256;

/// One publication or removal.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) key: ConfigKey,
    pub(crate) batch: Arc<Batch>,
    pub(crate) before: Option<Arc<Record>>,
    pub(crate) after: Option<Arc<Record>>,
}

/// An event as pages show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    id: String,
    last_id: i64,
    data_id: String,
    group: String,
    tenant: String,
    app_name: String,
    md5: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    src_ip: String,
    src_user: Option<String>,
    op_type: String,
    publish_type: &'static str,
    created_time: String,
    last_modified_time: String,
    encrypted_data_key: &'static str,
}

impl Event {
    /// `I`, `U` or `D`, padded to ten as in the real server's table.
    fn kind(&self) -> String {
        let kind = match (&self.before, &self.after) {
            (None, _) => "I",
            (Some(_), Some(_)) => "U",
            (Some(_), None) => "D",
        };
        format!("{kind:<10}")
    }

    /// As pages show it. The content is the one before, as in the real server; of the first one its own.
    pub(crate) fn shown(&self, content: bool) -> Option<Shown> {
        let record = self.before.as_ref().or(self.after.as_ref())?;
        let extension = read::extension(record);
        let cause = &self.batch.cause;
        let at = time(self.batch.at);
        Some(Shown {
            id: self.batch.revision.to_string(),
            last_id: -1,
            data_id: self.key.data_id.clone(),
            group: self.key.group.clone(),
            tenant: self.key.tenant.clone(),
            app_name: extension.app.to_string(),
            md5: extension.md5.to_string(),
            content: content.then(|| String::from_utf8_lossy(&record.bytes()).into_owned()),
            src_ip: cause
                .peer
                .map(|peer| peer.ip().to_canonical().to_string())
                .unwrap_or_default(),
            src_user: cause.principal.as_deref().map(str::to_owned),
            op_type: self.kind(),
            publish_type: "formal",
            created_time: at.clone(),
            last_modified_time: at,
            encrypted_data_key: "",
        })
    }
}

fn events(registry: &Registry, key: &ConfigKey, mut see: impl FnMut(Event)) -> Result<(), Problem> {
    let record = key.record();
    let selectors = [Selector::Key(Keyspace::NacosConfig, record.clone())];
    let until = registry.read(|state| state.revision());
    let floor = registry.floor(Some(Keyspace::NacosConfig));
    let mut after = Revision(floor.0.saturating_sub(1));
    while after < until {
        let piece = registry
            .batches(&selectors, after, until, PIECE)
            .map_err(|damage| {
                Problem::coded(
                    Code::ServerError,
                    format!("the history cannot be read: {damage}"),
                )
            })?;
        for batch in &piece.batches {
            let changes = batch.changes.iter().filter_map(|change| match change {
                Change::Record {
                    space: Keyspace::NacosConfig,
                    key: of,
                    before,
                    after,
                } if *of == record => Some((before.clone(), after.clone())),
                _ => None,
            });
            for (before, after) in changes {
                see(Event {
                    key: key.clone(),
                    batch: batch.clone(),
                    before,
                    after,
                });
            }
        }
        if piece.through <= after {
            break;
        }
        after = piece.through;
    }
    Ok(())
}

/// The events of a configuration, newest first, and how many there are. Files may have to be read.
pub(crate) async fn list(
    registry: &Registry,
    key: ConfigKey,
) -> Result<(Vec<Event>, usize), Problem> {
    let registry = registry.clone();
    let work = move || {
        let (mut found, mut count) = (VecDeque::new(), 0);
        events(&registry, &key, |event| {
            count += 1;
            found.push_front(event);
            found.truncate(KEPT);
        })?;
        Ok((Vec::from(found), count))
    };
    // An error means that the runtime is going down; nobody waits for the answer.
    portolan_environment::blocking(work)
        .await
        .unwrap_or_else(|_| Ok((Vec::new(), 0)))
}

/// One event by its number; with `previous` the one before it.
pub(crate) async fn one(
    registry: &Registry,
    key: ConfigKey,
    number: u64,
    previous: bool,
) -> Result<Event, Problem> {
    let registry = registry.clone();
    let work = move || {
        let (mut found, mut last) = (None, None);
        events(&registry, &key, |event| {
            if event.batch.revision.0 == number {
                found = if previous {
                    last.take()
                } else {
                    Some(event.clone())
                };
            }
            last = Some(event);
        })?;
        found.ok_or_else(|| {
            Problem::coded(
                Code::NotFound,
                format!("certain config history for nid = {number} not exist"),
            )
        })
    };
    portolan_environment::blocking(work)
        .await
        .unwrap_or_else(|_| Err(Problem::coded(Code::ServerError, "the server is stopping")))
}
