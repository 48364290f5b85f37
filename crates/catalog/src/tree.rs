//! The tree of znodes as it is before anybody wrote to it.
//!
//! ZooKeeper's own nodes are there in an empty state, at revision and time 0, and have no row until something about them changes.

use std::sync::Arc;

use crate::acl::{Acl, AclEntry, Permission};
use crate::record::{Extension, Key, Record, Znode};

/// The nodes that are there from the beginning, but for the root: parent (empty for the root) and name.
pub const FIRST: [(&str, &str); 3] = [
    ("", "zookeeper"),
    ("/zookeeper", "config"),
    ("/zookeeper", "quota"),
];

/// Names of the children that `path` has from the beginning. The root's path is empty.
pub fn first_children(path: &str) -> impl Iterator<Item = &'static str> {
    let below = FIRST.into_iter().filter(move |(parent, _)| *parent == path);
    below.map(|(_, name)| name)
}

/// Whether the znode under `key` is there from the beginning, and stays.
pub fn is_first(key: &[u8]) -> bool {
    key.is_empty()
        || FIRST.into_iter().any(|(parent, name)| {
            let rest = key.strip_prefix(parent.as_bytes());
            rest.and_then(|rest| rest.strip_prefix(b"\0")) == Some(name.as_bytes())
        })
}

/// How many nodes there are from the beginning, of which `is_stored` says whether they have a row by now.
pub fn first_without_row(is_stored: impl Fn(&Key) -> bool) -> usize {
    let below = FIRST.map(|(parent, name)| Key::znode_child(parent, name));
    let all = below.into_iter().chain([Key::znode("/")]);
    all.filter(|key| !is_stored(key)).count()
}

/// The row of such a node while nobody has changed it.
pub(crate) fn first(key: &[u8]) -> Option<Arc<Record>> {
    if !is_first(key) {
        return None;
    }
    // Clients read the members of the cluster here, and cannot write them.
    let node = if key.ends_with(b"\0config") {
        let readable = AclEntry {
            permissions: Permission::Read as i32,
            scheme: "world".into(),
            id: "anyone".into(),
        };
        Znode {
            acl: Acl::new(vec![readable]),
            acl_version: -1,
            ..Znode::default()
        }
    } else {
        Znode::default()
    };
    Some(Arc::new(Record {
        extension: Extension::Znode(Arc::new(node)),
        ..Record::empty()
    }))
}
