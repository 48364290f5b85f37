//! Who owns which field: what every write leaves in `managedFields`, and server-side apply, which goes by it.
//!
//! Promises
//! - A field belongs to whoever last said what it is. An apply that says something else is refused, unless it is forced.
//! - What a manager no longer says in its apply, and nobody else does, goes.
//! - A write that changes nothing changes no entry, not even its time.

mod entry;
mod set;
mod typed;
mod wrong;

use serde_json::{Value, json};

use self::entry::{Entry, Operation};
use self::set::Set;
use self::typed::{compare, merge, set_of, with_named, without};
use self::wrong::wrong;
use crate::error::Failure;
use crate::kind::Kind;
use crate::object::{meta, metadata_mut};

/// Entries of managers that updated, at most; the oldest are joined.
const UPDATERS: usize = 10;
/// The annotation in which client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Fields of the metadata that are nobody's.
const NOBODYS: [&str; 8] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) manager: &'a str,
    /// The time, as objects have it.
    pub(crate) now: &'a str,
}

impl Writer<'_> {
    fn entry(&self, operation: Operation) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: self.kind.api_version(),
            subresource: self.subresource.unwrap_or_default().to_owned(),
            time: Some(self.now.to_owned()),
            set: Set::default(),
        }
    }

    /// Takes out what this writer cannot own.
    fn owned(&self, set: &mut Set) {
        for field in ["apiVersion", "kind", "metadata"] {
            set.remove(&[field]);
        }
        for field in NOBODYS {
            set.cut(&["metadata", field]);
        }
        match self.subresource {
            Some("status") => set.cut(&["spec"]),
            _ if self.kind.subresources.contains(&"status") => set.cut(&["status"]),
            _ => {}
        }
    }
}

/// The object without its entries.
fn bare(object: &Value) -> Value {
    let mut bare = object.clone();
    metadata_mut(&mut bare).remove("managedFields");
    bare
}

fn put(object: &mut Value, entries: Vec<Entry>) {
    let written = entry::write(entries);
    let metadata = metadata_mut(object);
    match written.is_empty() {
        true => metadata.remove("managedFields"),
        false => metadata.insert("managedFields".into(), written.into()),
    };
}

/// An object of a kind that says nothing.
fn empty(kind: &Kind) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {}})
}

/// Notes in `after` what a write other than an apply did. `before`: what there was; `asked`: the entries in the request; `unsaid`: whether the
/// server chose a field of the root, by its pointer.
pub(crate) fn update(
    writer: &Writer<'_>,
    before: Option<&Value>,
    after: &mut Value,
    asked: &Value,
    said: &Value,
) {
    let entries = match (asked.as_array().map(Vec::as_slice), before) {
        (Some([Value::Object(reset)]), _) if reset.is_empty() => Vec::new(),
        (Some(asked), before) => match entry::read(asked) {
            Some(entries) if !entries.is_empty() => entries,
            _ => entry::of(before),
        },
        (None, before) => entry::of(before),
    };
    if entries.is_empty() && before.is_some() {
        // Nobody kept account of it so far.
        metadata_mut(after).remove("managedFields");
        return;
    }
    let nothing = empty(writer.kind);
    let old = before.map_or(nothing, bare);
    let mut new = bare(after);
    forget_chosen(&mut new, &old, said);
    let entries = updated(writer, entries, &old, &new);
    put(after, capped(entries));
}

/// Takes out what the server chose and no request said: it is nobody's.
fn forget_chosen(new: &mut Value, old: &Value, said: &Value) {
    const CHOSEN: [&str; 5] = [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "healthCheckNodePort",
    ];
    let Some(kind) = new["kind"].as_str().map(str::to_owned) else {
        return;
    };
    let is_new = meta(old, "uid").is_empty();
    let remove = |object: &mut Value, field: &str| {
        if let Some(map) = object.as_object_mut() {
            map.remove(field);
        }
    };
    if is_new && matches!(kind.as_str(), "Service" | "Pod" | "Namespace") {
        remove(new, "status");
    }
    match kind.as_str() {
        "Namespace" if is_new && said["spec"]["finalizers"].is_null() => remove(new, "spec"),
        "Service" => {
            let spec = &mut new["spec"];
            for field in CHOSEN {
                if said["spec"][field].is_null() && old["spec"][field].is_null() {
                    remove(spec, field);
                }
            }
            let ports = spec["ports"].as_array_mut().into_iter().flatten();
            for (index, port) in ports.enumerate() {
                let own = &said["spec"]["ports"][index]["nodePort"];
                let same = |other: &&Value| other["port"] == port["port"];
                let old = old["spec"]["ports"].as_array();
                let old = old.and_then(|ports| ports.iter().find(same));
                if own.is_null() && old.is_none_or(|old| old["nodePort"].is_null()) {
                    remove(port, "nodePort");
                }
            }
        }
        _ => {}
    }
}

