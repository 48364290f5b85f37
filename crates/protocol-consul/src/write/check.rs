//! Check bodies to the catalog's checks.

use super::Source;
use crate::error::Failure;
use crate::extension::CheckExtension;
use crate::read::SERF_HEALTH;
use crate::wire::{CheckBody, DefinitionBody};
use portolan_catalog::limits::OUTPUT;
use portolan_catalog::{
    CheckFacts, CheckKey, InstanceKey, NewCheck, NodeName, Probe, ProbeTls, Status, Thresholds,
};
use std::sync::Arc;

/// Probes are not run more often than this.
const SHORTEST_INTERVAL_MS: u64 = 1_000;
/// Nothing is deregistered for a check that is critical for less than this.
const SHORTEST_REAP_MS: u64 = 60_000;

/// Consul's refusal of scripts that come over the API.
pub(crate) const SCRIPTS_DISABLED: &str = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";

/// Consul's refusal of scripts in its own files.
const LOCAL_SCRIPTS_DISABLED: &str = "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true";

/// What is wrong with an agent's check, in the words of Consul's `CheckType.Validate`.
pub(crate) fn invalid(definition: &DefinitionBody) -> Option<&'static str> {
    let probe = definition.is_probe();
    let interval = definition.interval.unwrap_or(0);
    let ttl = definition.ttl.unwrap_or(0);
    if interval > 0 && ttl > 0 {
        return Some("Interval and TTL cannot both be specified");
    }
    if probe && interval <= 0 {
        return Some("Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks");
    }
    if probe && definition.is_alias() {
        return Some("Interval cannot be set for Alias checks");
    }
    if definition.is_alias() && ttl > 0 {
        return Some("TTL must be not be set for Alias checks");
    }
    if !probe && !definition.is_alias() && ttl <= 0 {
        return Some("TTL must be > 0 for TTL checks");
    }
    if definition.output_max_size < 0 {
        return Some("MaxOutputMaxSize must be positive");
    }
    if definition
        .failures_before_warning
        .is_some_and(|count| count > definition.failures_before_critical)
    {
        return Some("FailuresBeforeWarning can't be higher than FailuresBeforeCritical");
    }
    None
}

/// A check registered through the agent of `node`. `default_id` and `default_name` fill in what the body leaves out.
///
/// # Errors
/// 400 for definitions that cannot work, 500 for scripts, which are taken from local configuration only.
pub(crate) fn agent_check(
    node: &NodeName,
    body: &CheckBody,
    instance: Option<&InstanceKey>,
    default_id: &str,
    default_name: &str,
    source: Source,
) -> Result<NewCheck, Failure> {
    if let Some(why) = invalid(&body.definition) {
        return Err(Failure::bad(format!("Invalid check: {why}")));
    }
    if body.definition.is_script() {
        match source {
            Source::Call => return Err(Failure::server(SCRIPTS_DISABLED)),
            Source::File { scripts: false } => return Err(Failure::server(LOCAL_SCRIPTS_DISABLED)),
            Source::File { scripts: true } => {}
        }
    }
    let status = match body.status.as_str() {
        "" => Status::Critical,
        text => Status::parse(text).ok_or_else(|| {
            Failure::bad("Status for checks must 'passing', 'warning', 'critical'")
        })?,
    };
    let id = if body.id.is_empty() {
        default_id
    } else {
        &body.id
    };
    if id == SERF_HEALTH {
        return Err(Failure::bad(format!(
            "Invalid check: {id:?} is the cluster's own"
        )));
    }
    let name = if body.name.is_empty() {
        default_name
    } else {
        &body.name
    };
    let mut facts = facts(node, id, name, body, node);
    facts.instance = instance.cloned();
    facts.owner = Some(node.clone());
    if let Source::File { .. } = source {
        facts.extension = CheckExtension {
            from_file: true,
            ..CheckExtension::default()
        }
        .encode();
    }
    let limit = facts.output_limit();
    // What is born passing or warning was said to be so; only the silent default has to wait for a first result.
    Ok(NewCheck {
        facts: Arc::new(facts),
        status,
        output: cut_output(&body.output, limit),
        reported: false,
    })
}

