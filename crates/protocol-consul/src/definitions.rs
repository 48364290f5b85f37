//! Service and check definitions in files on this machine, in Consul's JSON.
//!
//! Invariants
//! - All files are read and judged before anything is changed: a mistake leaves everything as it was.
//! - What a file registered carries a mark. What carries it and stands in no file any more is deregistered; what came by a call stays.
//! - Only these definitions may name programs, and only when the configuration allows it.

use crate::agent::services::registrations;
use crate::definition_keys::{unknown_in_check, unknown_in_service};
use crate::error::Failure;
use crate::extension::{CheckExtension, ServiceExtension};
use crate::wire::{CheckBody, ServiceBody};
use crate::write::Source;
use crate::write::check::agent_check;
use crate::write::service::service_id;
use portolan_catalog::{
    Cause, CheckKey, Command, Entry, Host, InstanceKey, NewCheck, NodeName, Probe, Protocol,
    PutCheck, Refusal, Register, State, Target, Via, Why,
};
use portolan_registry::Registry;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the files of this machine define for its own node.
#[derive(Debug, Clone)]
pub struct Definitions {
    node: NodeName,
    address: Host,
    source: Source,
    /// Each with the file it stands in.
    services: Vec<(String, ServiceBody)>,
    checks: Vec<(String, CheckBody)>,
}

/// What there is to register, each with the file it stands in.
#[derive(Default)]
struct Wanted<'a> {
    services: Vec<(&'a str, Register)>,
    checks: Vec<(&'a str, NewCheck)>,
}

impl Wanted<'_> {
    fn all_checks(&self) -> impl Iterator<Item = &NewCheck> {
        let of_services = self
            .services
            .iter()
            .flat_map(|(_, service)| &service.checks);
        of_services.chain(self.checks.iter().map(|(_, check)| check))
    }
}

impl Definitions {
    /// Reads files, each its name and its text: an object with `service`, `services`, `check` or `checks`.
    ///
    /// # Errors
    /// What is wrong, and in which file.
    pub fn read(
        node: NodeName,
        address: Host,
        files: &[(String, String)],
        scripts: bool,
    ) -> Result<Self, String> {
        let mut definitions = Self {
            node,
            address,
            source: Source::File { scripts },
            services: Vec::new(),
            checks: Vec::new(),
        };
        for (file, text) in files {
            let wrong = |why: &str| format!("{file}: {why}");
            let value: Value =
                serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
            let Value::Object(map) = &value else {
                return Err(wrong(
                    "expected an object with service, services, check or checks",
                ));
            };
            for (key, value) in map {
                definitions
                    .take(file, key, value)
                    .map_err(|why| wrong(&why))?;
            }
        }
        // Whatever a registration would be refused for is said now.
        definitions.wanted(&State::default())?;
        Ok(definitions)
    }

    fn take(&mut self, file: &str, key: &str, value: &Value) -> Result<(), String> {
        let value_is_list = value.is_array();
        // In HCL a block that is written twice is a list, and a list of one is a block.
        let values = match (key, value) {
            ("services" | "checks" | "service" | "check", Value::Array(items)) => items.as_slice(),
            ("services" | "checks" | "service" | "check", Value::Object(_)) => {
                std::slice::from_ref(value)
            }
            ("services" | "checks" | "service" | "check", _) => {
                return Err(format!("{key:?} is neither an object nor a list of them"));
            }
            (other, _) => {
                return Err(format!(
                    "unknown key {other:?}; expected service, services, check or checks"
                ));
            }
        };
        for (at, value) in values.iter().enumerate() {
            let path = if value_is_list {
                format!("{key}[{at}]")
            } else {
                key.to_owned()
            };
            let unknown = match key.starts_with("service") {
                true => unknown_in_service(value, &path),
                false => unknown_in_check(value, &path),
            };
            if let Some(unknown) = unknown {
                return Err(format!("invalid config key {unknown}"));
            }
            if key.starts_with("service") {
                let body = ServiceBody::of_agent(value).map_err(|error| error.0)?;
                let id = service_id(&body);
                if let Some((other, _)) = self
                    .services
                    .iter()
                    .find(|(_, known)| service_id(known) == id)
                {
                    return Err(format!("service {id:?} stands in {other} too"));
                }
                self.services.push((file.to_owned(), body));
            } else if let Some(body) = CheckBody::of(value).map_err(|error| error.0)? {
                if body.name.is_empty() {
                    return Err("a check has no name".to_owned());
                }
                self.checks.push((file.to_owned(), body));
            }
        }
        Ok(())
    }