/// The entries after a change from `old` to `new`, whatever anybody owns.
fn updated(writer: &Writer<'_>, mut entries: Vec<Entry>, old: &Value, new: &Value) -> Vec<Entry> {
    let difference = compare(writer.kind.schema, old, new);
    let mut changed = difference.modified.union(&difference.added);
    for entry in &mut entries {
        entry.set = entry
            .set
            .difference(&changed)
            .difference(&difference.removed);
    }
    writer.owned(&mut changed);
    if !changed.is_empty() {
        let mut own = writer.entry(Operation::Update);
        own.set = changed;
        match entries.iter_mut().find(|entry| entry.is_of(&own)) {
            Some(entry) => {
                entry.set = entry.set.union(&own.set);
                entry.time = own.time;
            }
            None => entries.push(own),
        }
    }
    entries.retain(|entry| !entry.set.is_empty());
    entries
}

/// Joins the oldest entries where there are too many.
fn capped(mut entries: Vec<Entry>) -> Vec<Entry> {
    let is_update = |entry: &Entry| entry.operation == Operation::Update;
    let count = entries.iter().filter(|entry| is_update(entry)).count();
    if count <= UPDATERS {
        return entries;
    }
    entries.sort_by(|a, b| a.time.cmp(&b.time));
    let mut ancient: Option<Entry> = None;
    let mut surplus = count - UPDATERS + 1;
    entries.retain(|entry| {
        if surplus == 0 || !is_update(entry) {
            return true;
        }
        surplus -= 1;
        let joined = ancient.get_or_insert_with(|| Entry {
            manager: "ancient-changes".into(),
            subresource: String::new(),
            ..entry.clone()
        });
        joined.set = joined.set.union(&entry.set);
        joined.time.clone_from(&entry.time);
        false
    });
    entries.extend(ancient);
    entries
}

/// What applying `config` makes of `live`, which may be nothing. `force`: what others own is taken from them.
///
/// # Errors
/// 409 with what others own and `config` says otherwise; 500 for a configuration that does not fit the types, as the API server has it.
pub(crate) fn apply(
    writer: &Writer<'_>,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, Failure> {
    let schema = writer.kind.schema;
    let wrong = wrong(schema, config);
    if !wrong.is_empty() {
        let what = match &wrong[..] {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        return Err(Failure::unexpected(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {what}",
            meta(config, "namespace"),
            meta(config, "name"),
            match writer.kind.group {
                "" => format!("/{}", writer.kind.version),
                group => format!("{group}/{}", writer.kind.version),
            },
            writer.kind.kind
        )));
    }
    let nothing = empty(writer.kind);
    let old = live.map_or(nothing.clone(), bare);
    let mut entries = entry::of(live);
    if entries.is_empty() && live.is_some() {
        let before = Writer {
            manager: "before-first-apply",
            ..*writer
        };
        entries = updated(&before, entries, &nothing, &old);
    }
    let applied = applied(writer, &entries, &old, config, force);
    let (mut new, entries) = match applied {
        Ok(applied) => applied,
        Err(conflicts) => {
            // What client-side apply owns and the live object still says so, its user may take.
            let allowed = match writer.manager {
                "kubectl" => last_applied(writer.kind, &old),
                _ => None,
            };
            let allowed = allowed.unwrap_or_default();
            let rest: Vec<(Entry, Set)> = conflicts
                .into_iter()
                .map(|(entry, set)| (entry, set.difference(&allowed)))
                .filter(|(_, set)| !set.is_empty())
                .collect();
            match rest.is_empty() {
                true => applied_by_force(writer, &entries, &old, config),
                false => return Err(conflict(&rest)),
            }
        }
    };
    if writer.manager == "kubectl" && !new["metadata"]["annotations"][LAST_APPLIED].is_null() {
        let mut said = config.clone();
        let annotations = said.pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        new["metadata"]["annotations"][LAST_APPLIED] = format!("{said}\n").into();
    }
    put(&mut new, entries);
    Ok(new)
}

