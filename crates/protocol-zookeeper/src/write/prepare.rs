//! The checks that need no state that others change: paths, modes, lists. Whatever does is decided in the catalog, in ZooKeeper's order.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{
    Expect, Extension, Identity, Key, KeyRange, Keyspace, LeaseId, Op, Permission, Put,
    Registration, State, Znode, ZnodeKind, layout, tree,
};

use crate::acl;
use crate::error::Code;
use crate::path;
use crate::wire::{Opcode, Request};

/// The greatest time to live, ms: it has 40 bits in ZooKeeper.
const MOST_TTL: i64 = (1 << 40) - 1;

/// Who asks, and what is there now.
pub(crate) struct Asking<'a> {
    pub(crate) state: &'a State,
    pub(crate) who: &'a [Identity],
    pub(crate) session: i64,
}

/// The operation that a request asks for.
pub(crate) fn prepare(request: &Request, asking: &Asking<'_>) -> Result<Op, Code> {
    match request {
        Request::Create {
            path,
            data,
            acl,
            flags,
            ttl,
            ..
        } => {
            let mode = Mode::of(*flags, *ttl)?;
            let (parent, name) = path::split(path).ok_or(Code::BadArguments)?;
            let acl = acl::checked(acl.as_deref(), asking.who)?;
            let whole = if mode.sequential {
                path::is_valid(&format!("{path}0"))
            } else {
                path::is_valid(path)
            };
            if !whole {
                return Err(invalid(parent, asking));
            }
            if path == "/" && !mode.sequential {
                // Below itself, as ZooKeeper has it.
                return Err(match invalid("/", asking) {
                    Code::BadArguments => Code::NodeExists,
                    other => other,
                });
            }
            let key = Key::znode_child(parent, name);
            let znode = Znode {
                acl,
                ..Znode::default()
            };
            let lease = LeaseId::ZooKeeper(asking.session);
            Ok(Op::Put(Box::new(Put {
                create: Some(mode.kind),
                sequential: mode.sequential,
                lease: (mode.kind == ZnodeKind::Ephemeral).then_some(lease),
                extension: Some(Extension::Znode(Arc::new(znode))),
                recognised: recognised(asking.state, &key, mode.sequential, data.as_ref()),
                ..put(key, data.clone())
            })))
        }
        Request::Versioned {
            opcode: Opcode::Delete,
            path,
            version,
        } => {
            path::split(path).ok_or(Code::BadArguments)?;
            let Some(key) = path::key(path) else {
                // Nothing is there; who may not remove anything below its parent is not told so.
                return Err(absent(path, asking));
            };
            if path.is_empty() || tree::is_first(&key) {
                return Err(Code::BadArguments);
            }
            Ok(Op::Delete {
                space: Keyspace::Znodes,
                range: KeyRange::One(key),
                expect: expected(*version),
            })
        }
        Request::Versioned { path, version, .. } => Ok(Op::Check {
            space: Keyspace::Znodes,
            key: valid(path)?,
            expect: match expected(*version) {
                Expect::Any => Expect::Present,
                other => other,
            },
        }),
        Request::SetData {
            path,
            data,
            version,
        } => {
            let key = valid(path)?;
            Ok(Op::Put(Box::new(Put {
                keep_lease: true,
                expect: expected(*version),
                recognised: recognised(asking.state, &key, false, data.as_ref()),
                ..put(key, data.clone())
            })))
        }
        Request::SetAcl { path, acl, version } => Ok(Op::SetAcl {
            key: valid(path)?,
            acl: acl::checked(acl.as_deref(), asking.who)?,
            version: (*version != -1).then_some(*version),
        }),
        Request::Read { .. }
        | Request::OfPath { .. }
        | Request::Multi(_)
        | Request::MultiRead(_)
        | Request::Watch { .. }
        | Request::SetWatches { .. }
        | Request::Auth { .. }
        | Request::Plain(_) => Err(Code::Marshalling),
    }
}

fn put(key: Key, data: Option<Bytes>) -> Put {
    Put {
        value: data,
        ..Put::new(Keyspace::Znodes, key, Bytes::new())
    }
}

fn valid(path: &str) -> Result<Key, Code> {
    if path::is_valid(path) {
        Ok(Key::znode(path))
    } else {
        Err(Code::BadArguments)
    }
}

/// What is said of a path that no node can have: ZooKeeper looks for the parent first.
fn invalid(parent: &str, asking: &Asking<'_>) -> Code {
    let found = path::key(parent).and_then(|key| asking.state.znode(&key));
    match found {
        None => Code::NoNode,
        Some(record) if !record.znode().acl.allows(Permission::Create, asking.who) => Code::NoAuth,
        Some(_) => Code::BadArguments,
    }
}

/// What is said of a node that cannot be there.
fn absent(path: &str, asking: &Asking<'_>) -> Code {
    let parent = path::split(path).and_then(|(parent, _)| path::key(parent));
    let found = parent.and_then(|key| asking.state.znode(&key));
    match found {
        Some(record) if !record.znode().acl.allows(Permission::Delete, asking.who) => Code::NoAuth,
        _ => Code::NoNode,
    }
}

/// The catalog counts puts, and so one more than ZooKeeper counts changes. Any other negative number is no version.
fn expected(version: i32) -> Expect {
    match version {
        -1 => Expect::Any,
        version => match u64::try_from(version) {
            Ok(version) => Expect::Version(version + 1),
            Err(_) => Expect::Version(u64::MAX),
        },
    }
}

/// The instance that a layout finds in a node. The number of a sequential one is made up here; the catalog puts the right one.
fn recognised(
    state: &State,
    key: &Key,
    sequential: bool,
    data: Option<&Bytes>,
) -> Vec<Arc<Registration>> {
    let numbered;
    let key = if sequential {
        let name = key.as_text().unwrap_or_default();
        numbered = Key::from(format!("{name}0000000000").as_str());
        &numbered
    } else {
        key
    };
    let data = data.map(|data| &data[..]).unwrap_or_default();
    let found = layout::recognise(state.layouts(), Keyspace::Znodes, key, data);
    found
        .into_iter()
        .filter(|(_, facts)| !state.is_own_service(&facts.service))
        .map(|(_, facts)| Arc::new(facts))
        .collect()
}

struct Mode {
    kind: ZnodeKind,
    sequential: bool,
}

impl Mode {
    fn of(flags: i32, ttl: i64) -> Result<Mode, Code> {
        let is_ttl = matches!(flags, 5 | 6);
        let fits = if is_ttl {
            (1..=MOST_TTL).contains(&ttl)
        } else {
            ttl < 0
        };
        if !fits {
            return Err(Code::BadArguments);
        }
        let kind = match flags {
            0 | 2 => ZnodeKind::Persistent,
            1 | 3 => ZnodeKind::Ephemeral,
            4 => ZnodeKind::Container,
            5 | 6 => ZnodeKind::Ttl(ttl.unsigned_abs()),
            _ => return Err(Code::BadArguments),
        };
        Ok(Mode {
            kind,
            sequential: matches!(flags, 2 | 3 | 6),
        })
    }
}
