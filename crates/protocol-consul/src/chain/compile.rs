//! From entries to a chain: routers lead to splitters, splitters to resolvers, and resolvers to targets, which are sets of instances.
//!
//! Invariants
//! - Entries that lead in circles are told, never followed for ever: redirects by their history, splitters by a search afterwards. The
//!   depth of splitters and the number of shares are bounded.

use super::Asked;
use super::customized::{Customized, mark};
use super::flatten;
use crate::config::entries::Entries;
use crate::config::valid_chain::hashes;
use crate::config::valid_gateways::is_http_like;
use crate::config::value::{items, text};
use crate::wire::{parse_duration, print_duration};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Splitters that lead to splitters.
const DEEPEST: usize = 64;
/// Time for a connection unless a resolver says otherwise: 5 s.
const CONNECT_TIMEOUT: i64 = 5_000_000_000;

/// Compiles the chain of a service.
///
/// # Errors
/// Consul's sentence when the entries contradict each other.
pub(crate) fn compile(entries: &Entries<'_>, asked: &Asked) -> Result<Value, String> {
    let mut compiler = Compiler {
        entries,
        asked,
        plain: !asked.protocol.is_empty() && !is_http_like(&asked.protocol),
        global: entries.get("proxy-defaults", "global"),
        services: BTreeMap::new(),
        nodes: BTreeMap::new(),
        targets: BTreeMap::new(),
        retained: BTreeSet::new(),
        protocol: String::new(),
        advanced: false,
        shares: 0,
        customized: Customized::default(),
    };
    let start = compiler.assemble()?;
    flatten::check_circles(&compiler.nodes, &start)?;
    flatten::flatten(&mut compiler.nodes)?;
    flatten::drop_unused(&mut compiler.nodes, &start);
    compiler.finish(&start)
}

/// What is known of a service: its defaults and its resolver.
#[derive(Clone, Default)]
struct Service {
    defaults: Option<Value>,
    resolver: Value,
}

struct Compiler<'a> {
    entries: &'a Entries<'a>,
    asked: &'a Asked,
    /// Routers and splitters are passed over: another protocol was asked for.
    plain: bool,
    global: Option<Value>,
    services: BTreeMap<String, Service>,
    nodes: BTreeMap<String, Value>,
    targets: BTreeMap<String, Value>,
    retained: BTreeSet<String>,
    protocol: String,
    advanced: bool,
    /// Shares of all splitters so far.
    shares: usize,
    customized: Customized,
}

/// A set of instances, before it is known what it is.
#[derive(Clone)]
struct Target {
    service: String,
    subset: String,
    datacenter: String,
}

impl Target {
    fn id(&self) -> String {
        let base = format!("{}.default.default.{}", self.service, self.datacenter);
        match &*self.subset {
            "" => base,
            subset => format!("{subset}.{base}"),
        }
    }

    /// As entries lead on from it.
    fn rewritten(&self, service: &str, subset: &str, datacenter: &str) -> Self {
        let mut other = self.clone();
        if !service.is_empty() && service != other.service {
            service.clone_into(&mut other.service);
            other.subset.clear();
        }
        for (to, from) in [
            (&mut other.subset, subset),
            (&mut other.datacenter, datacenter),
        ] {
            if !from.is_empty() {
                from.clone_into(to);
            }
        }
        other
    }
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    match text {
        "" => other,
        text => text,
    }
}

