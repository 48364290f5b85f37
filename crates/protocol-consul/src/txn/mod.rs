//! `PUT /v1/txn`: operations on keys, nodes, services and checks, all or nothing.

mod show;
mod steps;

use crate::ask::Ask;
use crate::error::{Failure, say};
use crate::kv::SPACE;
use crate::reply::Reply;
use crate::server::Server;
use crate::wire::{Malformed, Operation, operations};
use http::StatusCode;
use portolan_catalog::{Command, Done, Entry, Refusal, State, Write};
use portolan_listener::{Action, BodyError, Resource};
use serde_json::{Value, json};
use std::sync::Arc;
use steps::{Verb, step};

/// Operations of one transaction.
const MOST: usize = 128;
/// Bytes of a transaction's body.
const BODY_BYTES: usize = 512 * 1024;

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
                    "Request body{} too large, max size: {BODY_BYTES} bytes. See https://www.consul.io/docs/agent/config/config-files#txn_max_req_len.",
                    ask.announced()
                        .map(|bytes| format!("({bytes} bytes)"))
                        .unwrap_or_default()
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
            match step(&server, shown, operation, &asked) {
                Ok(step) => steps.push(step),
                Err(what) => errors.push(json!({"OpIndex": at, "What": what})),
            }
        }
    }
    let reads_only = !asked.iter().any(writes);
    // Only a read tells how fresh it is.
    let told = |reply: Reply| match reads_only {
        true => reply.read(server.known_leader()),
        false => reply,
    };
    if !errors.is_empty() {
        return conflict(&errors).map(told);
    }
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
            Reply::json(&json!({"Results": results, "Errors": null})).map(told)
        }
        Ok(_) => Reply::json(&json!({"Results": null, "Errors": null})).map(told),
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
            conflict(&errors).map(told)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn conflict(errors: &[Value]) -> Result<Reply, Failure> {
    Ok(Reply::json(&json!({"Results": null, "Errors": errors}))?.status(StatusCode::CONFLICT))
}

/// Whether an operation changes anything. Verbs that there are not change nothing, but for those of nodes, services and
/// checks, where only `get` is known to.
fn writes(operation: &Operation) -> bool {
    match operation {
        Operation::Kv(kv) => Verb::parse(&kv.verb).is_some_and(|verb| !verb.reads()),
        Operation::Node { verb, .. }
        | Operation::Service { verb, .. }
        | Operation::Check { verb, .. } => verb != "get",
    }
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
