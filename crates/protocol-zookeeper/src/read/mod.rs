//! State to reply: what a node shows, and the answers to reads.

mod stat;
mod system;

pub(crate) use stat::{FOREIGN, stat, zxid};

use std::borrow::Cow;

use portolan_catalog::{
    Attached, Identity, Key, KeyRange, Keyspace, LeaseId, Permission, Record, State, tree,
};

use crate::acl;
use crate::error::Code;
use crate::path;
use crate::wire::replies::Stat;
use crate::wire::{Opcode, Request, Writer};

/// A node that a caller may read.
pub(crate) struct Node {
    pub(crate) key: Key,
    pub(crate) record: std::sync::Arc<Record>,
}

impl Node {
    /// The node at `path`, if the caller has one of the permissions.
    pub(crate) fn at(
        state: &State,
        path: &str,
        who: &[Identity],
        any: &[Permission],
    ) -> Result<Node, Code> {
        let key = path::key(path).ok_or(Code::NoNode)?;
        let record = state.znode(&key).ok_or(Code::NoNode)?;
        let acl = record.znode().acl;
        if !any.iter().any(|permission| acl.allows(*permission, who)) {
            return Err(Code::NoAuth);
        }
        Ok(Node { key, record })
    }

    /// Its data, and what else there is to know.
    pub(crate) fn shown(&self, state: &State) -> (Option<Cow<'_, [u8]>>, Stat) {
        let mut stat = stat(&self.key, &self.record);
        let data = match system::computed(state, &self.key, &self.record) {
            Some(text) => {
                stat.data_length = i32::try_from(text.len()).unwrap_or(i32::MAX);
                Some(Cow::Owned(text.into_bytes()))
            }
            None => self.record.value.as_deref().map(Cow::Borrowed),
        };
        (data, stat)
    }
}

/// Names of the children of the node at `path`, in byte order.
pub(crate) fn children(state: &State, path: &str) -> Vec<String> {
    let path = path.trim_end_matches('/');
    let range = KeyRange::prefix(format!("{path}\0").as_bytes());
    let stored = state.range(Keyspace::Znodes, &range);
    let mut names: Vec<String> = stored
        .filter_map(|(key, _)| Some(key.as_text()?[path.len() + 1..].to_owned()))
        .collect();
    for name in tree::first_children(path) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// How many nodes there are below the one at `path`.
pub(crate) fn descendants(state: &State, path: &str) -> usize {
    let path = path.trim_end_matches('/');
    let count =
        |prefix: String| state.count(Keyspace::Znodes, &KeyRange::prefix(prefix.as_bytes()));
    // The root's own key is empty and has neither prefix.
    let stored = count(format!("{path}\0")) + count(format!("{path}/"));
    let is_below = |key: &Key| match path {
        "" => !key.is_empty(),
        _ => {
            key.starts_with(format!("{path}\0").as_bytes())
                || key.starts_with(format!("{path}/").as_bytes())
        }
    };
    let without_row = tree::first_without_row(|key| {
        !is_below(key) || state.record(Keyspace::Znodes, key).is_some()
    });
    stored + without_row
}

/// How many nodes there are.
pub(crate) fn node_count(state: &State) -> usize {
    descendants(state, "/") + 1
}

/// Paths of the nodes that go with a session.
pub(crate) fn ephemerals(state: &State, session: i64, prefix: &str) -> Vec<String> {
    let lease = LeaseId::ZooKeeper(session);
    let attached = state.attached(&lease);
    let paths = attached.filter_map(|attached| match attached {
        Attached::Record(Keyspace::Znodes, key) => Some(key.znode_path()),
        Attached::Record(..) | Attached::Lock(..) | Attached::Instance(_) => None,
    });
    paths.filter(|path| path.starts_with(prefix)).collect()
}

/// Writes the body of the answer to a read.
pub(crate) fn answer(
    state: &State,
    request: &Request,
    who: &[Identity],
    session: i64,
    writer: &mut Writer,
) -> Result<(), Code> {
    const READ: &[Permission] = &[Permission::Read];
    match request {
        Request::Read { opcode, path, .. } => {
            // This one alone looks at the path.
            if *opcode == Opcode::Exists && path.contains('\0') {
                return Err(Code::BadArguments);
            }
            let node = Node::at(state, path, who, READ)?;
            let (data, stat) = node.shown(state);
            match opcode {
                Opcode::GetData => {
                    writer.buffer(data.as_deref());
                    writer.stat(&stat);
                }
                Opcode::GetChildren | Opcode::GetChildren2 => {
                    let names = children(state, path);
                    writer.texts(names.iter().map(String::as_str));
                    if *opcode == Opcode::GetChildren2 {
                        writer.stat(&stat);
                    }
                }
                _ => {
                    writer.stat(&stat);
                }
            }
        }
        Request::OfPath { opcode, path } => match opcode {
            Opcode::GetAcl => {
                let any = [Permission::Read, Permission::Admin];
                let node = Node::at(state, path, who, &any)?;
                acl::write(&node.record.znode().acl, who, writer);
                writer.stat(&node.shown(state).1);
            }
            Opcode::GetAllChildrenNumber => {
                Node::at(state, path, who, READ)?;
                // The root is below its other name.
                writer.length(descendants(state, path) + usize::from(path.is_empty()));
            }
            Opcode::GetEphemerals => {
                let paths = ephemerals(state, session, path);
                writer.texts(paths.iter().map(String::as_str));
            }
            _ => {
                writer.text(path);
            }
        },
        Request::MultiRead(requests) => {
            for request in requests {
                one_of_many(state, request, who, session, writer);
            }
            writer.multi_end();
        }
        Request::Plain(Opcode::WhoAmI) => {
            writer.length(who.len());
            for identity in who {
                writer.text(&identity.scheme).text(acl::user(identity));
            }
        }
        // Nobody asked for SASL here: an empty token, as from a server without it.
        Request::Plain(Opcode::Sasl) => {
            writer.buffer(None);
        }
        Request::Plain(Opcode::Ping) => {}
        Request::Plain(_)
        | Request::Create { .. }
        | Request::Versioned { .. }
        | Request::SetData { .. }
        | Request::SetAcl { .. }
        | Request::Multi(_)
        | Request::Watch { .. }
        | Request::SetWatches { .. }
        | Request::Auth { .. } => return Err(Code::Unimplemented),
    }
    Ok(())
}

fn one_of_many(
    state: &State,
    request: &Request,
    who: &[Identity],
    session: i64,
    writer: &mut Writer,
) {
    let opcode = match request {
        Request::Read { opcode, path, .. } => {
            Node::at(state, path, who, &[Permission::Read]).map(|_| *opcode)
        }
        _ => Err(Code::Marshalling),
    };
    match opcode {
        Ok(opcode) => {
            writer.multi_header(opcode as i32, false, 0);
            // It is there, and may be read.
            let _answered = answer(state, request, who, session, writer);
        }
        Err(code) => {
            writer.multi_header(-1, false, code as i32);
            writer.int(code as i32);
        }
    }
}
