//! `catalog`, `members`, `rtt`: what there is.

use serde_json::Value;

use super::columns::{GAP, WIDE_GAP, columns};
use super::http::escape;
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, truth, value};

pub(super) const NODES: &[Flag] = &[
    truth("detailed"),
    value("near"),
    value("node-meta"),
    value("service"),
    value("filter"),
];
pub(super) const SERVICES: &[Flag] = &[value("node"), value("node-meta"), truth("tags")];
pub(super) const MEMBERS: &[Flag] = &[
    truth("detailed"),
    truth("wan"),
    value("status"),
    value("segment"),
    value("filter"),
];

/// `catalog datacenters`.
pub(super) async fn datacenters(command: &Command<'_>) -> Done {
    let listed = command.client()?.get("/v1/catalog/datacenters").await?;
    for name in items(&listed) {
        say!("{}", name.as_str().unwrap_or_default());
    }
    Ok(0)
}

/// `catalog nodes`.
pub(super) async fn nodes(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let mut path = match typed.get("service") {
        Some(service) => format!("/v1/catalog/service/{}?", escape(service)),
        None => "/v1/catalog/nodes?".to_owned(),
    };
    for (flag, parameter) in [
        ("near", "near"),
        ("node-meta", "node-meta"),
        ("filter", "filter"),
    ] {
        for given in typed.all(flag) {
            let given = given.replacen('=', ":", usize::from(flag == "node-meta"));
            path.push_str(&format!("{parameter}={}&", escape(&given)));
        }
    }
    let listed = command
        .client()?
        .get(path.trim_end_matches(['&', '?']))
        .await?;
    let detailed = typed.is("detailed");
    let mut heading = vec!["Node", "ID", "Address", "DC"];
    if detailed {
        heading.extend(["TaggedAddresses", "Meta"]);
    }
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let mut seen = std::collections::BTreeSet::new();
    for node in items(&listed) {
        let name = text_of(node, "Node");
        if !seen.insert(name.clone()) {
            continue;
        }
        let id = text_of(node, "ID");
        let id = match detailed {
            true => id,
            false => id.split('-').next().unwrap_or_default().to_owned(),
        };
        let mut row = vec![
            name,
            id,
            text_of(node, "Address"),
            text_of(node, "Datacenter"),
        ];
        if detailed {
            row.push(pairs(&node["TaggedAddresses"]));
            row.push(pairs(match &node["NodeMeta"] {
                Value::Null => &node["Meta"],
                meta => meta,
            }));
        }
        rows.push(row);
    }
    if rows.len() == 1 {
        return match typed.get("service").is_some() || typed.get("filter").is_some() {
            true => {
                say!("No nodes match the given query - try expanding your search.");
                Ok(0)
            }
            false => Ok(0),
        };
    }
    crate::write_out(&columns(&rows, GAP));
    Ok(0)
}

/// `catalog services`.
pub(super) async fn services(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let mut path = match typed.get("node") {
        Some(node) => format!("/v1/catalog/node/{}?", escape(node)),
        None => "/v1/catalog/services?".to_owned(),
    };
    for given in typed.all("node-meta") {
        path.push_str(&format!(
            "node-meta={}&",
            escape(&given.replacen('=', ":", 1))
        ));
    }
    let listed = command
        .client()?
        .get(path.trim_end_matches(['&', '?']))
        .await?;
    let mut found: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    if typed.get("node").is_some() {
        for service in listed["Services"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.values())
        {
            let tags = found.entry(text_of(service, "Service")).or_default();
            tags.extend(texts(&service["Tags"]));
        }
    } else {
        for (name, tags) in listed.as_object().into_iter().flatten() {
            found.insert(name.clone(), texts(tags));
        }
    }
    if found.is_empty() {
        return match typed.get("node").is_some() || typed.get("node-meta").is_some() {
            true => Err(Failure::new(
                "No services match the given query - try expanding your search.",
            )),
            false => Ok(0),
        };
    }
    if !typed.is("tags") {
        for name in found.keys() {
            say!("{name}");
        }
        return Ok(0);
    }
    let rows = found.into_iter().map(|(name, mut tags)| {
        tags.sort();
        tags.dedup();
        vec![name, tags.join(",")]
    });
    crate::write_out(&columns(&rows.collect::<Vec<_>>(), WIDE_GAP));
    Ok(0)
}

