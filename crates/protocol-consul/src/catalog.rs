//! `/v1/catalog/*`: nodes, services and checks as written, without an agent between.

use crate::error::Failure;
use crate::read::{Flavour, Shown, service_name};
use crate::reply::Reply;
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::sight;
use crate::view;
use crate::watch::Topic;
use crate::wire::{
    CatalogService, CheckBody, Fields, MapOf, Node, NodeBody, NodeService, ServiceBody, Text,
};
use crate::write::check::{catalog_check, check_id};
use crate::write::node::{node_facts, refused_node};
use crate::write::service::{catalog_registration, service_id};
use portolan_catalog::{
    CheckKey, Command, Instance, InstanceKey, NodeName, PutCheck, Refusal, Register, State, Target,
    name::read_flat,
};
use portolan_listener::{Action, Resource};
use portolan_registry::WholeSlot;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// PUT /v1/catalog/register
pub(crate) async fn register(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let body = request.json_object().await?;
    let fields = Fields::of(&body, "register")?;
    let server = server.named_in(&fields.text("datacenter")?)?;
    let node = NodeBody::of(&fields, "nodemeta")?;
    let skip = fields.flag("skipnodeupdate")?;
    let service = fields
        .get("service")
        .map(ServiceBody::of_catalog)
        .transpose()?;
    let mut checks = Vec::new();
    if let Some(check) = fields.get("check") {
        checks.extend(CheckBody::of(check)?);
    }
    for check in fields.list("checks")? {
        checks.extend(CheckBody::of(check)?);
    }
    let state = server.snapshot();
    let shown = server.shown(&state);
    let name = NodeName::new(&node.name);
    let known = state.node(&name);
    let keeps = skip && known.is_some();
    if !keeps && changes_node(&node, known.map(|known| &***known)) {
        request.allow(Action::Write, Resource::Node(&node.name))?;
    }
    if let Some(service) = &service {
        may_register(&request, shown, &name, service_id(service), &service.name)?;
    }
    for check in &checks {
        may_check(&request, shown, &name, check, service.as_ref())?;
    }
    // Nothing of it may be new, and then there is nothing to ask for.
    request.listed()?;
    if let Some(why) = refused_node(&node.name, &node.id) {
        return Err(Failure::server(why));
    }
    let keeps_address = skip || known.is_some_and(|known| !known.id.is_empty());
    if node.address.is_empty() && !keeps_address {
        return Err(Failure::server(
            "Must provide address if SkipNodeUpdate is not set",
        ));
    }
    let mut operations = Vec::new();
    // A server's own node says of itself what it is; anti-entropy would put it back at once.
    let keeps_node = known.is_some() && (skip || node.address.is_empty() || shown.is_server(&name));
    let address = match (keeps_node, known) {
        (true, Some(known)) => known.address.clone(),
        _ => {
            let facts = node_facts(&node, known.map(|known| &***known))?;
            let address = facts.address.clone();
            operations.push(Command::PutNode {
                node: Arc::new(facts),
                terms: None,
                expect: None,
            });
            address
        }
    };
    if let Some(body) = &service {
        if let Some(why) = shown.refused_service(&name, service_id(body)) {
            return Err(Failure::server(why));
        }
        let mut facts = catalog_registration(&name, &address, body)?;
        // A service its agent holds stays the agent's, as anti-entropy would have it.
        if let Some(held) = state.instance(&facts.key) {
            facts.via = held.via;
        }
        operations.push(Command::Register(Box::new(Register::new(facts))));
    }
    for check in &checks {
        if !check.node.is_empty() && NodeName::new(&check.node) != name {
            let id = check_id(check);
            return Err(Failure::server(format!(
                "Node '{}' for check '{id}' doesn't match register request node '{}'",
                check.node, node.name
            )));
        }
        if let Some(why) = shown.refused_check(&name, check_id(check)) {
            return Err(Failure::server(why));
        }
        let instance = bound(shown, &name, check, service.as_ref());
        let external = node
            .meta
            .get("external-node")
            .is_some_and(|value| value == "true")
            || known.is_some_and(|known| known.meta.get("external-node") == Some("true"));
        let check = catalog_check(&name, check, instance, external.then(|| server.info.node()))?;
        operations.push(Command::PutCheck(Box::new(PutCheck {
            check,
            expect: None,
        })));
    }
    drop(state);
    match server.propose_all(&request, operations).await? {
        Ok(_) => Ok(Reply::truth(true)),
        Err(refusal) => Err(node_refused(&refusal, &node, &server.snapshot())),
    }
}