/// The id of a check written to the catalog: its own, or its name.
pub(crate) fn check_id(body: &CheckBody) -> &str {
    if body.id.is_empty() {
        &body.name
    } else {
        &body.id
    }
}

/// A check written to the catalog of `node`: whatever status it says is a result.
///
/// `runner` runs it, if anybody does.
pub(crate) fn catalog_check(
    node: &NodeName,
    body: &CheckBody,
    instance: Option<InstanceKey>,
    runner: Option<NodeName>,
) -> Result<NewCheck, Failure> {
    let status = match body.status.as_str() {
        "" => Status::Critical,
        text => Status::parse(text)
            .ok_or_else(|| Failure::server(format!("invalid check status: {text:?}")))?,
    };
    let mut facts = facts(node, check_id(body), &body.name, body, node);
    facts.instance = instance;
    facts.owner = runner.filter(|_| facts.interval_ms > 0 && body.definition.is_probe());
    let kind = Some(&body.kind).filter(|kind| *kind != facts.probe.kind());
    facts.extension = CheckExtension {
        kind: kind.cloned().unwrap_or_default(),
        reap_after_ms: millis(body.definition.deregister_after),
        from_file: false,
    }
    .encode();
    let limit = facts.output_limit();
    // What nobody runs nobody acts on: it is as critical as its writer says, for as long as that is so.
    if facts.owner.is_none() {
        facts.reap_after_ms = None;
    }
    Ok(NewCheck {
        facts: Arc::new(facts),
        status,
        output: cut_output(&body.output, limit),
        reported: true,
    })
}

fn facts(node: &NodeName, id: &str, name: &str, body: &CheckBody, own: &NodeName) -> CheckFacts {
    let definition = &body.definition;
    let mut facts = CheckFacts::new(CheckKey::new(node, id), name);
    facts.notes = body.notes.as_str().into();
    facts.probe = probe(definition, own);
    let probed = definition.is_probe();
    let interval_ms = millis(definition.interval);
    facts.interval_ms = if interval_ms > 0 && probed {
        interval_ms.max(SHORTEST_INTERVAL_MS)
    } else {
        interval_ms
    };
    facts.timeout_ms = millis(definition.timeout);
    let count = |count: i64| u32::try_from(count.max(0)).unwrap_or(u32::MAX);
    facts.thresholds = Thresholds {
        success_before_passing: count(definition.success_before_passing),
        failures_before_warning: count(definition.failures_before_warning.unwrap_or(0)),
        failures_before_critical: count(definition.failures_before_critical),
    };
    facts.output_bytes = match u32::try_from(definition.output_max_size) {
        Ok(bytes) if (bytes as usize) < OUTPUT => bytes,
        Ok(_) | Err(_) => 0,
    };
    facts.reap_after_ms = definition
        .deregister_after
        .filter(|nanos| *nanos > 0)
        .map(|nanos| millis(Some(nanos)).max(SHORTEST_REAP_MS));
    facts
}

fn probe(definition: &DefinitionBody, own: &NodeName) -> Probe {
    let text = |text: &str| -> Arc<str> { text.into() };
    let tls = || ProbeTls {
        server_name: text(&definition.tls_server_name),
        skip_verify: definition.tls_skip_verify,
    };
    let list =
        |items: &[String]| -> Arc<[Arc<str>]> { items.iter().map(|item| text(item)).collect() };
    match definition.kind() {
        "http" => Probe::Http {
            url: text(&definition.http),
            method: text(if definition.method.is_empty() {
                "GET"
            } else {
                &definition.method
            }),
            headers: definition
                .header
                .iter()
                .flat_map(|(name, values)| values.iter().map(|value| (text(name), text(value))))
                .collect(),
            body: text(&definition.body),
            disable_redirects: definition.disable_redirects,
            tls: tls(),
        },
        "tcp" => Probe::Tcp {
            target: text(&definition.tcp),
            tls: definition.tcp_use_tls.then(tls),
        },
        "udp" => Probe::Udp {
            target: text(&definition.udp),
        },
        "grpc" => Probe::Grpc {
            target: text(&definition.grpc),
            tls: definition.grpc_use_tls.then(tls),
        },
        "h2ping" => Probe::H2Ping {
            target: text(&definition.h2ping),
            tls: definition.h2ping_use_tls.unwrap_or(true).then(tls),
        },
        "docker" => Probe::Docker {
            container: text(&definition.docker_container_id),
            shell: text(&definition.shell),
            args: list(&definition.args),
        },
        "script" if definition.args.is_empty() => Probe::Script {
            args: Arc::from([text(&definition.script)]),
        },
        "script" => Probe::Script {
            args: list(&definition.args),
        },
        "os_service" => Probe::OsService {
            name: text(&definition.os_service),
        },
        "alias" => Probe::Alias {
            node: if definition.alias_node.is_empty() {
                own.clone()
            } else {
                NodeName::new(&definition.alias_node)
            },
            service: text(&definition.alias_service),
        },
        "ttl" => Probe::Ttl {
            ttl_ms: millis(definition.ttl),
        },
        _ => Probe::None,
    }
}

