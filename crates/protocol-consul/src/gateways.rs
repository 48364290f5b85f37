//! Which services the gateways of config entries lead to, and the instances of those gateways.

use crate::chain::{self, Asked};
use crate::config::entries::{Entries, all};
use crate::config::value::{items, text};
use crate::error::Failure;
use crate::health;
use crate::read::{Shown, service_name};
use crate::reply::Reply;
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use portolan_catalog::name::read_flat;
use portolan_listener::Action;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The services that a wildcard stands for: those that are no proxies and no gateways. Servers are none of them.
fn ordinary(shown: Shown<'_>) -> BTreeSet<String> {
    let names = shown.all_rows().filter(|row| {
        let plain = shown.entry(row).service.kind.is_empty();
        plain && service_name(row) != "consul"
    });
    names.map(|row| service_name(row).into_owned()).collect()
}

/// A row for each service that a gateway leads to, by name.
fn rows(shown: Shown<'_>, gateway: &str) -> Vec<Value> {
    let entries = Entries::of(shown.state);
    let mut rows = Vec::new();
    if let Some(entry) = entries.get("ingress-gateway", gateway) {
        for listener in items(&entry, "Listeners") {
            let protocol = text(listener, "Protocol");
            let spoken = |name: &String| {
                let chain = chain::compile(&entries, &Asked::plain(name));
                chain.is_ok_and(|chain| text(&chain, "Protocol") == protocol)
            };
            for service in items(listener, "Services") {
                let mut row = json!({"GatewayKind": "ingress-gateway", "Protocol": protocol, "Port": listener["Port"]});
                if !items(service, "Hosts").is_empty() {
                    row["Hosts"] = service["Hosts"].clone();
                }
                add(&mut rows, shown, gateway, service, &row, &spoken);
            }
        }
    }
    if let Some(entry) = entries.get("terminating-gateway", gateway) {
        for service in items(&entry, "Services") {
            let mut row = json!({"GatewayKind": "terminating-gateway"});
            for key in ["CAFile", "CertFile", "KeyFile", "SNI"] {
                if !text(service, key).is_empty() {
                    row[key] = service[key].clone();
                }
            }
            add(&mut rows, shown, gateway, service, &row, &|_| true);
        }
    }
    rows.sort_by_key(|row| text(&row["Service"], "Name").to_owned());
    rows
}

/// Adds the services that one line of an entry means. What is named itself is not meant by a wildcard.
fn add(
    rows: &mut Vec<Value>,
    shown: Shown<'_>,
    gateway: &str,
    service: &Value,
    row: &Value,
    wanted: &dyn Fn(&String) -> bool,
) {
    let name = text(service, "Name");
    let wild = name == "*";
    let names: BTreeSet<String> = match wild {
        true => ordinary(shown),
        false => BTreeSet::from([name.to_owned()]),
    };
    for name in names {
        let named = rows
            .iter()
            .any(|row| text(&row["Service"], "Name") == name && row["FromWildcard"].is_null());
        let seen = shown.sees(sight::service(&name));
        if !seen || (wild && (named || !wanted(&name))) {
            continue;
        }
        let mut row = row.clone();
        row["Gateway"] = json!({"Name": gateway});
        row["Service"] = json!({"Name": name});
        if wild {
            row["FromWildcard"] = true.into();
        }
        rows.push(row);
    }
}

/// GET /v1/catalog/gateway-services/:gateway
pub(crate) async fn services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.named("gateway", "Missing gateway name")?;
    request.allow(Action::Discover, sight::service(&name))?;
    server
        .watched(&request, &Topic::GatewayServices, |shown| {
            Reply::json(&rows(shown, &name))
        })
        .await
}

/// GET /v1/health/ingress/:service: the instances of the ingress gateways that lead to it.
pub(crate) async fn ingress(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let selection = Selection::parse(&request.params(), fields::ENTRY)?;
    server
        .watched(&request, &Topic::GatewayHealth, |shown| {
            let mut found = Vec::new();
            for kept in all(shown.state, "ingress-gateway") {
                let gateway = text(&kept.value, "Name");
                let leads = rows(shown, gateway)
                    .iter()
                    .any(|row| text(&row["Service"], "Name").eq_ignore_ascii_case(&name));
                if leads {
                    let instances = shown.rows_of(&read_flat(gateway)).into_iter();
                    found.extend(
                        instances
                            .filter(|row| shown.entry(row).service.kind == "ingress-gateway")
                            .filter(|row| selection.wants_tags(&row.tags)),
                    );
                }
            }
            health::entries(shown, found.into_iter(), &selection)
        })
        .await
}