/// Whether a registration says anything else about its node than is known.
fn changes_node(node: &NodeBody, known: Option<&portolan_catalog::NodeFacts>) -> bool {
    let Some(known) = known else { return true };
    let facts = node_facts(node, Some(known));
    // What cannot be read changes nothing, and is refused for that.
    facts.is_ok_and(|facts| facts != *known)
}

/// Asks for a service that is written, and for the one whose place it takes.
pub(crate) fn may_register(
    request: &Request,
    shown: Shown<'_>,
    node: &NodeName,
    id: &str,
    name: &str,
) -> Result<(), Failure> {
    if let Some(row) = shown.row(node, id) {
        request.allow(Action::Register, sight::service(&service_name(row)))?;
    }
    request.allow(Action::Register, sight::service(name))
}

/// Asks for a check that is written: for its service, or for its node.
pub(crate) fn may_check(
    request: &Request,
    shown: Shown<'_>,
    node: &NodeName,
    check: &CheckBody,
    with: Option<&ServiceBody>,
) -> Result<(), Failure> {
    let key = CheckKey::new(node, check_id(check));
    let held = shown.state.check(&key).map(|held| held.instance.clone());
    if let Some(instance) = held {
        let row = instance.and_then(|key| shown.state.instance(&key));
        may_change_check(request, node, row.map(|row| &**row))?;
    }
    let with = with.filter(|service| service_id(service) == check.service_id);
    match (with, shown.row(node, &check.service_id)) {
        _ if check.service_id.is_empty() => {
            request.allow(Action::Write, Resource::Node(node.as_str()))
        }
        (Some(service), _) => request.allow(Action::Register, sight::service(&service.name)),
        (None, row) => may_change_check(request, node, row.map(|row| &**row)),
    }
}

/// Asks for a check that is there, by the row it belongs to.
pub(crate) fn may_change_check(
    request: &Request,
    node: &NodeName,
    row: Option<&Instance>,
) -> Result<(), Failure> {
    match row {
        Some(row) => request.allow(Action::Register, sight::service(&service_name(row))),
        None => request.allow(Action::Write, Resource::Node(node.as_str())),
    }
}

/// Asks for what is taken out of the catalog: the node's writer may take anything from it, others what is their own.
fn may_deregister(
    request: &Request,
    shown: Shown<'_>,
    node: &NodeName,
    service: &str,
    check: &str,
) -> Result<(), Failure> {
    let all = request.allow(Action::Write, Resource::Node(node.as_str()));
    if all.is_ok() || request.refused.is_some() {
        return all;
    }
    let row = match (service, check) {
        ("", "") => None,
        ("", check) => {
            let check = shown.state.check(&CheckKey::new(node, check));
            let instance = check.and_then(|check| check.instance.as_ref());
            instance.and_then(|key| shown.state.instance(key))
        }
        (id, _) => shown.row(node, id),
    };
    match row {
        Some(row) => request.allow(Action::Register, sight::service(&service_name(row))),
        None => all,
    }
}

fn node_refused(refusal: &Refusal, node: &NodeBody, state: &State) -> Failure {
    match refusal {
        Refusal::Ops(failed) if !failed.is_empty() => node_refused(&failed[0].1, node, state),
        Refusal::NodeTaken { id } => {
            let holder = state.nodes().find(|holder| holder.id == *id);
            let (name, address) = holder.map_or_else(
                || (node.name.clone(), node.address.clone()),
                |holder| (holder.spelling.to_string(), holder.address.to_string()),
            );
            Failure::server(format!(
                "failed inserting node: Error while renaming Node ID: {:?}: Node name {} is reserved by node {id} with name {name} ({address})",
                node.id, node.name
            ))
        }
        other => Failure::from(other.clone()),
    }
}

/// The instance a catalog check belongs to.
pub(crate) fn bound(
    shown: Shown<'_>,
    node: &NodeName,
    check: &CheckBody,
    with: Option<&ServiceBody>,
) -> Option<InstanceKey> {
    if check.service_id.is_empty() {
        return None;
    }
    if with.is_some_and(|service| service_id(service) == check.service_id) {
        return Some(InstanceKey::consul(node, &check.service_id));
    }
    let row = shown
        .row(node, &check.service_id)
        .map(|row| row.key.clone());
    Some(row.unwrap_or_else(|| InstanceKey::consul(node, &check.service_id)))
}

