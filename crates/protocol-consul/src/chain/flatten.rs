//! Splitters that lead to splitters become one, and what nothing leads to any more goes.

use crate::config::valid_chain::share;
use crate::config::value::{items, text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Shares of one splitter at most: no smaller ones can be told.
pub(super) const MOST: usize = 10_000;

type Nodes = BTreeMap<String, Value>;

/// Where a node leads.
fn leads(node: &Value) -> impl Iterator<Item = &str> {
    let (routes, splits) = (items(node, "Routes"), items(node, "Splits"));
    routes.iter().chain(splits).map(|one| text(one, "NextNode"))
}

/// Whether nodes lead in circles.
///
/// # Errors
/// Consul's sentence with the circle.
pub(super) fn check_circles(nodes: &Nodes, start: &str) -> Result<(), String> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    // The way to here, and for each step what is still to be looked at.
    let mut way: Vec<(&str, Vec<&str>)> = vec![(start, next(nodes, start))];
    while let Some((key, todo)) = way.last_mut() {
        let key = *key;
        match todo.pop() {
            None => {
                done.insert(key);
                way.pop();
            }
            Some(to) if way.iter().any(|(key, _)| *key == to) => {
                let mut names: Vec<&str> = way.iter().map(|(key, _)| *key).collect();
                names.push(to);
                return Err(format!(
                    "detected circular reference: [{}]",
                    names.join(" -> ")
                ));
            }
            Some(to) if done.contains(to) => {}
            Some(to) => way.push((to, next(nodes, to))),
        }
    }
    Ok(())
}

fn next<'a>(nodes: &'a Nodes, key: &str) -> Vec<&'a str> {
    nodes
        .get(key)
        .map_or_else(Vec::new, |node| leads(node).collect())
}

/// Puts the shares of a splitter that another leads to in that one's place.
///
/// # Errors
/// When there would be too many.
pub(super) fn flatten(nodes: &mut Nodes) -> Result<(), String> {
    loop {
        let mut changed = false;
        let keys: Vec<String> = nodes
            .keys()
            .filter(|key| key.starts_with("splitter:"))
            .cloned()
            .collect();
        for key in keys {
            let mut shares = Vec::new();
            let mut merged = false;
            for split in items(&nodes[&key], "Splits") {
                let inner = &nodes[text(split, "NextNode")];
                if text(inner, "Type") != "splitter" {
                    shares.push(split.clone());
                    continue;
                }
                merged = true;
                if shares.len() + items(inner, "Splits").len() > MOST {
                    return Err(too_many(text(&nodes[&key], "Name")));
                }
                shares.extend(
                    items(inner, "Splits")
                        .iter()
                        .map(|inner| within(split, inner)),
                );
            }
            if shares.len() > MOST {
                return Err(too_many(text(&nodes[&key], "Name")));
            }
            if merged && let Some(node) = nodes.get_mut(&key) {
                node["Splits"] = shares.into();
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
    }
}

/// What is said of a chain with too many shares.
pub(super) fn too_many(name: &str) -> String {
    format!("splitters lead to more than {MOST} shares: {name}")
}

/// The share of a share.
fn within(outer: &Value, inner: &Value) -> Value {
    let weight = |value: &Value| value["Weight"].as_f64().unwrap_or(0.0);
    let mut made = inner.clone();
    made["Weight"] = share(weight(outer) * weight(inner) / 100.0);
    let (parent, own) = (&outer["Definition"], &inner["Definition"]);
    // A request goes through the outer one first, an answer through the inner one.
    for (key, first, then) in [
        ("RequestHeaders", parent, own),
        ("ResponseHeaders", own, parent),
    ] {
        if let Some(headers) = merged(&first[key], &then[key]) {
            made["Definition"][key] = headers;
        }
    }
    made
}

/// What two changes of headers come to, one after the other.
fn merged(first: &Value, then: &Value) -> Option<Value> {
    if first.is_null() && then.is_null() {
        return None;
    }
    let mut made = Map::new();
    for key in ["Add", "Set"] {
        let maps = [&first[key], &then[key]];
        let both: Map<String, Value> = maps
            .into_iter()
            .filter_map(Value::as_object)
            .flat_map(|map| map.clone())
            .collect();
        if !both.is_empty() {
            made.insert(key.to_owned(), both.into());
        }
    }
    let removed: Vec<Value> = [first, then]
        .into_iter()
        .flat_map(|headers| items(headers, "Remove"))
        .cloned()
        .collect();
    if !removed.is_empty() {
        made.insert("Remove".to_owned(), removed.into());
    }
    Some(made.into())
}

/// Drops what nothing leads to.
pub(super) fn drop_unused(nodes: &mut Nodes, start: &str) {
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut todo = vec![start.to_owned()];
    while let Some(key) = todo.pop() {
        if !used.contains(&key) {
            todo.extend(next(nodes, &key).into_iter().map(str::to_owned));
            used.insert(key);
        }
    }
    nodes.retain(|key, _| used.contains(key));
}
