//! Values by their types: which fields they have, what is different between two, what two are together, and what is left without some.
//!
//! The rules are those of structured merge: a list whose items have keys is a set of items, one without is a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Set, Step, field};
use crate::schema::{Field, Keys, Type, definition, fields};

/// How a value is taken.
enum Node {
    /// As one.
    Leaf,
    /// Names to values of a type.
    Map(&'static Type),
    /// The fields of a type.
    Struct(&'static BTreeMap<&'static str, Field>),
    /// Values, each once.
    Values,
    /// Items of a type, by these keys.
    Items(&'static Type, &'static [&'static str]),
}

/// A type, and whether its values are taken as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of {
    of: &'static Type,
    whole: bool,
}

impl Of {
    fn field(field: &'static Field) -> Of {
        Of {
            of: &field.of,
            whole: field.whole,
        }
    }

    fn inner(of: &'static Type) -> Of {
        Of { of, whole: false }
    }

    fn node(self) -> Node {
        if self.whole {
            return Node::Leaf;
        }
        match self.of {
            Type::Map(inner) => Node::Map(inner),
            Type::Object(name) => match definition(name) {
                Some(definition) if !definition.whole => Node::Struct(&definition.fields),
                _ => Node::Leaf,
            },
            Type::List(_, _, Keys::Values) => Node::Values,
            Type::List(inner, _, Keys::By(keys)) => Node::Items(inner, keys),
            _ => Node::Leaf,
        }
    }
}

/// A value with what its type says of it.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    of: Of,
    value: Option<&'a Value>,
}

/// The step to an item of a list with keys.
fn item_step(item: &Value, inner: &'static Type, keys: &[&str]) -> Option<Step> {
    let known = match inner {
        Type::Object(name) => fields(name),
        _ => None,
    };
    let mut map = Map::new();
    for key in keys {
        let value = match item.get(*key) {
            Some(value) if !value.is_null() => value.clone(),
            _ => known?.get(key)?.implied()?,
        };
        map.insert((*key).to_owned(), value);
    }
    Some(format!("k:{}", Value::Object(map)))
}

/// The parts of a value, each with its step and its type.
fn parts<'a>(node: &Node, value: Option<&'a Value>) -> Vec<(Step, Of, &'a Value)> {
    let mut parts = Vec::new();
    match (node, value) {
        (Node::Struct(known), Some(Value::Object(map))) => {
            for (name, value) in map {
                if let Some(known) = known.get(name.as_str()) {
                    parts.push((field(name), Of::field(known), value));
                }
            }
        }
        (Node::Map(inner), Some(Value::Object(map))) => {
            let own = map
                .iter()
                .map(|(name, value)| (field(name), Of::inner(inner), value));
            parts.extend(own);
        }
        (Node::Items(inner, keys), Some(Value::Array(items))) => {
            for item in items {
                if let Some(step) = item_step(item, inner, keys) {
                    parts.push((step, Of::inner(inner), item));
                }
            }
        }
        (Node::Values, Some(Value::Array(items))) => {
            let own = items
                .iter()
                .map(|item| (format!("v:{item}"), Of::inner(&Type::Text), item));
            parts.extend(own);
        }
        _ => {}
    }
    parts
}

/// The root of an object of the type `schema`.
fn root(schema: &'static str) -> Node {
    match definition(schema) {
        Some(definition) => Node::Struct(&definition.fields),
        None => Node::Leaf,
    }
}

/// The fields that an object has.
pub(super) fn set_of(schema: &'static str, value: &Value) -> Set {
    let mut set = Set::default();
    fill(&root(schema), value, &mut set);
    set
}

fn fill(node: &Node, value: &Value, set: &mut Set) {
    for (step, of, value) in parts(node, Some(value)) {
        let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let inner = of.node();
        let mut below = Set::default();
        fill(&inner, value, &mut below);
        set.attach(&step, below);
        if is_empty || matches!(inner, Node::Leaf) || !matches!(node, Node::Struct(_)) {
            set.members.insert(step);
        }
    }
}

/// What is different between two values.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

static NOTHING: Value = Value::Null;

/// What an object of the type `schema` became.
pub(super) fn compare(schema: &'static str, before: &Value, after: &Value) -> Difference {
    let mut difference = Difference::default();
    compare_parts(&root(schema), Some(before), Some(after), &mut difference);
    difference
}

fn compare_parts(node: &Node, before: Option<&Value>, after: Option<&Value>, out: &mut Difference) {
    let mut pairs: BTreeMap<Step, (Known<'_>, Known<'_>)> = BTreeMap::new();
    for (is_after, value) in [(false, before), (true, after)] {
        for (step, of, value) in parts(node, value) {
            let none = Known { of, value: None };
            let pair = pairs.entry(step).or_insert((none, none));
            let side = if is_after { &mut pair.1 } else { &mut pair.0 };
            side.value.get_or_insert(value);
        }
    }
    for (step, (old, new)) in pairs {
        let absent = |whole: Option<&Value>| implied(node, &step, whole);
        let old_value = old.value.or_else(|| absent(before));
        let new_value = new.value.or_else(|| absent(after));
        let inner = old.of.node();
        if matches!(inner, Node::Leaf) {
            match (old_value, new_value) {
                (None, _) => drop(out.added.members.insert(step)),
                (_, None) => drop(out.removed.members.insert(step)),
                (Some(old), Some(new)) if old != new => drop(out.modified.members.insert(step)),
                _ => {}
            }
            continue;
        }
        let mut below = Difference::default();
        compare_parts(&inner, old_value, new_value, &mut below);
        out.added.attach(&step, below.added);
        out.modified.attach(&step, below.modified);
        out.removed.attach(&step, below.removed);
        match (old_value, new_value) {
            (None, _) => drop(out.added.members.insert(step)),
            (_, None) => drop(out.removed.members.insert(step)),
            _ => {}
        }
    }
}