/// Nanoseconds to milliseconds, never rounding something to nothing.
fn millis(nanos: Option<i64>) -> u64 {
    match nanos {
        Some(nanos) if nanos > 0 => nanos.unsigned_abs().div_ceil(1_000_000),
        _ => 0,
    }
}

/// Output as it is kept: the first `limit` bytes, and a note when there were more; both within the catalog's bound.
pub(crate) fn cut_output(output: &str, limit: usize) -> Arc<str> {
    if output.len() <= limit {
        return output.into();
    }
    let note = format!(" ... (captured {limit} of {} bytes)", output.len());
    let mut end = limit.min(OUTPUT - note.len());
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{note}", &output[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn agent(value: serde_json::Value) -> Result<NewCheck, Failure> {
        let body = CheckBody::of(&value).unwrap().unwrap();
        agent_check(
            &NodeName::new("n1"),
            &body,
            None,
            "service:web",
            "Service 'web' check",
            Source::Call,
        )
    }

    #[test]
    fn definitions_are_judged_as_consul_does() {
        for (value, status, text) in [
            (
                json!({"http": "http://x"}),
                400,
                "Invalid check: Interval must be > 0",
            ),
            (
                json!({"ttl": "1s", "interval": "1s"}),
                400,
                "Invalid check: Interval and TTL cannot both be specified",
            ),
            (
                json!({"status": "passing"}),
                400,
                "Invalid check: TTL must be > 0 for TTL checks",
            ),
            (
                json!({"ttl": "1s", "status": "fine"}),
                400,
                "Status for checks must 'passing', 'warning', 'critical'",
            ),
            (
                json!({"args": ["sh"], "interval": "1s"}),
                500,
                "Scripts are disabled on this agent from remote calls",
            ),
        ] {
            let failure = agent(value).unwrap_err();
            assert_eq!(failure.status.as_u16(), status);
            assert!(failure.text.starts_with(text), "{}", failure.text);
        }
    }

    #[test]
    fn defaults_and_floors() {
        let check = agent(json!({"http": "http://x", "interval": "10ms", "deregister_critical_service_after": "1s"})).unwrap();
        assert_eq!(check.facts.key.id(), "service:web");
        assert_eq!(
            (check.facts.interval_ms, check.facts.reap_after_ms),
            (1_000, Some(60_000))
        );
        assert_eq!(check.status, Status::Critical);
        let ttl = agent(json!({"CheckID": "t", "TTL": "1500us", "Status": "passing"})).unwrap();
        assert_eq!(
            (ttl.facts.probe.clone(), ttl.status),
            (Probe::Ttl { ttl_ms: 2 }, Status::Passing)
        );
    }

    #[test]
    fn long_output_is_cut_with_a_note() {
        assert_eq!(
            &*cut_output("0123456789abc", 10),
            "0123456789 ... (captured 10 of 13 bytes)"
        );
        assert_eq!(&*cut_output("0123456789", 10), "0123456789");
        let cut = cut_output(&"\u{e4}".repeat(4000), OUTPUT);
        assert!(cut.len() <= OUTPUT, "{}", cut.len());
        assert!(cut.ends_with(" ... (captured 4096 of 8000 bytes)"));
    }
}
