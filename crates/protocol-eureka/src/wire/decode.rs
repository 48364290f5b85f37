//! From a tree to the protocol's types: which fields there are, what they default to, and how lenient we are.
//!
//! Leniency towards clients not written in Java, none of which Netflix' own clients can tell: ports as bare numbers,
//! a data centre without its Java class, a JSON instance without its wrapper, unknown fields of any kind.

use std::collections::BTreeMap;

use super::instance::{Action, DataCenter, DataCenterName, Instance, LeaseInfo, Port, Status};
use super::list::{Application, Applications};
use super::media::Format;
use super::name;
use super::tree::{MAX_NODES, Malformed, Tree};

/// Reads one instance: the body of a registration, or the answer to `/instances/{id}`.
pub fn decode_instance(format: Format, body: &[u8]) -> Result<Instance, Malformed> {
    match format {
        Format::Json => {
            let root = Tree::from_json(body, MAX_NODES)?;
            match root.child("instance") {
                Some(tree) if tree.branch => instance(tree, format),
                None if root.child("app").is_some() => instance(&root, format),
                Some(_) | None => Err(unreadable("instance", "it is missing")),
            }
        }
        Format::Xml => {
            let (root, tree) = Tree::from_xml(body, MAX_NODES)?;
            match root.as_str() {
                "instance" | "com.netflix.appinfo.InstanceInfo" => instance(&tree, format),
                _ => Err(unreadable("instance", "it is not the root element")),
            }
        }
    }
}

/// Reads the answer to `/apps/{APP}`. `max_nodes` bounds its size: about 50 per instance.
pub fn decode_application(
    format: Format,
    body: &[u8],
    max_nodes: usize,
) -> Result<Application, Malformed> {
    let tree = rooted(format, body, "application", max_nodes)?;
    application(&tree, format)
}

/// Reads the answer to `/apps`, `/apps/delta`, `/vips/{vip}`. `max_nodes` as above.
pub fn decode_applications(
    format: Format,
    body: &[u8],
    max_nodes: usize,
) -> Result<Applications, Malformed> {
    let tree = rooted(format, body, "applications", max_nodes)?;
    let field = |double: &str, single: &str| {
        text(&tree, double)
            .or_else(|| text(&tree, single))
            .unwrap_or_default()
    };
    Ok(Applications {
        version: field("versions__delta", "versions_delta"),
        hashcode: field("apps__hashcode", "apps_hashcode"),
        applications: tree
            .each("application")
            .map(|a| application(a, format))
            .collect::<Result<_, _>>()?,
    })
}

fn rooted(
    format: Format,
    body: &[u8],
    name: &'static str,
    max_nodes: usize,
) -> Result<Tree, Malformed> {
    match format {
        Format::Json => {
            let mut root = Tree::from_json(body, max_nodes)?;
            match root.children.pop() {
                Some((key, tree)) if key == name => Ok(tree),
                Some(_) | None => Err(unreadable(name, "it is missing")),
            }
        }
        Format::Xml => match Tree::from_xml(body, max_nodes)? {
            (root, tree) if root == name => Ok(tree),
            _ => Err(unreadable(name, "it is not the root element")),
        },
    }
}

fn application(tree: &Tree, format: Format) -> Result<Application, Malformed> {
    Ok(Application {
        name: text(tree, "name").unwrap_or_default(),
        instances: tree
            .each("instance")
            .map(|i| instance(i, format))
            .collect::<Result<_, _>>()?,
    })
}

/// Reads an instance from its own branch of a tree.
pub(super) fn instance_of(tree: &Tree, format: Format) -> Result<Instance, Malformed> {
    instance(tree, format)
}

fn instance(tree: &Tree, format: Format) -> Result<Instance, Malformed> {
    let defaults = Instance::default();
    let upper = |name| text(tree, name).map(|t: String| t.to_ascii_uppercase());
    let overridden = text(tree, "overriddenStatus").or_else(|| text(tree, "overriddenstatus"));
    Ok(Instance {
        instance_id: text(tree, "instanceId"),
        host_name: text(tree, "hostName").unwrap_or_default(),
        app: upper("app").unwrap_or_default(),
        ip_addr: text(tree, "ipAddr").unwrap_or_default(),
        sid: text(tree, "sid").filter(|s| s != "na" && s != "unknown"),
        status: text(tree, "status").map_or(Status::Up, |s| status(&s, format)),
        overridden: overridden.map_or(Status::Unknown, |s| status(&s, format)),
        port: port(tree, "port", defaults.port)?,
        secure_port: port(tree, "securePort", defaults.secure_port)?,
        country_id: number(tree, "countryId").unwrap_or(defaults.country_id),
        data_center: data_center(tree)?,
        lease: lease(tree),
        metadata: match tree.child("metadata") {
            Some(metadata) => pairs(metadata, format)?,
            None => BTreeMap::new(),
        },
        app_group: upper("appGroupName"),
        home_page_url: text(tree, "homePageUrl"),
        status_page_url: text(tree, "statusPageUrl"),
        health_check_url: text(tree, "healthCheckUrl"),
        secure_health_check_url: text(tree, "secureHealthCheckUrl"),
        vip_address: text(tree, "vipAddress"),
        secure_vip_address: text(tree, "secureVipAddress"),
        coordinating: text(tree, "isCoordinatingDiscoveryServer").is_some_and(|t| t == "true"),
        updated_at: number(tree, "lastUpdatedTimestamp").unwrap_or(0),
        dirty_at: number(tree, "lastDirtyTimestamp"),
        action: text(tree, "actionType")
            .and_then(|t| Action::named(&t))
            .unwrap_or(Action::Added),
        asg_name: text(tree, "asgName"),
    })
}

