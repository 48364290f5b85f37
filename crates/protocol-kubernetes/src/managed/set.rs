//! Sets of fields, as `managedFields` has them: a tree of which each step is a field, an item by its keys, or a value of a list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// One step: `f:NAME` a field, `k:{...}` an item by its keys, `v:VALUE` a value, `i:N` an item by its place.
pub(super) type Step = String;

/// A field.
pub(super) fn field(name: &str) -> Step {
    format!("f:{name}")
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) members: BTreeSet<Step>,
    pub(super) children: BTreeMap<Step, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Set::is_empty)
    }

    /// Puts what was found below a step there.
    pub(super) fn attach(&mut self, step: &str, below: Set) {
        if !below.is_empty() {
            self.children.insert(step.to_owned(), below);
        }
    }

    fn combined(&self, other: &Set, keeps: impl Fn(bool, bool) -> bool + Copy) -> Set {
        let steps: BTreeSet<&Step> = self.members.union(&other.members).collect();
        let members = steps.into_iter().filter(|step| {
            keeps(
                self.members.contains(step.as_str()),
                other.members.contains(step.as_str()),
            )
        });
        let mut combined = Set {
            members: members.cloned().collect(),
            children: BTreeMap::new(),
        };
        let none = Set::default();
        let steps: BTreeSet<&Step> = self.children.keys().chain(other.children.keys()).collect();
        for step in steps {
            let own = self.children.get(step).unwrap_or(&none);
            let others = other.children.get(step).unwrap_or(&none);
            combined.attach(step, own.combined(others, keeps));
        }
        combined
    }

    pub(super) fn union(&self, other: &Set) -> Set {
        self.combined(other, |own, others| own || others)
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        self.combined(other, |own, others| own && others)
    }

    pub(super) fn difference(&self, other: &Set) -> Set {
        self.combined(other, |own, others| own && !others)
    }

    /// Takes out a path and everything below it.
    pub(super) fn cut(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                let step = field(last);
                self.members.remove(&step);
                self.children.remove(&step);
            }
            [first, rest @ ..] => {
                let step = field(first);
                if let Some(below) = self.children.get_mut(&step) {
                    below.cut(rest);
                    if below.is_empty() {
                        self.children.remove(&step);
                    }
                }
            }
        }
    }

    /// Takes out one path, and nothing below it.
    pub(super) fn remove(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.members.remove(&field(last))),
            [first, rest @ ..] => {
                let step = field(first);
                if let Some(below) = self.children.get_mut(&step) {
                    below.remove(rest);
                    if below.is_empty() {
                        self.children.remove(&step);
                    }
                }
            }
        }
    }

    /// The paths, in words.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        let own = self.members.iter();
        paths.extend(own.map(|step| format!("{prefix}{}", words(step))));
        for (step, below) in &self.children {
            below.collect(&format!("{prefix}{}", words(step)), paths);
        }
    }

    /// As objects have it.
    pub(super) fn write(&self) -> Value {
        let mut map = Map::new();
        for (step, below) in &self.children {
            let mut inner = below.write();
            if self.members.contains(step) {
                inner["."] = Value::Object(Map::new());
            }
            map.insert(step.clone(), inner);
        }
        for step in &self.members {
            map.entry(step.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    /// Reads what [`Set::write`] wrote; none when it is none.
    pub(super) fn read(value: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (step, inner) in value.as_object()? {
            if step == "." {
                continue;
            }
            let known = ["f:", "k:", "v:", "i:"]
                .iter()
                .any(|kind| step.starts_with(kind));
            let inner_map = inner.as_object()?;
            if !known {
                return None;
            }
            if inner_map.is_empty() || inner_map.contains_key(".") {
                set.members.insert(step.clone());
            }
            set.attach(step, Set::read(inner)?);
        }
        Some(set)
    }
}

/// A step as messages have it.
pub(super) fn words(step: &str) -> String {
    let (kind, rest) = step.split_at(2.min(step.len()));
    match kind {
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        "v:" => format!("[={rest}]"),
        "i:" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_are_written_and_read() {
        let value = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        });
        let set = Set::read(&value).unwrap();
        assert_eq!(set.write(), value);
        let mut paths = set.paths();
        paths.sort();
        assert_eq!(
            paths,
            [
                ".metadata.finalizers[=\"x\"]",
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
            ]
        );
        for bad in [json!([]), json!({"x:y": {}}), json!({"f:a": 1})] {
            assert_eq!(Set::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_are_joined_and_parted() {
        let read = |value: Value| Set::read(&value).unwrap();
        let (one, two) = (
            read(json!({"f:a": {}, "f:b": {"f:c": {}}})),
            read(json!({"f:b": {".": {}, "f:c": {}, "f:d": {}}})),
        );
        assert_eq!(
            one.union(&two).write(),
            json!({"f:a": {}, "f:b": {".": {}, "f:c": {}, "f:d": {}}})
        );
        assert_eq!(one.intersection(&two).write(), json!({"f:b": {"f:c": {}}}));
        assert_eq!(one.difference(&two).write(), json!({"f:a": {}}));
        let mut cut = two.clone();
        cut.cut(&["b", "c"]);
        cut.remove(&["b"]);
        assert_eq!(cut.write(), json!({"f:b": {"f:d": {}}}));
        cut.cut(&["b"]);
        assert!(cut.is_empty());
    }
}
