//! The probes: one attempt each, with its result and its words. When and how often is the scheduler's business.

mod alias;
mod dial;
mod grpc;
mod h2ping;
mod http;
mod script;
mod tcp;
mod udp;

use std::time::Duration;

use portolan_catalog::{CheckFacts, Probe, Status};
use portolan_registry::Registry;

/// Time a probe has when its check names none.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time a script has when its check names none.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// What a check says that would need TLS.
const NO_TLS: &str = "this version has no TLS for checks; probe without TLS, or report from outside with a TTL check";

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) status: Status,
    pub(crate) output: String,
}

impl Finding {
    fn passing(output: impl Into<String>) -> Finding {
        Finding {
            status: Status::Passing,
            output: output.into(),
        }
    }

    fn critical(output: impl Into<String>) -> Finding {
        Finding {
            status: Status::Critical,
            output: output.into(),
        }
    }
}

/// How long one attempt may take.
pub(crate) fn timeout_of(facts: &CheckFacts) -> Duration {
    match (facts.timeout_ms, &facts.probe) {
        (0, Probe::Script { .. }) => SCRIPT_TIMEOUT,
        (0, _) => TIMEOUT,
        (ms, _) => Duration::from_millis(ms),
    }
}

/// Runs one attempt. `None` for kinds that nobody here runs.
pub(crate) async fn run(facts: &CheckFacts, registry: &Registry) -> Option<Finding> {
    let timeout = timeout_of(facts);
    let finding = match &facts.probe {
        Probe::Http {
            url,
            method,
            headers,
            body,
            disable_redirects,
            tls: _,
        } => {
            let request = http::Request {
                url,
                method,
                headers,
                body,
                follow: !disable_redirects,
                output: facts.output_limit(),
            };
            http::probe(&request, timeout).await
        }
        Probe::Tcp { target, tls: None } => tcp::probe(target, timeout).await,
        Probe::Udp { target } => udp::probe(target, timeout).await,
        Probe::Grpc { target, tls: None } => grpc::probe(target, timeout).await,
        Probe::H2Ping { target, tls: None } => h2ping::probe(target, timeout).await,
        Probe::Tcp { target, .. } => Finding::critical(format!("TCP connect {target}: {NO_TLS}")),
        Probe::Grpc { target, .. } => Finding::critical(format!("gRPC check {target}: {NO_TLS}")),
        Probe::H2Ping { target, .. } => Finding::critical(format!("HTTP2 ping {target}: {NO_TLS}")),
        Probe::Script { args } => script::probe(args, timeout, facts.output_limit()).await,
        Probe::Alias { node, service } => {
            alias::alias(&registry.snapshot(), &facts.key, node, service)
        }
        Probe::None | Probe::Ttl { .. } | Probe::Docker { .. } | Probe::OsService { .. } => {
            return None;
        }
    };
    Some(finding)
}