/// A status by name. Java matches JSON's exactly and raises XML's to upper case first; anything else is UNKNOWN.
fn status(name: &str, format: Format) -> Status {
    let found = match format {
        Format::Json => Status::named(name),
        Format::Xml => Status::named(&name.to_ascii_uppercase()),
    };
    found.unwrap_or(Status::Unknown)
}

fn text(tree: &Tree, name: &str) -> Option<String> {
    let child = tree.child(name)?;
    match &child.text {
        Some(text) => Some(text.clone()),
        // An empty XML element is an empty text; a JSON object is no text.
        None if !child.branch => Some(String::new()),
        None => None,
    }
}

/// A number; what is none is as good as absent, as Netflix' decoder has it.
fn number(tree: &Tree, name: &str) -> Option<i64> {
    whole(tree.child(name)?.text.as_deref()?.trim())
}

/// A number without its fraction: Python and JavaScript clients send times with one.
fn whole(text: &str) -> Option<i64> {
    /// Beyond this not every whole number has a `f64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fraction = || text.parse().ok().filter(|n: &f64| n.abs() < EXACT);
    text.parse().ok().or_else(|| fraction().map(|n| n as i64))
}

/// A port. Numbers below 1 stand for none: programs that listen nowhere register as -1.
fn port(tree: &Tree, name: &'static str, default: Port) -> Result<Port, Malformed> {
    let Some(child) = tree.child(name) else {
        return Ok(default);
    };
    let number = match child.text.as_deref().map(str::trim) {
        None => Some(default.number),
        Some("") => Some(0),
        Some(text) => whole(text).and_then(|number| u16::try_from(number.max(0)).ok()),
    };
    let Some(number) = number else {
        return Err(unreadable(name, "it is not a port number"));
    };
    let enabled = match child.attribute("enabled") {
        None => default.enabled,
        Some(flag) => flag.eq_ignore_ascii_case("true"),
    };
    Ok(Port { number, enabled })
}

fn data_center(tree: &Tree) -> Result<Option<DataCenter>, Malformed> {
    let Some(child) = tree.child("dataCenterInfo") else {
        return Ok(None);
    };
    let name = match text(child, "name").filter(|n| !n.is_empty()) {
        None => None,
        Some(name) => match DataCenterName::named(&name) {
            Some(name) => Some(name),
            None => {
                let why = format!("name \"{name}\" is none of Netflix, Amazon, MyOwn");
                return Err(Malformed::Field {
                    field: "dataCenterInfo",
                    why,
                });
            }
        },
    };
    let metadata = match child.child("metadata") {
        Some(metadata) => pairs(metadata, Format::Json)?,
        None => BTreeMap::new(),
    };
    Ok(Some(DataCenter { name, metadata }))
}

fn lease(tree: &Tree) -> LeaseInfo {
    let defaults = LeaseInfo::default();
    let Some(child) = tree.child("leaseInfo") else {
        return defaults;
    };
    let positive = |field, default| number(child, field).filter(|n| *n > 0).unwrap_or(default);
    let time = |field| number(child, field).unwrap_or(0);
    LeaseInfo {
        renewal_interval_secs: positive("renewalIntervalInSecs", defaults.renewal_interval_secs),
        duration_secs: positive("durationInSecs", defaults.duration_secs),
        registered_at: time("registrationTimestamp"),
        renewed_at: time("lastRenewalTimestamp"),
        evicted_at: time("evictionTimestamp"),
        up_at: time("serviceUpTimestamp"),
    }
}

/// The pairs of a metadata object. The last of equal keys counts.
fn pairs(tree: &Tree, format: Format) -> Result<BTreeMap<String, String>, Malformed> {
    let mut pairs = BTreeMap::new();
    for (key, child) in &tree.children {
        if child.branch || child.item {
            return Err(unreadable("metadata", "a value is not a scalar"));
        }
        let key = match format {
            Format::Json => key.clone(),
            Format::Xml => name::unescape(key).into_owned(),
        };
        let value = match &child.text {
            Some(text) => text.clone(),
            None if child.null => "null".to_owned(),
            None => String::new(),
        };
        pairs.insert(key, value);
    }
    Ok(pairs)
}

fn unreadable(field: &'static str, why: &str) -> Malformed {
    Malformed::Field {
        field,
        why: why.to_owned(),
    }
}
