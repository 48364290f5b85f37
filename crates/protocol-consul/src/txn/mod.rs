//! `PUT /v1/txn`: operations on keys, nodes, services and checks, all or nothing.

mod show;
mod steps;
mod verb;

use crate::catalog::{may_check, may_register};
use crate::error::{Failure, say};
use crate::kv::{SPACE, with_instances};
use crate::read::{Shown, service_name};
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::wire::{Malformed, Operation, operations};
use crate::write::service::service_id;
use http::StatusCode;
use portolan_catalog::{Command, Done, Entry, NodeName, Op, Outcome, Refusal, State, Write};
use portolan_listener::{Action, BodyError, Resource};
use serde_json::{Value, json};
use show::Show;
use std::sync::Arc;
use steps::{Step, step};
use verb::Verb;

/// Operations of one transaction.
const MOST: usize = 128;
/// Bytes of a transaction's body.
const BODY_BYTES: usize = 512 * 1024;

/// PUT /v1/txn
pub(crate) async fn txn(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let options = request.read_options()?;
    let body = match request.body(BODY_BYTES).await {
        Ok(body) => body,
        Err(BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. }) => {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Request body{} too large, max size: {BODY_BYTES} bytes. See https://www.consul.io/docs/agent/config/config-files#txn_max_req_len.",
                    request
                        .announced()
                        .map(|bytes| format!("({bytes} bytes)"))
                        .unwrap_or_default()
                ),
            ));
        }
        Err(other) => return Err(other.into()),
    };
    let unread = |why: &str| Failure::bad(format!("Failed to parse body: {why}"));
    if !portolan_listener::json_depth_within(&body, request.caller.context().limits().json_depth) {
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
    let reads_only = !asked.iter().any(writes);
    let planned = |shown: Shown<'_>| {
        let mut plan = Plan::default();
        let mut errors = Errors::default();
        for (at, operation) in asked.iter().enumerate() {
            let allowed = match allow(&request, shown, operation) {
                Ok(()) => step(&server, shown, operation, &asked),
                Err(denied) => Err(denied.text.into_owned()),
            };
            match allowed {
                Ok(step) => plan.add(at, step),
                Err(what) => errors.0.push((at, what)),
            }
        }
        (plan, errors)
    };
    let (mut plan, mut errors) = planned(server.shown(&server.snapshot()));
    if !errors.0.is_empty() {
        // Not for want of what was acknowledged elsewhere.
        let latest = match reads_only {
            true => server.state_for(options.consistency).await?,
            false => server.state_with(|_| false).await?,
        };
        (plan, errors) = planned(server.shown(&latest));
    }
    // Only a read tells how fresh it is.
    let told = |reply: Reply| match reads_only {
        true => reply.read(server.known_leader()),
        false => reply,
    };
    loop {
        let (outcome, state) = if reads_only || !errors.0.is_empty() {
            // What only reads, or cannot be done, needs no entry in the log: it is tried on a copy, which tells
            // everything else that is wrong with it.
            let state = server.state_for(options.consistency).await?;
            (plan.on_a_copy(&request, &state), state)
        } else {
            let settled = server
                .propose(&request, plan.command(&server.snapshot()))
                .await?;
            (settled.outcome, server.snapshot())
        };
        match outcome {
            // What an earlier operation has taken along needs no removal. Each round has fewer operations.
            Err(Refusal::Ops(failed)) if plan.forget_gone(&failed) => {}
            Err(Refusal::Ops(failed)) => {
                errors.add(&plan, &failed, &state);
                return errors.answer().map(told);
            }
            Err(refusal) => return Err(refusal.into()),
            Ok(_) if !errors.0.is_empty() => return errors.answer().map(told),
            Ok(done) => {
                let shown = server.shown_to(&request, &state);
                return plan.results(&done, shown).map(told);
            }
        }
    }
}

/// The operations that can be tried, in order.
#[derive(Default)]
struct Plan {
    /// Where each stands in the request.
    places: Vec<usize>,
    ops: Vec<Op>,
    shows: Vec<Show>,
    may_be_gone: Vec<bool>,
}

impl Plan {
    fn add(&mut self, at: usize, step: Step) {
        self.places.push(at);
        self.ops.push(step.op);
        self.shows.push(step.show);
        self.may_be_gone.push(step.may_be_gone);
    }

