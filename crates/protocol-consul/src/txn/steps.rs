//! Operations of the client to operations of the catalog.

use super::show::Show;
use super::verb::Verb;
use crate::catalog::bound;
use crate::error::Failure;
use crate::kv::{SPACE, cas, refused_key};
use crate::read::Shown;
use crate::server::Server;
use crate::wire::{CheckBody, KvOperation, NodeBody, Operation, ServiceBody};
use crate::write::check::{catalog_check, check_id};
use crate::write::node::{node_facts, refused_node};
use crate::write::service::{catalog_registration, service_id};
use bytes::Bytes;
use portolan_catalog::{
    CheckKey, Command, Comparand, Compare, Expect, Host, InstanceKey, Key, KeyRange, NodeName, Op,
    Put, PutCheck, Read, Register, Relation, Revision, SessionId, Target, Write,
};
use std::sync::Arc;

/// What is done, and how its result is shown.
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) show: Show,
    /// It removes something, and if that is gone already, all is well.
    pub(super) may_be_gone: bool,
}

/// The catalog's operation for one of the client's.
///
/// # Errors
/// What is wrong with it, for the answer's `What`.
pub(super) fn step(
    server: &Server,
    shown: Shown<'_>,
    operation: &Operation,
    all: &[Operation],
) -> Result<Step, String> {
    match operation {
        Operation::Kv(kv) => kv_step(kv),
        Operation::Node { verb, index, node } => node_step(shown, verb, *index, node),
        Operation::Service {
            verb,
            node,
            index,
            service,
        } => service_step(shown, verb, node, *index, service, all),
        Operation::Check { verb, index, check } => check_step(server, shown, verb, *index, check),
    }
}

fn unknown_verb(kind: &str, verb: &str) -> String {
    format!("unknown {kind} verb {verb:?}")
}

fn kv_step(kv: &KvOperation) -> Result<Step, String> {
    let verb = Verb::parse(&kv.verb).ok_or_else(|| unknown_verb("KV", &kv.verb))?;
    if let Some(why) = refused_key(kv.key.as_bytes()) {
        return Err(format!("invalid key {:?}: {why}", kv.key));
    }
    let wide = matches!(verb, Verb::GetTree | Verb::DeleteTree);
    if kv.key.is_empty() && !wide {
        return Err("missing key".to_owned());
    }
    let key = Key::from(kv.key.as_str());
    let one = KeyRange::One(key.clone());
    let tree = KeyRange::prefix(kv.key.as_bytes());
    let put = |expect: Expect| {
        let mut put = Put::new(SPACE, key.clone(), Bytes::copy_from_slice(&kv.value));
        put.quiet = true;
        put.flags = kv.flags;
        put.expect = expect;
        Box::new(put)
    };
    let session = || -> Result<SessionId, String> {
        if kv.session.is_empty() {
            return Err("missing session".to_owned());
        }
        SessionId::parse(&kv.session).ok_or_else(|| format!("invalid session {:?}", kv.session))
    };
    let held = |expect: Expect| Op::Check {
        space: SPACE,
        key: key.clone(),
        expect,
    };
    let op = match verb {
        Verb::Set => Op::Put(put(Expect::Any)),
        Verb::Cas => Op::Put(put(cas(kv.index))),
        Verb::Lock => Op::Acquire {
            put: put(Expect::Any),
            session: session()?,
        },
        Verb::Unlock => Op::Release {
            put: put(Expect::Any),
            session: session()?,
        },
        Verb::CheckSession => held(Expect::HeldBy(session()?)),
        Verb::Get => held(Expect::Present),
        Verb::GetOrEmpty => held(Expect::Any),
        Verb::CheckIndex => held(Expect::Modified(Revision(kv.index))),
        Verb::CheckNotExists => held(Expect::Absent),
        Verb::GetTree => Op::Read(Read {
            space: SPACE,
            range: tree,
            at: None,
            limit: 0,
            count_only: false,
        }),
        Verb::Delete => Op::Delete {
            space: SPACE,
            range: one,
            expect: Expect::Any,
        },
        Verb::DeleteTree => Op::Delete {
            space: SPACE,
            range: tree,
            expect: Expect::Any,
        },
        // A key that is not there is deleted, whatever its index should have been.
        Verb::DeleteCas => Op::Nested(Write {
            when: vec![Compare {
                space: SPACE,
                range: one.clone(),
                relation: Relation::Equal,
                comparand: Comparand::Version(0),
            }],
            then: Vec::new(),
            or_else: vec![Op::Delete {
                space: SPACE,
                range: one,
                expect: Expect::Modified(Revision(kv.index)),
            }],
            report_all: false,
        }),
    };
    let show = Show::Kv {
        verb,
        key: kv.key.clone(),
        index: kv.index,
        session: kv.session.clone(),
    };
    Ok(Step {
        op,
        show,
        may_be_gone: false,
    })
}

fn run(command: Command) -> Op {
    Op::Command(Box::new(command))
}