/// PUT /v1/catalog/deregister
pub(crate) async fn deregister(
    server: Arc<Server>,
    mut request: Request,
) -> Result<Reply, Failure> {
    let body = request.json_object().await?;
    let fields = Fields::of(&body, "deregister")?;
    let server = server.named_in(&fields.text("datacenter")?)?;
    let (node, service, check) = (
        fields.text("node")?,
        fields.text("serviceid")?,
        fields.text("checkid")?,
    );
    if node.is_empty() {
        request.listed()?;
        return Err(Failure::server("Must provide node"));
    }
    let name = NodeName::new(&node);
    // What is registered without an agent between is not looked for in what this server happens to have applied.
    let known = |shown: Shown<'_>| service.is_empty() || shown.row(&name, &service).is_some();
    let state = server.state_with(known).await?;
    let command = {
        let shown = server.shown(&state);
        may_deregister(&request, shown, &name, &service, &check)?;
        let own = shown
            .refused_service(&name, &service)
            .or_else(|| shown.refused_check(&name, &check));
        if let Some(why) = own {
            return Err(Failure::server(why));
        }
        if !service.is_empty() {
            shown.row(&name, &service).map(|row| Command::Deregister {
                target: removal(shown, row),
                expect: None,
            })
        } else if !check.is_empty() {
            Some(Command::DropCheck {
                key: CheckKey::new(&name, &check),
                expect: None,
            })
        } else if shown.is_server(&name) {
            return Err(Failure::server(format!(
                "node {node:?} is a server of this cluster and cannot be deregistered"
            )));
        } else if name.is_virtual() && shown.node(&name).is_some() {
            return Err(Failure::server(format!(
                "node {node:?} stands for instances registered through other protocols; deregister those by ServiceID"
            )));
        } else {
            Some(Command::DropNode { name, expect: None })
        }
    };
    drop(state);
    let Some(command) = command else {
        return Ok(Reply::truth(true));
    };
    match server.propose(&request, command).await?.outcome {
        // Removing what is not there is what was asked for.
        Ok(_) | Err(Refusal::NoCheck(_) | Refusal::NoNode(_) | Refusal::NoInstance) => {
            Ok(Reply::truth(true))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// What deregistering a shown row removes: the row, or where an endpoint is shown and not a row, all its members.
pub(crate) fn removal(shown: Shown<'_>, row: &portolan_catalog::Instance) -> Target {
    if crate::read::is_own(row) {
        return Target::Instance(row.key.clone());
    }
    match shown.state.endpoint_of(row) {
        Some(endpoint)
            if !endpoint
                .members
                .iter()
                .any(|member| crate::read::is_own(member)) =>
        {
            Target::Endpoint(endpoint.key.clone())
        }
        _ => Target::Instance(row.key.clone()),
    }
}

/// GET /v1/catalog/nodes
pub(crate) async fn nodes(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::NODE)?;
    server
        .watched(&request, &Topic::Nodes, |shown| {
            let mut rows: Vec<_> = shown
                .nodes()
                .into_iter()
                .filter(|node| selection.wants_node(&node.meta))
                .collect();
            selection.near_first(&shown.info.node_name, &mut rows, |node| &node.node);
            Reply::json(&selection.filtered::<Node<'_>>(rows)?)
        })
        .await
}

/// GET /v1/catalog/services
pub(crate) async fn services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::SERVICES)?;
    let stamp = |state: &State| state.marks().services.max(state.marks().instances);
    server
        .watched(&request, &Topic::Services, |shown| {
            if selection.is_everything() && shown.sight.is_none() {
                let render = || serde_json::to_vec(&names(shown)).unwrap_or_default().into();
                return Ok(Reply::encoded(server.registry.whole(
                    SERVICES,
                    stamp(shown.state),
                    render,
                )));
            }
            Reply::json(&selected_names(shown, &selection)?)
        })
        .await
}

/// The form of the list of services, made once per change.
const SERVICES: WholeSlot = WholeSlot::consul(0);

type Names<'a> = BTreeMap<String, BTreeSet<&'a str>>;

/// Each spelling of each service, with the tags of its rows.
fn names(shown: Shown<'_>) -> Names<'_> {
    let mut names = Names::new();
    for instance in shown.all_rows() {
        add_name(&mut names, instance);
    }
    names
}

/// As [`names`], of the rows that are wanted.
fn selected_names<'a>(shown: Shown<'a>, selection: &Selection) -> Result<Names<'a>, Failure> {
    let mut names = Names::new();
    for instance in shown.all_rows() {
        if selection.asks_nodes() && !selection.wants_node(&shown.node_of(instance).meta) {
            continue;
        }
        if selection.filter.is_none() || selection.wants(&shown.catalog_row(instance))? {
            add_name(&mut names, instance);
        }
    }
    Ok(names)
}

