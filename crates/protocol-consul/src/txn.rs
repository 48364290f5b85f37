//! `PUT /v1/txn`: operations on keys, nodes, services and checks, all or nothing.

use crate::ask::Ask;
use crate::catalog::bound;
use crate::error::{Failure, say};
use crate::kv::{SPACE, cas, pair, refused_key};
use crate::read::{Flavour, Shown};
use crate::reply::Reply;
use crate::server::Server;
use crate::wire::{
    CheckBody, KvOperation, Malformed, NodeBody, Operation, ServiceBody, operations,
};
use crate::write::check::catalog_check;
use crate::write::node::node_facts;
use crate::write::service::{catalog_registration, service_id};
use bytes::Bytes;
use http::StatusCode;
use portolan_catalog::{
    CheckKey, Command, Comparand, Compare, Done, Entry, Expect, Host, InstanceKey, Key, KeyRange,
    NodeName, Op, OpDone, Put, PutCheck, Read, Refusal, Register, Relation, Revision, SessionId,
    State, Target, Write,
};
use portolan_listener::{Action, BodyError, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

/// Operations of one transaction.
const MOST: usize = 128;
/// Bytes of a transaction's body.
const BODY_BYTES: usize = 512 * 1024;

/// What is done, and how its result is shown.
struct Step {
    op: Op,
    show: Show,
}

/// How one operation's result is shown, and what its refusal is called.
enum Show {
    Kv {
        verb: Verb,
        key: String,
        index: u64,
        session: String,
    },
    Node {
        name: String,
        get: bool,
    },
    Service {
        node: String,
        id: String,
        get: bool,
    },
    Check {
        node: String,
        id: String,
        get: bool,
    },
}

/// The verbs of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Cas,
    Lock,
    Unlock,
    Get,
    GetOrEmpty,
    GetTree,
    CheckIndex,
    CheckSession,
    CheckNotExists,
    Delete,
    DeleteCas,
    DeleteTree,
}

impl Verb {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "set" => Self::Set,
            "cas" => Self::Cas,
            "lock" => Self::Lock,
            "unlock" => Self::Unlock,
            "get" => Self::Get,
            "get-or-empty" => Self::GetOrEmpty,
            "get-tree" => Self::GetTree,
            "check-index" => Self::CheckIndex,
            "check-session" => Self::CheckSession,
            "check-not-exists" => Self::CheckNotExists,
            "delete" => Self::Delete,
            "delete-cas" => Self::DeleteCas,
            "delete-tree" => Self::DeleteTree,
            _ => return None,
        })
    }

    fn reads(self) -> bool {
        matches!(
            self,
            Self::Get
                | Self::GetOrEmpty
                | Self::GetTree
                | Self::CheckIndex
                | Self::CheckSession
                | Self::CheckNotExists
        )
    }
}