/// The words of a failure; inside a transaction all have the same status.
fn what(failure: Failure) -> String {
    failure.text.into_owned()
}

/// An operation that reads something other than a key: nothing is done, the rows are shown afterwards.
fn nothing() -> Op {
    Op::Read(Read {
        space: SPACE,
        range: KeyRange::One(Key::from("")),
        at: None,
        limit: 0,
        count_only: true,
    })
}

fn node_step(shown: Shown<'_>, verb: &str, index: u64, node: &NodeBody) -> Result<Step, String> {
    let name = NodeName::new(&node.name);
    if let Some(why) = refused_node(&node.name, &node.id) {
        return Err(why.to_owned());
    }
    let known = shown.state.node(&name);
    let expect = verb.ends_with("cas").then_some(Revision(index));
    if verb != "get" && shown.is_server(&name) {
        return Err(format!("node {:?} is a server of this cluster", node.name));
    }
    let op = match verb {
        "get" if known.is_none() => return Err(format!("node {:?} doesn't exist", node.name)),
        "get" => nothing(),
        "set" | "cas" => {
            let facts = node_facts(node, known.map(|known| &***known)).map_err(what)?;
            run(Command::PutNode {
                node: Arc::new(facts),
                terms: None,
                expect,
            })
        }
        "delete" | "delete-cas" => run(Command::DropNode { name, expect }),
        other => return Err(unknown_verb("Node", other)),
    };
    let show = Show::Node {
        name: node.name.clone(),
    };
    Ok(Step {
        op,
        show,
        may_be_gone: verb == "delete",
    })
}

fn service_step(
    shown: Shown<'_>,
    verb: &str,
    node: &str,
    index: u64,
    service: &ServiceBody,
    all: &[Operation],
) -> Result<Step, String> {
    let name = NodeName::new(node);
    let id = service_id(service).to_owned();
    let expect = verb.ends_with("cas").then(|| {
        // The client knows the index of the registration; the catalog's row moves with its health as well.
        match shown.row(&name, &id) {
            Some(row) if row.registered == Revision(index) => row.modified,
            Some(_) => Revision(u64::MAX),
            None => Revision(index),
        }
    });
    if let Some(why) = shown.refused_service(&name, &id).filter(|_| verb != "get") {
        return Err(why);
    }
    let op = match verb {
        "get" if shown.row(&name, &id).is_none() => {
            return Err(format!("service {id:?} on node {node:?} doesn't exist"));
        }
        "get" => nothing(),
        "set" | "cas" => {
            let with = all.iter().find_map(|other| match other {
                Operation::Node { node: body, .. } if NodeName::new(&body.name) == name => {
                    Some(Host::new(&body.address))
                }
                _ => None,
            });
            let address = shown
                .state
                .node(&name)
                .map(|node| node.address.clone())
                .or(with);
            let facts =
                catalog_registration(&name, &address.unwrap_or_else(|| Host::new("")), service)
                    .map_err(what)?;
            run(Command::Register(Box::new(Register {
                expect,
                ..Register::new(facts)
            })))
        }
        "delete" | "delete-cas" => {
            let key = shown
                .row(&name, &id)
                .map_or_else(|| InstanceKey::consul(&name, &id), |row| row.key.clone());
            run(Command::Deregister {
                target: Target::Instance(key),
                expect,
            })
        }
        other => return Err(unknown_verb("Service", other)),
    };
    let show = Show::Service {
        node: node.to_owned(),
        id,
    };
    Ok(Step {
        op,
        show,
        may_be_gone: verb == "delete",
    })
}

fn check_step(
    server: &Server,
    shown: Shown<'_>,
    verb: &str,
    index: u64,
    check: &CheckBody,
) -> Result<Step, String> {
    let name = NodeName::new(&check.node);
    let id = check_id(check).to_owned();
    let key = CheckKey::new(&name, &id);
    let expect = verb.ends_with("cas").then_some(Revision(index));
    if let Some(why) = shown.refused_check(&name, &id).filter(|_| verb != "get") {
        return Err(why);
    }
    let op = match verb {
        "get" if shown.state.check(&key).is_none() => {
            return Err(format!(
                "check {id:?} on node {:?} doesn't exist",
                check.node
            ));
        }
        "get" => nothing(),
        "set" | "cas" => {
            let external = shown
                .state
                .node(&name)
                .is_some_and(|node| node.meta.get("external-node") == Some("true"));
            let instance = bound(shown, &name, check, None);
            let check = catalog_check(&name, check, instance, external.then(|| server.info.node()))
                .map_err(what)?;
            run(Command::PutCheck(Box::new(PutCheck { check, expect })))
        }
        "delete" | "delete-cas" => run(Command::DropCheck { key, expect }),
        other => return Err(unknown_verb("Check", other)),
    };
    let show = Show::Check {
        node: check.node.clone(),
        id,
    };
    Ok(Step {
        op,
        show,
        may_be_gone: verb == "delete",
    })
}
