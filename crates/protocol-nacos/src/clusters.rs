//! Settings of a service's clusters, and the health checks of persistent instances that follow from them.
//!
//! The catalog has metadata of a service and no clusters; a cluster that differs from the default is one pair of it, under a key that no
//! answer shows as metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{
    CheckFacts, CheckKey, Meta, NewCheck, NodeName, Probe, ProbeTls, Registration, ServiceKey,
    State, Status, Thresholds,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Problem;

/// What stands before a cluster's name in the service's metadata.
const KEY: &str = "nacos.cluster/";
/// Milliseconds between two probes.
const INTERVAL_MS: u64 = 3_000;
/// Milliseconds until a probe counts as failed.
const TIMEOUT_MS: u64 = 1_000;
/// Results in a row that change what an instance is.
const RESULTS: u32 = 3;
/// The port that is checked where it is not the instance's own.
const CHECK_PORT: u16 = 80;

/// How the instances of a cluster are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub(crate) enum Checker {
    /// A connection.
    #[default]
    Tcp,
    /// A request.
    #[serde(rename_all = "camelCase")]
    Http {
        #[serde(default)]
        path: String,
        /// `name:value|name:value`
        #[serde(default)]
        headers: String,
        #[serde(default = "fine")]
        expected_response_code: u16,
    },
    /// Nobody checks; operators say.
    None,
}

fn fine() -> u16 {
    200
}

impl Checker {
    pub(crate) fn is_none(&self) -> bool {
        *self == Checker::None
    }

    /// Reads what an operator sends.
    ///
    /// # Errors
    /// When it is none, or one that this server does not run.
    pub(crate) fn parse(text: &str) -> Result<Checker, Problem> {
        let value: Value = serde_json::from_str(text)
            .map_err(|_| Problem::invalid(format!("healthChecker {text:?} is not JSON")))?;
        if value["type"] == "MYSQL" {
            return Err(Problem::not_served("the health checker MYSQL"));
        }
        let checker: Checker = serde_json::from_value(value).map_err(|_| {
            Problem::invalid(format!("healthChecker {text:?}: type is TCP, HTTP or NONE"))
        })?;
        match &checker {
            Checker::Http {
                expected_response_code,
                ..
            } if !(200..300).contains(expected_response_code) => Err(Problem::not_served(
                "a health checker that expects another response than 200 to 299",
            )),
            _ => Ok(checker),
        }
    }
}

/// One cluster's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) checker: Checker,
    pub(crate) check_port: u16,
    pub(crate) own_port: bool,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            checker: Checker::Tcp,
            check_port: CHECK_PORT,
            own_port: true,
            metadata: BTreeMap::new(),
        }
    }
}

impl Cluster {
    /// As v1 shows it.
    pub(crate) fn shown(&self, name: &str) -> Value {
        json!({"name": name, "healthChecker": self.checker, "metadata": self.metadata})
    }

    /// As v2 and v3 show it.
    pub(crate) fn detail(&self, name: &str) -> Value {
        json!({
            "clusterName": name,
            "healthChecker": self.checker,
            "metadata": self.metadata,
            "healthyCheckPort": self.check_port,
            "useInstancePortForCheck": self.own_port,
            "hosts": null,
        })
    }
}

/// The settings of one cluster of a service; the default where nobody set any.
pub(crate) fn of(state: &State, service: &ServiceKey, cluster: &str) -> Cluster {
    let settings = state.service(service).map(|row| &row.settings);
    let text = settings.and_then(|settings| settings.meta.get(&format!("{KEY}{cluster}")));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The names of the clusters that somebody set.
pub(crate) fn named(meta: &Meta) -> impl Iterator<Item = &str> {
    meta.iter().filter_map(|(key, _)| key.strip_prefix(KEY))
}

/// The metadata of a service that clients see.
pub(crate) fn metadata(meta: &Meta) -> BTreeMap<&str, &str> {
    meta.iter()
        .filter(|(key, _)| !key.starts_with(KEY))
        .collect()
}

/// Other metadata, with the clusters as they were.
pub(crate) fn with_metadata(meta: &Meta, metadata: &BTreeMap<String, String>) -> Meta {
    let clusters = meta.iter().filter(|(key, _)| key.starts_with(KEY));
    let other = metadata.iter().filter(|(key, _)| !key.starts_with(KEY));
    clusters
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .chain(other.map(|(k, v)| (k.clone(), v.clone())))
        .collect()
}

/// The metadata with one cluster's settings.
pub(crate) fn with_cluster(meta: &Meta, name: &str, cluster: &Cluster) -> Meta {
    // Text and numbers can always be written.
    let text = serde_json::to_string(cluster).unwrap_or_default();
    meta.with(&format!("{KEY}{name}"), &text)
}

/// The check of a persistent instance, run by `node`; none where nobody checks.
pub(crate) fn check_for(
    facts: &Registration,
    cluster: &Cluster,
    node: &NodeName,
    healthy: bool,
) -> Option<NewCheck> {
    let port = if cluster.own_port {
        facts.endpoint.port()
    } else {
        cluster.check_port
    };
    let target = facts.endpoint.host.with_port(port);
    let probe = match &cluster.checker {
        Checker::None => return None,
        Checker::Tcp => Probe::Tcp {
            target: target.into(),
            tls: None,
        },
        Checker::Http { path, headers, .. } => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            let headers = headers.split('|').filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.trim().into(), value.trim().into()))
            });
            Probe::Http {
                url: format!("http://{target}{slash}{path}").into(),
                method: "GET".into(),
                headers: headers.collect(),
                body: Arc::default(),
                disable_redirects: true,
                tls: ProbeTls::default(),
            }
        }
    };
    let id = format!("nacos:{}", facts.key.id);
    let name = format!("{} check", probe.kind());
    let mut check = CheckFacts::new(CheckKey::new(&facts.node, &id), &name);
    check.instance = Some(facts.key.clone());
    check.probe = probe;
    check.interval_ms = INTERVAL_MS;
    check.timeout_ms = TIMEOUT_MS;
    check.thresholds = Thresholds {
        success_before_passing: RESULTS,
        failures_before_warning: 0,
        failures_before_critical: RESULTS,
    };
    check.owner = Some(node.clone());
    Some(NewCheck {
        facts: Arc::new(check),
        status: if healthy {
            Status::Passing
        } else {
            Status::Critical
        },
        output: Arc::default(),
        reported: false,
    })
}