    fn wanted(&self, state: &State) -> Result<Wanted<'_>, String> {
        let mut wanted = Wanted::default();
        let told = |file: &str, failure: Failure| format!("{file}: {}", failure.text);
        for (file, body) in &self.services {
            let made = registrations(body, state, &self.node, &self.address, false, self.source);
            let made = made.map_err(|failure| told(file, failure))?;
            let made = made.into_iter().map(|register| (file.as_str(), register));
            wanted.services.extend(made);
        }
        for (file, body) in &self.checks {
            let instance = InstanceKey::consul(&self.node, &body.service_id);
            let bound = Some(&instance).filter(|_| !body.service_id.is_empty());
            let made = agent_check(&self.node, body, bound, &body.name, &body.name, self.source);
            let made = made.map_err(|failure| told(file, failure))?;
            wanted.checks.push((file, made));
        }
        let mut keys = BTreeSet::new();
        for check in wanted.all_checks() {
            if !keys.insert(&check.facts.key) {
                return Err(format!("check {:?} is defined twice", check.facts.key.id()));
            }
        }
        Ok(wanted)
    }

    /// The programs that the checks name, each with its check's id.
    pub fn programs(&self) -> Vec<(String, Vec<String>)> {
        let wanted = self.wanted(&State::default()).unwrap_or_default();
        let programs = wanted
            .all_checks()
            .filter_map(|check| match &check.facts.probe {
                Probe::Script { args } => {
                    let args = args.iter().map(|arg| arg.to_string()).collect();
                    Some((check.facts.key.id().to_owned(), args))
                }
                _ => None,
            });
        programs.collect()
    }

    /// Registers what the files define and deregisters what they no longer do.
    ///
    /// # Errors
    /// What the catalog would refuse, with its file, before anything is changed; and whatever keeps the server from changing anything.
    pub async fn apply(&self, registry: &Registry) -> Result<(), String> {
        let state = registry.snapshot();
        let wanted = self.wanted(&state)?;
        let checks: BTreeSet<CheckKey> = wanted
            .all_checks()
            .map(|check| check.facts.key.clone())
            .collect();
        let services: BTreeSet<InstanceKey> = wanted
            .services
            .iter()
            .map(|(_, service)| service.facts.key.clone())
            .collect();
        let mut commands: Vec<(&str, Command)> = Vec::new();
        let services_wanted = wanted.services.into_iter();
        commands.extend(
            services_wanted.map(|(file, service)| (file, Command::Register(Box::new(service)))),
        );
        commands.extend(wanted.checks.into_iter().map(|(file, check)| {
            let put = PutCheck {
                check,
                expect: None,
            };
            (file, Command::PutCheck(Box::new(put)))
        }));
        let gone: BTreeSet<InstanceKey> = state
            .instances_on(&self.node)
            .filter(|row| {
                row.key.origin == Protocol::Consul
                    && row.via == Via::Agent
                    && ServiceExtension::decode(&row.extension).from_file
                    && !services.contains(&row.key)
            })
            .map(|row| row.key.clone())
            .collect();
        let gone_checks = state.checks_on(&self.node).filter(|check| {
            // Checks of a service go with it.
            let with_it = check
                .instance
                .as_ref()
                .is_some_and(|key| gone.contains(key));
            CheckExtension::decode(&check.extension).from_file
                && !checks.contains(&check.key)
                && !with_it
        });
        commands.extend(gone_checks.map(|check| {
            let key = check.key.clone();
            (NO_FILE, Command::DropCheck { key, expect: None })
        }));
        commands.extend(gone.iter().map(|key| {
            let target = Target::Instance(key.clone());
            let expect = None;
            (NO_FILE, Command::Deregister { target, expect })
        }));
        refused(&state, &commands)?;
        for (file, command) in commands {
            let settled = registry.propose(Cause::own(Why::Start), command).await;
            match settled.map_err(|error| error.to_string())?.outcome {
                // Somebody else removed it first.
                Ok(_) | Err(Refusal::NoCheck(_)) => {}
                Err(refusal) => {
                    return Err(format!(
                        "{}; the catalog changed meanwhile, and what came before this is done: reload again",
                        said(file, refusal)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Stands for the file of a command that is there because something left the files.
const NO_FILE: &str = "what left the files";

/// Tries the commands on a copy of the state, which costs what they change.
///
/// # Errors
/// The first refusal, with its file.
fn refused(state: &State, commands: &[(&str, Command)]) -> Result<(), String> {
    let mut copy = state.clone();
    let cause = Arc::new(Cause::own(Why::Start));
    for (file, command) in commands {
        let entry = Entry {
            at: state.last_at(),
            cause: cause.clone(),
            command: command.clone(),
        };
        match copy.apply(&entry).settled.outcome {
            Ok(_) | Err(Refusal::NoCheck(_)) => {}
            Err(refusal) => return Err(said(file, refusal)),
        }
    }
    Ok(())
}

fn said(file: &str, refusal: Refusal) -> String {
    format!("{file}: {}", Failure::from(refusal).text)
}