    /// Leaves out the removals that failed because there was nothing to remove; false when there are none.
    fn forget_gone(&mut self, failed: &[(usize, Refusal)]) -> bool {
        let gone: Vec<usize> = failed
            .iter()
            .filter(|(at, refusal)| {
                self.may_be_gone.get(*at) == Some(&true)
                    && matches!(
                        refusal,
                        Refusal::NoCheck(_) | Refusal::NoInstance | Refusal::NoNode(_)
                    )
            })
            .map(|(at, _)| *at)
            .collect();
        for at in gone.iter().rev() {
            self.places.remove(*at);
            self.ops.remove(*at);
            self.shows.remove(*at);
            self.may_be_gone.remove(*at);
        }
        !gone.is_empty()
    }

    /// The one command that does it all.
    fn command(&self, state: &State) -> Command {
        let ops = self.ops.iter().cloned();
        Command::Write(Write {
            then: ops.map(|op| with_instances(state, op)).collect(),
            report_all: true,
            ..Write::default()
        })
    }

    /// What would come of it in `state`, which stays as it is.
    fn on_a_copy(&self, request: &Request, state: &State) -> Outcome {
        let entry = Entry {
            at: state.last_at(),
            cause: Arc::new(request.cause()),
            command: self.command(state),
        };
        State::clone(state).apply(&entry).settled.outcome
    }

    /// The answer of a transaction that was done.
    fn results(&self, done: &Done, shown: Shown<'_>) -> Result<Reply, Failure> {
        let mut results = Vec::new();
        if let Done::Written(written) = done {
            for (done, show) in written.results.iter().zip(&self.shows) {
                results.extend(show.render(done, shown)?);
            }
        }
        let results = if results.is_empty() {
            Value::Null
        } else {
            Value::Array(results)
        };
        Reply::json(&json!({"Results": results, "Errors": null}))
    }
}

/// What is wrong, by the place of the operation in the request.
#[derive(Default)]
struct Errors(Vec<(usize, String)>);

impl Errors {
    /// Adds what the catalog refused of a plan.
    fn add(&mut self, plan: &Plan, failed: &[(usize, Refusal)], state: &State) {
        for (at, refusal) in failed {
            let what = plan
                .shows
                .get(*at)
                .map_or_else(|| say(refusal), |show| show.what(refusal, state));
            let place = plan.places.get(*at).copied().unwrap_or(*at);
            self.0.push((place, what));
        }
    }

    /// 409 with all of them, in order.
    fn answer(mut self) -> Result<Reply, Failure> {
        self.0.sort_by_key(|(at, _)| *at);
        let errors: Vec<_> = self
            .0
            .iter()
            .map(|(at, what)| json!({"OpIndex": at, "What": what}))
            .collect();
        Ok(Reply::json(&json!({"Results": null, "Errors": errors}))?.status(StatusCode::CONFLICT))
    }
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

/// Each operation is asked for on its own. What only reads is not: what it may not show is left out of the results.
fn allow(request: &Request, shown: Shown<'_>, operation: &Operation) -> Result<(), Failure> {
    match operation {
        Operation::Kv(kv) => {
            let Some(verb) = Verb::parse(&kv.verb) else {
                return request.listed();
            };
            let keyspace = SPACE.as_str();
            let key = kv.key.as_bytes();
            let one = Resource::Record { keyspace, key };
            match verb {
                Verb::Get | Verb::GetOrEmpty | Verb::GetTree => request.listed(),
                Verb::DeleteTree => {
                    let prefix = key;
                    request.allow(Action::Write, Resource::Prefix { keyspace, prefix })
                }
                verb if verb.reads() => request.allow(Action::Read, one),
                _ => request.allow(Action::Write, one),
            }
        }
        Operation::Node { verb, .. }
        | Operation::Service { verb, .. }
        | Operation::Check { verb, .. }
            if verb == "get" =>
        {
            request.listed()
        }
        Operation::Node { node, .. } => request.allow(Action::Write, Resource::Node(&node.name)),
        Operation::Service { node, service, .. } => {
            let node = NodeName::new(node);
            let id = service_id(service);
            match (&*service.name, shown.row(&node, id)) {
                // Removals say which one it is by its id alone.
                ("", Some(row)) => request.allow(Action::Write, sight::service(&service_name(row))),
                (name, _) => may_register(request, shown, &node, id, name),
            }
        }
        Operation::Check { check, .. } => {
            may_check(request, shown, &NodeName::new(&check.node), check, None)
        }
    }
}