type Applied = (Value, Vec<Entry>);

fn applied_by_force(
    writer: &Writer<'_>,
    entries: &[Entry],
    old: &Value,
    config: &Value,
) -> Applied {
    match applied(writer, entries, old, config, true) {
        Ok(applied) => applied,
        // Nothing refuses force.
        Err(_) => (old.clone(), entries.to_vec()),
    }
}

fn applied(
    writer: &Writer<'_>,
    entries: &[Entry],
    old: &Value,
    config: &Value,
    force: bool,
) -> Result<Applied, Vec<(Entry, Set)>> {
    let schema = writer.kind.schema;
    let mut entries = entries.to_vec();
    let mut own = writer.entry(Operation::Apply);
    own.set = set_of(schema, config);
    writer.owned(&mut own.set);
    let mut last = None;
    match entries.iter_mut().find(|entry| entry.is_of(&own)) {
        Some(entry) => last = Some(std::mem::replace(entry, own.clone())),
        None => entries.push(own.clone()),
    }
    let merged = merge(schema, old, config);
    let new = match &last {
        Some(last) => pruned(schema, &merged, &entries, &last.set),
        None => merged,
    };
    if new == *old {
        // What changed nothing happened at no time.
        let time = last.and_then(|last| last.time);
        let own = entries.iter_mut().find(|entry| entry.is_of(&own));
        own.into_iter().for_each(|own| own.time.clone_from(&time));
    }
    let difference = compare(schema, old, &new);
    let changed = difference.modified.union(&difference.added);
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is_of(&own)) {
        let taken = entry.set.intersection(&changed);
        if !taken.is_empty() {
            conflicts.push((entry.clone(), taken.clone()));
        }
        entry.set = entry.set.difference(&taken).difference(&difference.removed);
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    entries.retain(|entry| !entry.set.is_empty());
    Ok((new, entries))
}

/// What is left of `merged` without what this manager said last and now does not, if it is nobody else's.
fn pruned(schema: &'static str, merged: &Value, entries: &[Entry], last: &Set) -> Value {
    if last.is_empty() {
        return merged.clone();
    }
    let all = with_named(schema, &set_of(schema, merged));
    let last = with_named(schema, last);
    let first = without(schema, merged, &last);
    let kept = with_named(schema, &set_of(schema, &first));
    let owned = entries
        .iter()
        .fold(Set::default(), |all, entry| all.union(&entry.set));
    let owned = with_named(schema, &owned);
    let gone = all.difference(&kept.union(&owned));
    let second = without(schema, merged, &gone);
    // What only hung on what went, and was not this manager's, stays.
    let kept = with_named(schema, &set_of(schema, &second));
    let gone = all.difference(&kept).intersection(&last);
    without(schema, merged, &gone)
}

/// What client-side apply said and still is so.
fn last_applied(kind: &'static Kind, live: &Value) -> Option<Set> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let said: Value = serde_json::from_str(text).ok()?;
    if !said.is_object() || !wrong(kind.schema, &said).is_empty() {
        return None;
    }
    let difference = compare(kind.schema, &said, live);
    Some(
        set_of(kind.schema, &said)
            .difference(&difference.modified)
            .difference(&difference.added)
            .difference(&difference.removed),
    )
}

/// 409, in the API server's words.
fn conflict(conflicts: &[(Entry, Set)]) -> Failure {
    let mut all: Vec<(String, Vec<String>)> = conflicts
        .iter()
        .map(|(entry, set)| (entry.words(), set.paths()))
        .collect();
    all.sort();
    let causes: Vec<(String, String)> = all
        .iter()
        .flat_map(|(manager, paths)| {
            let message = format!("conflict with {manager}");
            paths
                .iter()
                .map(move |path| (message.clone(), path.clone()))
        })
        .collect();
    let message = match &causes[..] {
        [(with, path)] => format!("Apply failed with 1 conflict: {with}: {path}"),
        many => {
            let mut lines = Vec::new();
            for (manager, paths) in &all {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            let (count, lines) = (many.len(), lines.join("\n"));
            format!("Apply failed with {count} conflicts: {lines}")
        }
    };
    Failure::apply_conflict(&message, &causes)
}

/// Whether two objects differ in nothing but the times of their entries.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let entries = object["metadata"]["managedFields"].as_array_mut();
        for entry in entries.into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        object
    };
    timeless(one) == timeless(other)
}
