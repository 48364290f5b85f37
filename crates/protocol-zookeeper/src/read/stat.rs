//! A node's stat.

use portolan_catalog::{Key, LeaseId, Record, Revision, ZnodeKind, tree};

use crate::wire::replies::Stat;

/// The owner shown for nodes that stand for instances of other protocols: no session ever has this id.
pub(crate) const FOREIGN: i64 = 0x7f00_0000_0000_0001;

pub(crate) fn zxid(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The stat of the node under `key`. Containers and nodes with a time to live have no owner to show.
pub(crate) fn stat(key: &Key, record: &Record) -> Stat {
    let node = record.znode();
    let path = key.znode_path();
    let path = path.trim_end_matches('/');
    let first = if tree::is_first(key) {
        tree::first_children(path).count() as i64
    } else {
        0
    };
    let children = node.children + first;
    let owner = match (&record.lease, node.kind) {
        (Some(LeaseId::ZooKeeper(session)), ZnodeKind::Ephemeral) => *session,
        _ if record.derived_from.is_some() => FOREIGN,
        _ => 0,
    };
    let time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Stat {
        czxid: zxid(record.created),
        mzxid: zxid(record.modified),
        ctime: time(record.created_at.0),
        mtime: time(record.modified_at.0),
        // These are numbers of 32 bits, and begin anew as they do in Java.
        version: record.version.wrapping_sub(1) as i32,
        cversion: (2 * node.creates - children) as i32,
        aversion: node.acl_version,
        ephemeral_owner: owner,
        data_length: record
            .value
            .as_ref()
            .map_or(0, |value| i32::try_from(value.len()).unwrap_or(i32::MAX)),
        num_children: i32::try_from(children).unwrap_or(i32::MAX),
        pzxid: zxid(node.children_modified.max(record.created)),
    }
}