/// What stands for a field that is not there: the API server's own objects have empty values of some.
fn implied(node: &Node, step: &str, whole: Option<&Value>) -> Option<&'static Value> {
    whole?;
    let Node::Struct(known) = node else {
        return None;
    };
    let field = known.get(step.strip_prefix("f:")?)?;
    let is_value = matches!(Of::field(field).node(), Node::Struct(_)) && !field.optional;
    (is_value || field.always).then_some(&NOTHING)
}

/// What an object is with everything in it that `config` says.
pub(super) fn merge(schema: &'static str, live: &Value, config: &Value) -> Value {
    merged(&root(schema), Some(live), Some(config)).unwrap_or_default()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn merged(node: &Node, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let (live, config) = match (live, config) {
        (live, None) => return live.cloned(),
        (None, config) => return config.cloned(),
        (Some(live), Some(config)) => (live, config),
    };
    if matches!(node, Node::Leaf) || is_nothing(live) {
        return Some(config.clone());
    }
    if is_nothing(config) {
        return Some(live.clone());
    }
    match node {
        Node::Struct(_) | Node::Map(_) => {
            let mut map = live.as_object().cloned().unwrap_or_default();
            for (step, of, value) in parts(node, Some(config)) {
                let name = step.strip_prefix("f:").unwrap_or(&step);
                let value = merged(&of.node(), map.get(name), Some(value));
                map.insert(name.to_owned(), value.unwrap_or_default());
            }
            Some(Value::Object(map))
        }
        _ => Some(Value::Array(merged_list(node, live, config))),
    }
}

/// Items in the order of `config`, with those that only `live` has where they stood.
fn merged_list(node: &Node, live: &Value, config: &Value) -> Vec<Value> {
    let (left, right) = (parts(node, Some(live)), parts(node, Some(config)));
    let find = |side: &[(Step, Of, &Value)], step: &str| -> Option<usize> {
        side.iter().position(|(own, ..)| own == step)
    };
    let mut shared = right
        .iter()
        .filter(|(step, ..)| find(&left, step).is_some())
        .map(|(step, ..)| step.clone());
    let mut next = shared.next();
    let mut taken: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((own, ..)), Some((step, of, value))) = (left.get(l), right.get(r)) {
            if own == step {
                out.extend(merged(&of.node(), Some(left[l].2), Some(value)));
                taken.push(step);
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if find(&right, own).is_some() && next.as_ref().is_some_and(|next| next != own) {
                // It comes where the other list has it.
                l += 1;
                continue;
            }
        }
        if let Some((own, _, value)) = left.get(l) {
            if find(&right, own).is_none() {
                out.push((*value).clone());
                l += 1;
                continue;
            }
            if taken.contains(&own.as_str()) {
                l += 1;
            }
        }
        if let Some((step, of, value)) = right.get(r) {
            let old = find(&left, step).map(|at| left[at].2);
            out.extend(merged(&of.node(), old, Some(value)));
            taken.push(step);
            r += 1;
            if next.as_ref() == Some(step) {
                next = shared.next();
            }
        }
    }
    out
}

/// What is left of an object without the fields of a set.
pub(super) fn without(schema: &'static str, value: &Value, gone: &Set) -> Value {
    match gone.is_empty() {
        true => value.clone(),
        false => left(&root(schema), value, gone),
    }
}

fn left(node: &Node, value: &Value, gone: &Set) -> Value {
    let keep = |step: &str, of: Of, value: &Value| -> Option<Value> {
        if gone.members.contains(step) {
            return None;
        }
        Some(match gone.children.get(step) {
            Some(below) => left(&of.node(), value, below),
            None => value.clone(),
        })
    };
    match (node, value) {
        (Node::Struct(_) | Node::Map(_), Value::Object(map)) => {
            let mut rest = map.clone();
            for (step, of, value) in parts(node, Some(value)) {
                let name = step.strip_prefix("f:").unwrap_or(&step);
                match keep(&step, of, value) {
                    Some(value) => drop(rest.insert(name.to_owned(), value)),
                    None => drop(rest.remove(name)),
                }
            }
            match rest.is_empty() {
                true => Value::Null,
                false => Value::Object(rest),
            }
        }
        (Node::Values | Node::Items(..), Value::Array(_)) => {
            let rest: Vec<Value> = parts(node, Some(value))
                .into_iter()
                .filter_map(|(step, of, value)| keep(&step, of, value))
                .collect();
            match rest.is_empty() {
                true => Value::Null,
                false => Value::Array(rest),
            }
        }
        _ => value.clone(),
    }
}

/// The set, in which the fields of types that have something below them are members as well.
pub(super) fn with_named(schema: &'static str, set: &Set) -> Set {
    named(&root(schema), set)
}

fn named(node: &Node, set: &Set) -> Set {
    let mut whole = Set {
        members: set.members.clone(),
        children: BTreeMap::new(),
    };
    for (step, below) in &set.children {
        let of = match node {
            Node::Struct(known) => {
                let known = step.strip_prefix("f:").and_then(|name| known.get(name));
                if known.is_some() {
                    whole.members.insert(step.clone());
                }
                known.map(Of::field)
            }
            Node::Map(inner) | Node::Items(inner, _) => Some(Of::inner(inner)),
            Node::Values | Node::Leaf => None,
        };
        let inner = of.map_or(Node::Leaf, Of::node);
        whole.attach(step, named(&inner, below));
    }
    whole
}
