//! Changes of records to events of nodes.

use std::sync::Arc;

use portolan_catalog::{Acl, Batch, Change, Key, Keyspace, Record, Revision, tree};

use super::table::{Happened, Table};
use crate::wire::replies::Event;

/// Tells whoever watches of the changes of one revision, in their order; how many notifications that made. A parent's children change with
/// each child that comes or goes, right after it.
pub(super) fn hand_out(batch: &Batch, table: &mut Table) -> u64 {
    if table.is_empty() {
        return 0;
    }
    let mut sent = 0;
    for change in &batch.changes {
        let Change::Record {
            space: Keyspace::Znodes,
            key,
            before,
            after,
        } = change
        else {
            continue;
        };
        let path = key.znode_path();
        // Nodes of the beginning had no row before: they are not new.
        let is_first = tree::is_first(key);
        let events = events(before.as_ref(), after.as_ref(), is_first, batch.revision);
        for event in events {
            let shown = match event {
                Event::NodeDeleted => before,
                _ => after,
            };
            sent += table.fire(&Happened {
                event: *event,
                path: &path,
                revision: batch.revision,
                acl: &acl(shown.as_ref()),
            });
        }
        let children = events.iter().any(|event| *event != Event::NodeDataChanged);
        let parent = key.znode_parent().filter(|_| children);
        if let Some(parent) = parent.filter(|parent| table.is_watched(&parent.znode_path())) {
            sent += table.fire(&Happened {
                event: Event::NodeChildrenChanged,
                path: &parent.znode_path(),
                revision: batch.revision,
                acl: &acl(row(batch, &parent)),
            });
        }
    }
    sent
}

fn acl(record: Option<&Arc<Record>>) -> Acl {
    record.map(|record| record.znode().acl).unwrap_or_default()
}

/// A parent's row: it changed too, as it counts its children.
fn row<'a>(batch: &'a Batch, wanted: &Key) -> Option<&'a Arc<Record>> {
    batch.changes.iter().find_map(|change| match change {
        Change::Record {
            space: Keyspace::Znodes,
            key,
            before,
            after,
        } if key == wanted => after.as_ref().or(before.as_ref()),
        _ => None,
    })
}

/// What one change is to the node itself. A node that took another's place within one revision (a client's that of a derived one) was deleted
/// and created.
fn events(
    before: Option<&Arc<Record>>,
    after: Option<&Arc<Record>>,
    is_first: bool,
    revision: Revision,
) -> &'static [Event] {
    match (before, after) {
        (None, None) => &[],
        (Some(_), None) => &[Event::NodeDeleted],
        (None, Some(_)) if !is_first => &[Event::NodeCreated],
        (Some(before), Some(after)) if before.created != after.created => {
            &[Event::NodeDeleted, Event::NodeCreated]
        }
        (before, Some(after)) => {
            let modified = before.map_or(Revision(0), |before| before.modified);
            if after.modified == revision && modified != revision {
                &[Event::NodeDataChanged]
            } else {
                &[]
            }
        }
    }
}
