//! Health checks: the runner, and the programs of the configuration as checks of this server's node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use portolan_catalog::{
    CheckFacts, CheckKey, Command, NewCheck, NodeName, Probe, PutCheck, Status,
};
use portolan_checks::{LocalScript, Meters, ReloadedScripts, Runner, Settings};
use portolan_listener::Metrics;
use portolan_registry::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

use super::bootstrap::{Own, settled};
use crate::config::{Config, ScriptCheck};

/// Registers the programs as checks, and drops those that neither the configuration nor a definition file names any more.
pub(crate) async fn announce(
    registry: &Registry,
    own: &Own,
    scripts: &[ScriptCheck],
    defined: &[LocalScript],
) -> Result<()> {
    let node = NodeName::new(&own.name);
    let known = registry.snapshot();
    for check in known.node_checks(&node) {
        let script = matches!(check.probe, Probe::Script { .. });
        let id = check.key.id();
        let wanted = scripts.iter().any(|script| script.id == id)
            || defined.iter().any(|script| script.check == id);
        if script && !wanted {
            let command = Command::DropCheck {
                key: check.key.clone(),
                expect: None,
            };
            settled(registry, command).await?;
        }
    }
    for script in scripts {
        let mut facts = CheckFacts::new(CheckKey::new(&node, &script.id), &script.id);
        facts.probe = Probe::Script {
            args: script.args.iter().map(|arg| Arc::from(&**arg)).collect(),
        };
        facts.interval_ms = u64::try_from(script.interval.as_millis()).unwrap_or(u64::MAX);
        facts.owner = Some(node.clone());
        let check = NewCheck {
            facts: Arc::new(facts),
            status: Status::Critical,
            output: Arc::default(),
            reported: false,
        };
        settled(
            registry,
            Command::PutCheck(Box::new(PutCheck {
                check,
                expect: None,
            })),
        )
        .await?;
    }
    Ok(())
}

/// Starts to run this node's checks.
pub(crate) fn start(
    config: &Config,
    registry: &Registry,
    own: &Own,
    metrics: &Metrics,
    defined: &ReloadedScripts,
) -> Runner {
    let meters = Meters::default();
    publish(metrics, &meters);
    let mut settings = Settings::new(NodeName::new(&own.name));
    settings.probes = config.checks.probes.max(1);
    settings.output_interval = config.checks.output_interval.max(Duration::from_secs(1));
    settings.scripts = config
        .checks
        .scripts
        .iter()
        .map(|script| LocalScript {
            check: script.id.clone(),
            args: script.args.clone(),
        })
        .collect();
    settings.reloaded_scripts = defined.clone();
    portolan_checks::start(registry.clone(), settings, meters)
}

fn publish(metrics: &Metrics, meters: &Meters) {
    metrics.register(
        "checks_scheduled",
        "health checks that this server runs",
        meters.scheduled.clone(),
    );
    metrics.register(
        "checks_waiting",
        "health checks that are due and wait for others",
        meters.waiting.clone(),
    );
    metrics.register(
        "checks_running",
        "health checks that run now",
        meters.running.clone(),
    );
    metrics.register_collector(Late(meters.late_ms.clone()));
    metrics.register(
        "checks_probes",
        "health checks that ended",
        meters.probes.clone(),
    );
    metrics.register(
        "checks_failures",
        "health checks that ended critical",
        meters.failures.clone(),
    );
    metrics.register(
        "checks_reports",
        "results that were proposed",
        meters.reports.clone(),
    );
    metrics.register(
        "checks_held",
        "results with other output alone that were held back",
        meters.held.clone(),
    );
}

/// How late the last check began, in the unit that metrics have.
#[derive(Debug)]
struct Late(Gauge);

impl Collector for Late {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        encoder
            .encode_descriptor(
                "checks_late_seconds",
                "how late the last check began",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(self.0.get() as f64 / 1e3))
    }
}