fn add_name<'a>(names: &mut Names<'a>, instance: &'a Instance) {
    let name = crate::read::service_name(instance);
    if !names.contains_key(&*name) {
        names.insert(name.to_string(), BTreeSet::new());
    }
    if let Some(tags) = names.get_mut(&*name) {
        tags.extend(instance.tags.iter().map(|tag| &**tag));
    }
}

/// GET /v1/catalog/service/:name
pub(crate) async fn service(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let key = read_flat(&name);
    let params = request.params();
    if view::fits(&params) && !params.has("passing") && request.sight.is_none() {
        let render = |shown: Shown<'_>| {
            let rows: Vec<_> = shown
                .rows_of(&key)
                .into_iter()
                .map(|row| shown.catalog_row(row))
                .collect();
            serde_json::to_vec(&rows).unwrap_or_default()
        };
        return server.encoded(&request, &key, view::CATALOG, render).await;
    }
    let selection = Selection::parse(&params, fields::CATALOG_SERVICE)?;
    server
        .watched(&request, &Topic::Service(key.clone()), |shown| {
            rows(shown, shown.rows_of(&key).into_iter(), &selection)
        })
        .await
}

/// Instances as rows of the catalog, those that are wanted.
fn rows<'a>(
    shown: Shown<'a>,
    instances: impl Iterator<Item = &'a Arc<Instance>>,
    selection: &Selection,
) -> Result<Reply, Failure> {
    let mut rows: Vec<_> = instances
        .filter(|instance| selection.wants_tags(&instance.tags))
        .map(|instance| shown.catalog_row(instance))
        .filter(|row| selection.wants_node(&row.node_meta))
        .collect();
    selection.near_first(&shown.info.node_name, &mut rows, |row| &row.node);
    Reply::json(&selection.filtered::<CatalogService<'_>>(rows)?)
}

/// GET /v1/catalog/connect/:name
pub(crate) async fn connect(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let selection = Selection::parse(&request.params(), fields::CATALOG_SERVICE)?;
    server
        .watched(&request, &Topic::Nodes, |shown| {
            rows(shown, shown.connected(&name), &selection)
        })
        .await
}

/// GET /v1/catalog/node/:name
pub(crate) async fn node(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    one_node(server, request, |node, services| {
        let Some(node) = node else {
            return Reply::json(&Value::Null);
        };
        let services = MapOf(
            services
                .into_iter()
                .map(|service| (service.id.clone(), service))
                .collect(),
        );
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer<'a> {
            node: Node<'a>,
            services: MapOf<Text<'a>, NodeService<'a>>,
        }
        Reply::json(&Answer { node, services })
    })
    .await
}

/// GET /v1/catalog/node-services/:name
pub(crate) async fn node_services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    one_node(server, request, |node, services| {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer<'a> {
            node: Option<Node<'a>>,
            services: Vec<NodeService<'a>>,
        }
        Reply::json(&Answer { node, services })
    })
    .await
}

async fn one_node(
    server: Arc<Server>,
    request: Request,
    render: impl Fn(Option<Node<'_>>, Vec<NodeService<'_>>) -> Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::SERVICE)?;
    let name = server.shown(&server.snapshot()).node_named(&node);
    server
        .watched(&request, &Topic::Node(name.clone()), |shown| {
            let node = shown.node(&name);
            let rows = match &node {
                Some(_) => shown.rows_on(&name),
                None => Vec::new(),
            };
            let services = rows
                .into_iter()
                .map(|row| shown.service(row, Flavour::Catalog))
                .collect();
            render(node, selection.filtered::<NodeService<'_>>(services)?)
        })
        .await
}