/// PUT /v1/txn
pub(crate) async fn txn(server: Arc<Server>, mut ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Write, Resource::Agent)?;
    let options = ask.read_options()?;
    let body = match ask.body(BODY_BYTES).await {
        Ok(body) => body,
        Err(BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. }) => {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Request body too large, max size: {BODY_BYTES} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#txn_max_req_len."
                ),
            ));
        }
        Err(other) => return Err(other.into()),
    };
    let unread = |why: &str| Failure::bad(format!("Failed to parse body: {why}"));
    if !portolan_listener::json_depth_within(&body, ask.caller.house().limits().json_depth) {
        return Err(unread("it is nested too deeply"));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|error| unread(&error.to_string()))?;
    let asked = operations(&body).map_err(|Malformed(why)| unread(&why))?;
    if asked.len() > MOST {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "Transaction contains too many operations ({} > {MOST})",
                asked.len()
            ),
        ));
    }
    let mut steps = Vec::with_capacity(asked.len());
    let mut errors = Vec::new();
    {
        let state = server.snapshot();
        let shown = server.shown(&state);
        for (at, operation) in asked.iter().enumerate() {
            allow(&ask, operation)?;
            match step(&server, shown, operation, &asked)? {
                Ok(step) => steps.push(step),
                Err(what) => errors.push(json!({"OpIndex": at, "What": what})),
            }
        }
    }
    if !errors.is_empty() {
        return conflict(&errors);
    }
    let reads_only = steps.iter().all(|step| match &step.show {
        Show::Kv { verb, .. } => verb.reads(),
        Show::Node { get, .. } | Show::Service { get, .. } | Show::Check { get, .. } => *get,
    });
    let (ops, shows): (Vec<_>, Vec<_>) = steps.into_iter().map(|step| (step.op, step.show)).unzip();
    let command = Command::Write(Write {
        then: ops,
        report_all: true,
        ..Write::default()
    });
    let (outcome, state) = if reads_only {
        // Reading needs no entry in the log: the same evaluation, on a copy of the snapshot.
        let state = server.state_for(options.consistency).await?;
        let mut copy = State::clone(&state);
        let entry = Entry {
            at: state.last_at(),
            cause: Arc::new(ask.cause()),
            command,
        };
        (copy.apply(&entry).settled.outcome, state)
    } else {
        let settled = server.propose(&ask, command).await?;
        (settled.outcome, server.snapshot())
    };
    match outcome {
        Ok(Done::Written(written)) => {
            let shown = server.shown(&state);
            let mut results = Vec::new();
            for (done, show) in written.results.iter().zip(&shows) {
                results.extend(show.render(done, shown)?);
            }
            let results = if results.is_empty() {
                Value::Null
            } else {
                Value::Array(results)
            };
            Reply::json(&json!({"Results": results, "Errors": null}))
        }
        Ok(_) => Reply::json(&json!({"Results": null, "Errors": null})),
        Err(Refusal::Ops(failed)) => {
            let errors: Vec<_> = failed
                .iter()
                .map(|(at, refusal)| {
                    let what = shows.get(*at).map_or_else(
                        || say(refusal),
                        |show| show.what(refusal, &server.snapshot()),
                    );
                    json!({"OpIndex": at, "What": what})
                })
                .collect();
            conflict(&errors)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn conflict(errors: &[Value]) -> Result<Reply, Failure> {
    Ok(Reply::json(&json!({"Results": null, "Errors": errors}))?.status(StatusCode::CONFLICT))
}

/// Each operation is asked for on its own.
fn allow(ask: &Ask, operation: &Operation) -> Result<(), Failure> {
    match operation {
        Operation::Kv(kv) => {
            let reads = Verb::parse(&kv.verb).is_some_and(Verb::reads);
            let action = if reads { Action::Read } else { Action::Write };
            ask.allow(
                action,
                Resource::Record {
                    keyspace: SPACE.as_str(),
                    key: kv.key.as_bytes(),
                },
            )
        }
        Operation::Node { verb, node, .. } => ask.allow(action(verb), Resource::Node(&node.name)),
        Operation::Service { verb, service, .. } => ask.allow(
            action(verb),
            Resource::Service {
                namespace: "",
                name: &service.name,
            },
        ),
        Operation::Check { verb, check, .. } => {
            ask.allow(action(verb), Resource::Node(&check.node))
        }
    }
}

fn action(verb: &str) -> Action {
    if verb == "get" {
        Action::Read
    } else {
        Action::Write
    }
}

/// The catalog's operation for one of the client's; inside, what is wrong with it (`Err`) in the words of the answer.
fn step(
    server: &Server,
    shown: Shown<'_>,
    operation: &Operation,
    all: &[Operation],
) -> Result<Result<Step, String>, Failure> {
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

fn unknown_verb(kind: &str, verb: &str) -> Failure {
    Failure::bad(format!(
        "Failed to parse body: unknown {kind} verb {verb:?}"
    ))
}

fn kv_step(kv: &KvOperation) -> Result<Result<Step, String>, Failure> {
    let verb = Verb::parse(&kv.verb).ok_or_else(|| unknown_verb("KV", &kv.verb))?;
    if let Some(why) = refused_key(kv.key.as_bytes()) {
        return Ok(Err(format!("invalid key {:?}: {why}", kv.key)));
    }
    let wide = matches!(verb, Verb::GetTree | Verb::DeleteTree);
    if kv.key.is_empty() && !wide {
        return Ok(Err("missing key".to_owned()));
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
        Verb::Lock => match session() {
            Ok(session) => Op::Acquire {
                put: put(Expect::Any),
                session,
            },
            Err(what) => return Ok(Err(what)),
        },
        Verb::Unlock => match session() {
            Ok(session) => Op::Release {
                put: put(Expect::Any),
                session,
            },
            Err(what) => return Ok(Err(what)),
        },
        Verb::CheckSession => match session() {
            Ok(session) => held(Expect::HeldBy(session)),
            Err(what) => return Ok(Err(what)),
        },
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
    Ok(Ok(Step { op, show }))
}

fn run(command: Command) -> Op {
    Op::Command(Box::new(command))
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

fn node_step(
    shown: Shown<'_>,
    verb: &str,
    index: u64,
    node: &NodeBody,
) -> Result<Result<Step, String>, Failure> {
    let name = NodeName::new(&node.name);
    if node.name.is_empty() {
        return Ok(Err("Must specify node name".to_owned()));
    }
    let known = shown.state.node(&name);
    let expect = verb.ends_with("cas").then_some(Revision(index));
    let op = match verb {
        "get" if known.is_none() => return Ok(Err(format!("node {:?} doesn't exist", node.name))),
        "get" => nothing(),
        "set" | "cas" => {
            let facts = node_facts(node, known.map(|known| &***known))?;
            run(Command::PutNode {
                node: Arc::new(facts),
                terms: None,
                expect,
            })
        }
        "delete" | "delete-cas" if shown.is_server(&name) => {
            return Ok(Err(format!(
                "node {:?} is a server of this cluster",
                node.name
            )));
        }
        "delete" | "delete-cas" => run(Command::DropNode { name, expect }),
        other => return Err(unknown_verb("Node", other)),
    };
    let show = Show::Node {
        name: node.name.clone(),
        get: verb == "get",
    };
    Ok(Ok(Step { op, show }))
}

fn service_step(
    shown: Shown<'_>,
    verb: &str,
    node: &str,
    index: u64,
    service: &ServiceBody,
    all: &[Operation],
) -> Result<Result<Step, String>, Failure> {
    let name = NodeName::new(node);
    let id = service_id(service).to_owned();
    let expect = verb.ends_with("cas").then_some(Revision(index));
    let op = match verb {
        "get" if shown.row(&name, &id).is_none() => {
            return Ok(Err(format!(
                "service {id:?} on node {node:?} doesn't exist"
            )));
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
                catalog_registration(&name, &address.unwrap_or_else(|| Host::new("")), service)?;
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
        get: verb == "get",
    };
    Ok(Ok(Step { op, show }))
}

fn check_step(
    server: &Server,
    shown: Shown<'_>,
    verb: &str,
    index: u64,
    check: &CheckBody,
) -> Result<Result<Step, String>, Failure> {
    let name = NodeName::new(&check.node);
    let id = if check.id.is_empty() {
        check.name.clone()
    } else {
        check.id.clone()
    };
    let key = CheckKey::new(&name, &id);
    let expect = verb.ends_with("cas").then_some(Revision(index));
    let op = match verb {
        "get" if shown.state.check(&key).is_none() => {
            return Ok(Err(format!(
                "check {id:?} on node {:?} doesn't exist",
                check.node
            )));
        }
        "get" => nothing(),
        "set" | "cas" => {
            let external = shown
                .state
                .node(&name)
                .is_some_and(|node| node.meta.get("external-node") == Some("true"));
            let instance = bound(shown, &name, check, None);
            let check =
                catalog_check(&name, check, instance, external.then(|| server.here.node()))?;
            run(Command::PutCheck(Box::new(PutCheck { check, expect })))
        }
        "delete" | "delete-cas" if shown.state.check(&key).is_none() && expect.is_none() => {
            nothing()
        }
        "delete" | "delete-cas" => run(Command::DropCheck { key, expect }),
        other => return Err(unknown_verb("Check", other)),
    };
    let show = Show::Check {
        node: check.node.clone(),
        id,
        get: verb == "get",
    };
    Ok(Ok(Step { op, show }))
}

impl Show {
    /// The entries of `Results` for one operation.
    fn render(&self, done: &OpDone, shown: Shown<'_>) -> Result<Vec<Value>, Failure> {
        let value =
            |kind: &str, row: Result<Value, serde_json::Error>| -> Result<Vec<Value>, Failure> {
                Ok(vec![
                    json!({kind: row.map_err(|error| Failure::server(error.to_string()))?}),
                ])
            };
        match (self, done) {
            (Self::Kv { .. }, OpDone::Put { key, after, .. }) => {
                value("KV", serde_json::to_value(pair(key, after, false)))
            }
            (Self::Kv { verb, key, .. }, OpDone::Held(Some(record))) => {
                let with_value = matches!(verb, Verb::Get | Verb::GetOrEmpty);
                value(
                    "KV",
                    serde_json::to_value(pair(key.as_bytes(), record, with_value)),
                )
            }
            (
                Self::Kv {
                    verb: Verb::GetOrEmpty,
                    key,
                    ..
                },
                OpDone::Held(None),
            ) => Ok(vec![json!({"KV": {
                "LockIndex": 0, "Key": key, "Flags": 0, "Value": null, "CreateIndex": 0, "ModifyIndex": 0,
            }})]),
            (
                Self::Kv {
                    verb: Verb::GetTree,
                    ..
                },
                OpDone::Read(read),
            ) => {
                let mut rows = Vec::with_capacity(read.rows.len());
                for (key, record) in &read.rows {
                    rows.extend(value("KV", serde_json::to_value(pair(key, record, true)))?);
                }
                Ok(rows)
            }
            (Self::Kv { .. }, _) => Ok(Vec::new()),
            (Self::Node { name, .. }, _) => match shown.node(&NodeName::new(name)) {
                Some(node) if !matches!(done, OpDone::Command(Done::Deregistered(_))) => {
                    value("Node", serde_json::to_value(node))
                }
                _ => Ok(Vec::new()),
            },
            (Self::Service { node, id, .. }, _) => match shown.row(&NodeName::new(node), id) {
                Some(row) => value(
                    "Service",
                    serde_json::to_value(shown.service(row, Flavour::Catalog)),
                ),
                None => Ok(Vec::new()),
            },
            (Self::Check { node, id, .. }, _) => {
                let Some(check) = shown.state.check(&CheckKey::new(&NodeName::new(node), id))
                else {
                    return Ok(Vec::new());
                };
                let instance = check
                    .instance
                    .as_ref()
                    .and_then(|key| shown.state.instance(key))
                    .map(|row| &**row);
                value(
                    "Check",
                    serde_json::to_value(shown.check(check, node, instance)),
                )
            }
        }
    }

    /// What a refusal of the operation is called.
    fn what(&self, refusal: &Refusal, state: &State) -> String {
        let stale = matches!(
            refusal,
            Refusal::Changed(_) | Refusal::Exists | Refusal::NoKey | Refusal::BadVersion
        );
        match self {
            Self::Kv {
                verb,
                key,
                index,
                session,
            } => match (verb, refusal) {
                (_, Refusal::NoSession(_)) => format!("invalid session {session:?}"),
                (Verb::Get, _) => format!("key {key:?} doesn't exist"),
                (Verb::CheckNotExists, _) => format!("key {key:?} exists"),
                (Verb::CheckIndex, Refusal::NoKey) => {
                    format!("failed to check index, key {key:?} doesn't exist")
                }
                (Verb::CheckIndex, Refusal::Changed(current)) => {
                    format!(
                        "failed index check for key {key:?}, current modify index {current} != {index}"
                    )
                }
                (Verb::CheckSession, Refusal::NoKey) => {
                    format!("failed to check session, key {key:?} doesn't exist")
                }
                (Verb::CheckSession, _) => {
                    let holder = state
                        .record(SPACE, key.as_bytes())
                        .and_then(|record| record.holder());
                    let holder = holder.map(|holder| holder.to_string()).unwrap_or_default();
                    format!(
                        "failed session check for key {key:?}, current session {holder:?} != {session:?}"
                    )
                }
                (Verb::Lock, _) => format!("failed to lock key {key:?}, lock is already held"),
                (Verb::Unlock, _) => {
                    format!(
                        "failed to unlock key {key:?}, lock isn't held, or is held by another session"
                    )
                }
                (Verb::DeleteCas, _) if stale => {
                    format!("failed to delete key {key:?}, index is stale")
                }
                _ if stale => format!("failed to set key {key:?}, index is stale"),
                _ => say(refusal),
            },
            Self::Node { name, .. } if stale => {
                format!("failed to set node {name:?}, index is stale")
            }
            Self::Service { node, id, .. } if stale => {
                format!("failed to set service {id:?} on node {node:?}, index is stale")
            }
            Self::Check { node, id, .. } if stale => {
                format!("failed to set check {id:?} on node {node:?}, index is stale")
            }
            Self::Node { .. } | Self::Service { .. } | Self::Check { .. } => say(refusal),
        }
    }
}