impl Compiler<'_> {
    fn service(&mut self, name: &str) -> Service {
        if let Some(known) = self.services.get(name) {
            return known.clone();
        }
        let resolver = self.entries.get("service-resolver", name);
        let service = Service {
            defaults: self.entries.get("service-defaults", name),
            resolver: resolver.unwrap_or(Value::Null),
        };
        self.services.insert(name.to_owned(), service.clone());
        service
    }

    fn here(&self, service: &str, subset: &str) -> Target {
        Target {
            service: service.to_owned(),
            subset: subset.to_owned(),
            datacenter: self.asked.datacenter.clone(),
        }
    }

    /// All services of a chain are spoken to in one protocol.
    fn record_protocol(&mut self, name: &str) -> Result<(), String> {
        let defaults = self.service(name).defaults;
        let global = || {
            let config = &self.global.as_ref()?["Config"];
            Some(text(config, "protocol"))
        };
        let said = match &defaults {
            Some(defaults) => text(defaults, "Protocol"),
            None => global().unwrap_or_default(),
        };
        let protocol = or(said, "tcp").to_lowercase();
        if self.protocol.is_empty() {
            self.protocol = protocol;
        } else if self.protocol != protocol {
            return Err(format!(
                "discovery chain {:?} uses inconsistent protocols; service {name:?} has {protocol:?} which is not {:?}",
                self.asked.service, self.protocol
            ));
        }
        Ok(())
    }

    /// Builds all nodes; the first one's key.
    fn assemble(&mut self) -> Result<String, String> {
        let name = self.asked.service.clone();
        let mut router = self.entries.get("service-router", &name);
        if router.is_some() && self.plain {
            router = None;
            self.customized.protocol = true;
        }
        let Some(router) = router else {
            return self.splitter_or_resolver(&name, 0);
        };
        self.advanced = true;
        self.record_protocol(&name)?;
        let mut routes = Vec::new();
        for route in items(&router, "Routes") {
            let destination = &route["Destination"];
            let service = or(text(destination, "Service"), &name).to_owned();
            let next = match text(destination, "ServiceSubset") {
                "" => self.splitter_or_resolver(&service, 0)?,
                subset => self.resolver(self.here(&service, subset), false)?,
            };
            routes.push(json!({"Definition": route, "NextNode": next}));
        }
        // What no route takes goes on as if there were none.
        let next = self.splitter_or_resolver(&name, 0)?;
        let rest = json!({
            "Match": {"HTTP": {"PathPrefix": "/"}},
            "Destination": {"Service": text(&router, "Name"), "Namespace": "default", "Partition": "default"},
        });
        routes.push(json!({"Definition": rest, "NextNode": next}));
        let label = format!("{name}.default.default");
        let key = format!("router:{label}");
        let node = json!({"Type": "router", "Name": label, "Routes": routes});
        self.nodes.insert(key.clone(), node);
        Ok(key)
    }

    fn splitter_or_resolver(&mut self, service: &str, depth: usize) -> Result<String, String> {
        match self.splitter(service, depth)? {
            Some(key) => Ok(key),
            None => self.resolver(self.here(service, ""), false),
        }
    }

    fn splitter(&mut self, service: &str, depth: usize) -> Result<Option<String>, String> {
        let label = format!("{service}.default.default");
        let key = format!("splitter:{label}");
        if self.nodes.contains_key(&key) {
            return Ok(Some(key));
        }
        let Some(splitter) = self.entries.get("service-splitter", service) else {
            return Ok(None);
        };
        if self.plain {
            self.customized.protocol = true;
            return Ok(None);
        }
        if depth == DEEPEST {
            return Err(format!(
                "discovery chain {:?} has more than {DEEPEST} splitters that lead to one another",
                self.asked.service
            ));
        }
        let mut node = json!({"Type": "splitter", "Name": label, "Splits": []});
        // It is there before it is whole, so that what leads back to it ends.
        self.nodes.insert(key.clone(), node.clone());
        let mut splits = Vec::new();
        // All splitters together: each of them may be as long as a body.
        self.shares += items(&splitter, "Splits").len();
        if self.shares > flatten::MOST {
            return Err(flatten::too_many(&self.asked.service));
        }
        for split in items(&splitter, "Splits") {
            let to = or(text(split, "Service"), service).to_owned();
            let subset = text(split, "ServiceSubset");
            let further = match to != service && subset.is_empty() {
                true => self.splitter(&to, depth + 1)?,
                false => None,
            };
            let next = match further {
                Some(next) => next,
                None => {
                    let next = self.resolver(self.here(&to, subset), false)?;
                    let balancer = &self.nodes[&next]["LoadBalancer"];
                    if node.get("LoadBalancer").is_none() && hashes(balancer) {
                        node["LoadBalancer"] = balancer.clone();
                    }
                    next
                }
            };
            splits.push(json!({"Definition": split, "Weight": split["Weight"], "NextNode": next}));
        }
        node["Splits"] = splits.into();
        self.nodes.insert(key.clone(), node);
        self.advanced = true;
        Ok(Some(key))
    }

    /// The key of the resolver of a target. One that others fail over to is no node of its own: then it is the target's id.
    fn resolver(&mut self, mut target: Target, fails_over: bool) -> Result<String, String> {
        let mut history: Vec<String> = Vec::new();
        let resolver = loop {
            let id = target.id();
            let key = format!("resolver:{id}");
            if self.nodes.contains_key(&key) {
                return Ok(if fails_over { id } else { key });
            }
            self.record_protocol(&target.service)?;
            let resolver = self.service(&target.service).resolver;
            let circle = history.contains(&id);
            history.push(id.clone());
            if circle {
                return Err(format!(
                    "detected circular resolver redirect: [{}]",
                    history.join(" -> ")
                ));
            }
            let redirect = &resolver["Redirect"];
            if !redirect.is_null() {
                let other = target.rewritten(
                    text(redirect, "Service"),
                    text(redirect, "ServiceSubset"),
                    text(redirect, "Datacenter"),
                );
                if other.id() != id {
                    target = other;
                    continue;
                }
            }
            let chosen = text(&resolver, "DefaultSubset");
            if target.subset.is_empty() && !chosen.is_empty() {
                target.subset = chosen.to_owned();
                continue;
            }
            break resolver;
        };
        if !target.subset.is_empty() && resolver["Subsets"].get(&target.subset).is_none() {
            return Err(format!(
                "service {:?} does not have a subset named {:?}",
                target.service, target.subset
            ));
        }
        let (id, timeout) = (target.id(), self.timeout(&resolver));
        self.retain(&target, &resolver, timeout)?;
        if fails_over {
            return Ok(id);
        }
        let node = resolver_node(&id, &resolver, timeout);
        let key = format!("resolver:{id}");
        self.nodes.insert(key.clone(), node);
        let failover = self.failover(&target, &resolver)?;
        if !failover.is_null()
            && let Some(node) = self.nodes.get_mut(&key)
        {
            node["Resolver"]["Failover"] = failover;
        }
        Ok(key)
    }

    fn timeout(&mut self, resolver: &Value) -> i64 {
        let said = parse_duration(text(resolver, "ConnectTimeout")).unwrap_or(0);
        let timeout = if said < 1 { CONNECT_TIMEOUT } else { said };
        let wanted = self.asked.connect_timeout;
        if wanted > 0 && wanted != timeout {
            self.customized.connect_timeout = true;
            return wanted;
        }
        timeout
    }

    /// Keeps a target for the answer.
    fn retain(&mut self, target: &Target, resolver: &Value, timeout: i64) -> Result<(), String> {
        let defaults = self.service(&target.service).defaults;
        let outside = defaults
            .as_ref()
            .map_or("", |defaults| text(defaults, "ExternalSNI"));
        if !outside.is_empty() {
            for (key, what) in [
                ("Redirect", "redirects"),
                ("Subsets", "subsets"),
                ("Failover", "failover"),
            ] {
                let says = resolver[key].as_object().is_some_and(|map| !map.is_empty());
                if says {
                    return Err(format!(
                        "service {:?} has an external SNI set; cannot define {what} for external services",
                        target.service
                    ));
                }
            }
        }
        let id = target.id();
        let mut host = format!(
            "{}.default.{}.internal.{}",
            target.service, target.datacenter, self.asked.trust_domain
        );
        if !target.subset.is_empty() {
            host = format!("{}.{host}", target.subset);
        }
        let mode = match outside {
            "" => self.gateway_mode(defaults.as_ref()),
            _ => String::new(),
        };
        let subset = resolver["Subsets"].get(&target.subset).cloned();
        let mut made = json!({
            "ID": id,
            "Service": target.service,
            "Namespace": "default",
            "Partition": "default",
            "Datacenter": target.datacenter,
            "MeshGateway": {},
            "Subset": subset.unwrap_or_else(|| Map::new().into()),
            "TransparentProxy": {},
            "ConnectTimeout": print_duration(timeout),
            "SNI": or(outside, &host),
            "Name": host,
        });
        if !target.subset.is_empty() {
            made["ServiceSubset"] = target.subset.as_str().into();
        }
        if !mode.is_empty() {
            made["MeshGateway"]["Mode"] = mode.into();
        }
        if !outside.is_empty() {
            made["External"] = true.into();
        }
        self.targets.insert(id.clone(), made);
        self.retained.insert(id);
        Ok(())
    }

    fn gateway_mode(&mut self, defaults: Option<&Value>) -> String {
        let mode = |entry: &Value| text(&entry["MeshGateway"], "Mode").to_owned();
        let own = defaults.map(mode).unwrap_or_default();
        let said = match &*own {
            "" => self.global.as_ref().map(mode).unwrap_or_default(),
            _ => own,
        };
        let wanted = &self.asked.mesh_gateway;
        if !wanted.is_empty() && *wanted != said {
            self.customized.mesh_gateway = true;
            return wanted.clone();
        }
        said
    }

    /// Where a target's callers go when it has no healthy instance; null for nowhere.
    fn failover(&mut self, target: &Target, resolver: &Value) -> Result<Value, String> {
        let all = &resolver["Failover"];
        let of = |subset: &str| all.get(subset).filter(|says| !says.is_null());
        let Some(says) = of(&target.subset).or_else(|| of("*")) else {
            return Ok(Value::Null);
        };
        let (service, subset) = (text(says, "Service"), text(says, "ServiceSubset"));
        let mut others: Vec<Target> = Vec::new();
        let (datacenters, targets) = (items(says, "Datacenters"), items(says, "Targets"));
        if !datacenters.is_empty() {
            let names = datacenters.iter().filter_map(Value::as_str);
            others.extend(names.map(|name| target.rewritten(service, subset, name)));
        } else if !targets.is_empty() {
            // No cluster is peered with, so nothing fails over to one.
            let ours = targets.iter().filter(|one| text(one, "Peer").is_empty());
            others.extend(ours.map(|one| {
                target.rewritten(
                    text(one, "Service"),
                    text(one, "ServiceSubset"),
                    text(one, "Datacenter"),
                )
            }));
        } else {
            others.push(target.rewritten(service, subset, ""));
        }
        let own = target.id();
        let mut ids = Vec::new();
        for other in others.into_iter().filter(|other| other.id() != own) {
            ids.push(self.resolver(other, true)?);
        }
        if ids.is_empty() {
            return Ok(Value::Null);
        }
        let mut failover = json!({"Targets": ids});
        if !says["Policy"].is_null() {
            failover["Policy"] = says["Policy"].clone();
        }
        Ok(failover)
    }

    fn finish(mut self, start: &str) -> Result<Value, String> {
        self.targets.retain(|id, _| self.retained.contains(id));
        if self.advanced && !is_http_like(&self.protocol) {
            return Err(format!(
                "discovery chain {:?} uses a protocol {:?} that does not permit advanced routing or splitting behavior",
                self.asked.service, self.protocol
            ));
        }
        if !self.asked.protocol.is_empty() && self.asked.protocol != self.protocol {
            self.protocol.clone_from(&self.asked.protocol);
            self.customized.protocol = true;
        }
        let first = &self.nodes[start];
        let by_default = first["Resolver"]["Default"] == true
            && self.targets[text(&first["Resolver"], "Target")]["Service"]
                == self.asked.service.as_str();
        let name = self.asked.service.clone();
        let meta = self
            .service(&name)
            .defaults
            .map(|entry| entry["Meta"].clone());
        let mut chain = json!({
            "ServiceName": name,
            "Namespace": "default",
            "Partition": "default",
            "Datacenter": self.asked.datacenter,
            "Protocol": self.protocol,
            "StartNode": start,
            "Nodes": self.nodes,
            "Targets": self.targets,
        });
        if by_default {
            chain["Default"] = true.into();
        }
        if let Some(meta) = meta.filter(Value::is_object) {
            chain["ServiceMeta"] = meta;
        }
        if let Some(mark) = mark(&self.customized, self.asked) {
            chain["CustomizationHash"] = mark.into();
        }
        Ok(chain)
    }
}

fn resolver_node(id: &str, resolver: &Value, timeout: i64) -> Value {
    let says = |key: &str| match &resolver[key] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    let parts = [
        "DefaultSubset",
        "Subsets",
        "Redirect",
        "Failover",
        "ConnectTimeout",
        "RequestTimeout",
        "LoadBalancer",
    ];
    let mut node = json!({
        "Type": "resolver",
        "Name": id,
        "Resolver": {"ConnectTimeout": print_duration(timeout), "Target": id},
    });
    if !parts.iter().any(|part| says(part)) {
        node["Resolver"]["Default"] = true.into();
    }
    if says("RequestTimeout") {
        node["Resolver"]["RequestTimeout"] = resolver["RequestTimeout"].clone();
    }
    if says("LoadBalancer") {
        node["LoadBalancer"] = resolver["LoadBalancer"].clone();
    }
    node
}