/// `members`.
pub(super) async fn members(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let path = match typed.is("wan") {
        true => "/v1/agent/members?wan=1",
        false => "/v1/agent/members?segment=_all",
    };
    let listed = command.client()?.get(path).await?;
    let status = |member: &Value| match member["Status"].as_u64() {
        Some(1) => "alive",
        Some(2) => "leaving",
        Some(3) => "left",
        Some(4) => "failed",
        _ => "none",
    };
    let wanted = typed.get("status").unwrap_or(".*");
    let mut members: Vec<&Value> = items(&listed)
        .filter(|member| wanted == ".*" || wanted.trim_matches(['^', '$']) == status(member))
        .collect();
    if members.is_empty() {
        return Ok(2);
    }
    // Servers first, then by name.
    members.sort_by_key(|member| {
        (
            text_of(&member["Tags"], "role") != "consul",
            text_of(member, "Name"),
        )
    });
    let address = |member: &Value| {
        let host = text_of(member, "Addr");
        let port = member["Port"].as_u64().unwrap_or(0);
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    };
    let cell = |text: &str| text.to_owned();
    let mut rows = Vec::new();
    if typed.is("detailed") {
        rows.push(["Node", "Address", "Status", "Tags"].map(cell).to_vec());
        for member in members {
            rows.push(vec![
                text_of(member, "Name"),
                address(member),
                cell(status(member)),
                pairs(&member["Tags"]),
            ]);
        }
    } else {
        let heading = [
            "Node",
            "Address",
            "Status",
            "Type",
            "Build",
            "Protocol",
            "DC",
            "Partition",
            "Segment",
        ];
        rows.push(heading.map(cell).to_vec());
        for member in members {
            let tags = &member["Tags"];
            let server = text_of(tags, "role") == "consul";
            let or = |text: String, other: &str| match text.is_empty() {
                true => other.to_owned(),
                false => text,
            };
            rows.push(vec![
                text_of(member, "Name"),
                address(member),
                cell(status(member)),
                cell(if server { "server" } else { "client" }),
                text_of(tags, "build")
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                or(text_of(tags, "vsn"), "2"),
                text_of(tags, "dc"),
                or(text_of(tags, "ap"), "default"),
                match server {
                    true => cell("<all>"),
                    false => or(text_of(tags, "segment"), "<default>"),
                },
            ]);
        }
    }
    crate::write_out(&columns(&rows, GAP));
    Ok(0)
}

/// `rtt NODE [NODE]`.
pub(super) async fn rtt(command: &Command<'_>) -> Done {
    let client = command.client()?;
    let own = || async {
        let me = client.get("/v1/agent/self").await?;
        Ok::<String, Failure>(text_of(&me["Config"], "NodeName"))
    };
    let (from, to) = match command.typed.rest.as_slice() {
        [to] => (own().await?, to.clone()),
        [from, to] => (from.clone(), to.clone()),
        _ => return Err(Failure::new("One or two node names must be specified")),
    };
    let listed = client.get("/v1/coordinate/nodes").await?;
    let find = |name: &str| {
        let found = items(&listed).find(|row| text_of(row, "Node") == name);
        let coordinate = found.map(|row| &row["Coord"]);
        coordinate
            .ok_or_else(|| Failure::new(format!("Could not find a coordinate for node {name:?}")))
    };
    let milliseconds = distance(find(&from)?, find(&to)?) * 1000.0;
    say!("Estimated {from} <-> {to} rtt: {milliseconds:.3} ms (using LAN coordinates)");
    Ok(0)
}

/// Seconds between two network coordinates: the distance of their vectors and both heights, adjusted unless that makes it negative.
fn distance(a: &Value, b: &Value) -> f64 {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let vectors = items(&a["Vec"]).zip(items(&b["Vec"]));
    let square: f64 = vectors.map(|(a, b)| (number(a) - number(b)).powi(2)).sum();
    let raw = square.sqrt() + number(&a["Height"]) + number(&b["Height"]);
    let adjusted = raw + number(&a["Adjustment"]) + number(&b["Adjustment"]);
    if adjusted > 0.0 { adjusted } else { raw }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    items(value)
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// `a=1, b=2`.
fn pairs(value: &Value) -> String {
    let map = value.as_object().into_iter().flatten();
    let all: Vec<String> = map
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn distances_are_those_of_vivaldi() {
        let at = |x: f64| json!({"Vec": [x, 0.0], "Height": 0.001, "Adjustment": 0.0});
        assert!((distance(&at(0.0), &at(0.01)) - 0.012).abs() < 1e-9);
        let low = json!({"Vec": [0.0], "Height": 0.0, "Adjustment": -1.0});
        assert!(distance(&low, &low).abs() < 1e-9);
    }
}
