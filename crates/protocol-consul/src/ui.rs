//! `/v1/internal/ui/*`: the summaries Consul's own pages are drawn from.

use crate::error::Failure;
use crate::read::{Flavour, Shown};
use crate::reply::Reply;
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::watch::Topic;
use crate::wire::HealthCheck;
use portolan_catalog::NodeName;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Checks of one kind of thing, counted.
#[derive(Default)]
struct Count {
    total: usize,
    passing: usize,
    warning: usize,
    critical: usize,
}

impl Count {
    fn add(&mut self, status: &str) {
        self.total += 1;
        match status {
            "passing" => self.passing += 1,
            "warning" => self.warning += 1,
            _ => self.critical += 1,
        }
    }

    fn show(&self) -> Value {
        json!({"Total": self.total, "Passing": self.passing, "Warning": self.warning, "Critical": self.critical})
    }
}

/// GET /v1/internal/ui/services
pub(crate) async fn services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), &["Name", "Tags", "Nodes", "Kind"])?;
    server
        .watched(&request, &Topic::Health, |shown| {
            Reply::json(&selection.filtered(summaries(shown))?)
        })
        .await
}

fn summaries(shown: Shown<'_>) -> Vec<Value> {
    #[derive(Default)]
    struct Summary {
        tags: BTreeSet<String>,
        nodes: BTreeSet<String>,
        kind: String,
        instances: usize,
        count: Count,
        native: bool,
    }
    let mut all: BTreeMap<String, Summary> = BTreeMap::new();
    for row in shown.all_rows().filter(|row| shown.sees_node(&row.node)) {
        let entry = shown.entry(row);
        let summary = all.entry(entry.service.service.to_string()).or_default();
        summary.instances += 1;
        summary.nodes.insert(entry.node.node.to_string());
        summary
            .tags
            .extend(entry.service.tags.iter().map(ToString::to_string));
        summary.kind = entry.service.kind.to_string();
        summary.native |= entry
            .service
            .connect
            .as_ref()
            .is_some_and(|connect| connect["Native"] == true);
        for check in &entry.checks {
            summary.count.add(check.status);
        }
    }
    all.into_iter()
        .map(|(name, summary)| {
            let mut row = json!({
                "Name": name, "Datacenter": shown.info.datacenter, "Tags": summary.tags, "Nodes": summary.nodes,
                "ExternalSources": null, "InstanceCount": summary.instances, "ChecksPassing": summary.count.passing,
                "ChecksWarning": summary.count.warning, "ChecksCritical": summary.count.critical, "GatewayConfig": {},
                "TransparentProxy": false, "ConnectNative": summary.native, "ConnectedWithProxy": false,
                "ConnectedWithGateway": false,
            });
            if !summary.kind.is_empty() {
                row["Kind"] = json!(summary.kind);
            }
            row
        })
        .collect()
}

fn node_row(shown: Shown<'_>, name: &NodeName) -> Option<Value> {
    let node = shown.node(name)?;
    let services: Vec<_> = shown
        .rows_on(name)
        .into_iter()
        .map(|row| shown.service(row, Flavour::Catalog))
        .collect();
    let checks: Vec<HealthCheck<'_>> = shown.all_checks_on(name);
    let mut row = serde_json::to_value(node).ok()?;
    row["Services"] = serde_json::to_value(services).ok()?;
    row["Checks"] = serde_json::to_value(checks).ok()?;
    Some(row)
}

/// GET /v1/internal/ui/nodes
pub(crate) async fn nodes(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::NODE)?;
    server
        .watched(&request, &Topic::Health, |shown| {
            let names = shown
                .nodes()
                .into_iter()
                .map(|node| NodeName::new(&node.node));
            let rows: Vec<Value> = names.filter_map(|name| node_row(shown, &name)).collect();
            Reply::json(&selection.filtered(rows)?)
        })
        .await
}

/// GET /v1/internal/ui/node/:node
pub(crate) async fn node(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.listed()?;
    let name = NodeName::new(&node);
    server
        .watched(
            &request,
            &Topic::NodeHealth(name.clone()),
            |shown| match node_row(shown, &name) {
                Some(row) => Reply::json(&row),
                None => Ok(Reply::empty().status(http::StatusCode::NOT_FOUND)),
            },
        )
        .await
}

/// GET /v1/internal/ui/catalog-overview
pub(crate) async fn overview(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    server
        .watched(&request, &Topic::Health, |shown| {
            let worst = |checks: &[HealthCheck<'_>]| {
                ["critical", "warning"]
                    .into_iter()
                    .find(|s| checks.iter().any(|c| c.status == *s))
                    .unwrap_or("passing")
            };
            let (mut nodes, mut checks) = (Count::default(), Count::default());
            for node in shown.nodes() {
                nodes.add(worst(&shown.checks_of_node(&NodeName::new(&node.node))));
            }
            let mut services: BTreeMap<String, Count> = BTreeMap::new();
            for row in shown.all_rows() {
                let own = shown.checks_of(row);
                services
                    .entry(crate::read::service_name(row).into_owned())
                    .or_default()
                    .add(worst(&own));
            }
            for check in shown.all_checks() {
                checks.add(check.status);
            }
            let named = |name: &String, count: &Count| {
                let mut row = count.show();
                row["Name"] = json!(name);
                row
            };
            let services: Vec<Value> = services
                .iter()
                .map(|(name, count)| named(name, count))
                .collect();
            Reply::json(
                &json!({"Nodes": [nodes.show()], "Services": services, "Checks": [checks.show()]}),
            )
        })
        .await
}
