//! What goes: dependents of owners that went, what is in namespaces that close, pods whose time is over, old events.

use portolan_catalog::{Expect, Key, Op, Record, State};
use serde_json::Value;

use super::index::Index;
use super::{Later, OPERATIONS, ranges_of, read_key, write};
use crate::app::{App, delete, put, record};
use crate::instances::is_mirrored;
use crate::kind::{EVENTS, KINDS, Kind, NAMESPACES, PODS, SPACE, find};
use crate::object::{self, items, meta, text};

/// How long events are kept, as in the API server.
const EVENTS_KEPT_MS: u64 = 3_600_000;

/// Does one piece of what there is to do now; false when there was none.
pub(super) async fn now(app: &App, index: &mut Index) -> bool {
    if let Some(key) = index.owned.pop_first() {
        if orphaned(app, &key).await.is_err() {
            index.owned.insert(key);
            return false;
        }
        return true;
    }
    if let Some((namespace, uid)) = index.gone.pop_first() {
        if dependents(app, &namespace, &uid).await.is_err() {
            index.gone.insert((namespace, uid));
            return false;
        }
        return true;
    }
    // The namespace's own removal takes it from the list; one that is held back holds up no other.
    let closing: Vec<String> = index.closing.iter().cloned().collect();
    for namespace in closing {
        if matches!(close(app, &namespace).await, Ok(true)) {
            return true;
        }
    }
    false
}

/// Does what the clock says.
pub(super) async fn timed(app: &App, index: &mut Index) {
    let clock = app.registry.now().0;
    while let Some((at, namespace, name)) = index.ending.first().cloned() {
        if at > clock {
            break;
        }
        let state = app.registry.snapshot();
        if let Some(found) = record(&state, &PODS, &namespace, &name)
            && items(&object::decode(found), "/metadata/finalizers").is_empty()
        {
            // Nobody runs it: its time is all that it had.
            let op = delete(&PODS, &namespace, &name, Expect::Modified(found.modified));
            if write(app, vec![op]).await.is_err() {
                return;
            }
        }
        index.ending.pop_first();
    }
    let old = clock.saturating_sub(EVENTS_KEPT_MS);
    let state = app.registry.snapshot();
    for kind in [Some(&EVENTS), find("events.k8s.io", "v1", "events")]
        .into_iter()
        .flatten()
    {
        let range = kind.range(None);
        let all = state.range(SPACE, &range);
        let gone = all.filter(|(_, record)| record.modified_at.0 < old);
        let ops: Vec<Op> = gone
            .filter_map(|(key, record)| removal(key, record))
            .take(OPERATIONS)
            .collect();
        if !ops.is_empty() && write(app, ops).await.is_err() {
            return;
        }
    }
}

fn removal(key: &Key, record: &Record) -> Option<Op> {
    let (kind, namespace, name) = read_key(key)?;
    Some(delete(
        kind,
        namespace,
        name,
        Expect::Modified(record.modified),
    ))
}

/// Takes an object away, or marks it when somebody holds it back; none when it is marked.
fn end(app: &App, key: &Key, found: &Record) -> Vec<Op> {
    let Some((kind, namespace, name)) = read_key(key) else {
        return Vec::new();
    };
    let mut object = object::decode(found);
    let expect = Expect::Modified(found.modified);
    if items(&object, "/metadata/finalizers").is_empty() {
        let mut ops = vec![delete(kind, namespace, name, expect)];
        if kind.kind == "Service" {
            ops.extend(crate::service::released(&object));
        }
        return ops;
    }
    if !meta(&object, "deletionTimestamp").is_empty() {
        return Vec::new();
    }
    let metadata = object::metadata_mut(&mut object);
    metadata.insert(
        "deletionTimestamp".into(),
        object::time(app.registry.now()).into(),
    );
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    vec![put(kind, namespace, name, &object, expect)]
}

/// Removes what a namespace has, and then the namespace; false when something is held back.
async fn close(app: &App, namespace: &str) -> Result<bool, Later> {
    let state = app.registry.snapshot();
    let Some(found) = record(&state, &NAMESPACES, "", namespace) else {
        return Ok(false);
    };
    let (mut ops, mut left) = (Vec::new(), false);
    for (_, range) in ranges_of(namespace) {
        for (key, found) in state.range(SPACE, &range) {
            left = true;
            // What stands for others' instances goes when they go, and would be made again before.
            if ops.len() < OPERATIONS && !is_mirrored(&object::decode(found)) {
                ops.extend(end(app, key, found));
            }
        }
    }
    if !ops.is_empty() {
        write(app, ops).await?;
        return Ok(true);
    }
    let mut object = object::decode(found);
    let foreign = items(&object, "/spec/finalizers")
        .iter()
        .any(|one| *one != "kubernetes");
    if left || foreign || !items(&object, "/metadata/finalizers").is_empty() {
        return Ok(false);
    }
    object["spec"]["finalizers"] = Value::Array(Vec::new());
    let expect = Expect::Modified(found.modified);
    write(app, vec![delete(&NAMESPACES, "", namespace, expect)]).await?;
    Ok(true)
}

/// The owner that a reference names: whether it is there.
fn is_there(state: &State, namespace: &str, reference: &Value) -> bool {
    let version = text(reference, "/apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = KINDS.into_iter().find(|kind| {
        kind.group == group && kind.version == version && kind.kind == text(reference, "/kind")
    });
    // Kinds that are not served are somebody else's to look after.
    let Some(kind) = kind else { return true };
    let namespace = if kind.namespaced { namespace } else { "" };
    let owner = record(state, kind, namespace, text(reference, "/name"));
    owner.is_some_and(|owner| meta(&object::decode(owner), "uid") == text(reference, "/uid"))
}

/// Removes an object none of whose owners is there.
async fn orphaned(app: &App, key: &Key) -> Result<(), Later> {
    let state = app
        .registry
        .linearized()
        .await
        .map_err(|_| Later::Unavailable)?;
    let Some((_, namespace, _)) = read_key(key) else {
        return Ok(());
    };
    let Some(found) = state.record(SPACE, key) else {
        return Ok(());
    };
    let object = object::decode(found);
    let owners = items(&object, "/metadata/ownerReferences");
    if owners.is_empty()
        || owners
            .iter()
            .any(|owner| is_there(&state, namespace, owner))
    {
        return Ok(());
    }
    write(app, end(app, key, found)).await
}

/// Looks at everything that an owner which went had.
async fn dependents(app: &App, namespace: &str, uid: &str) -> Result<(), Later> {
    let state = app.registry.snapshot();
    let ranges: Vec<_> = match namespace {
        "" => KINDS
            .into_iter()
            .map(|kind: &Kind| (kind, kind.range(None)))
            .collect(),
        namespace => ranges_of(namespace).collect(),
    };
    for (_, range) in ranges {
        for (key, found) in state.range(SPACE, &range) {
            // The bytes tell, before anybody reads them.
            let bytes = found.bytes();
            let mut windows = bytes.windows(uid.len().max(1));
            if !uid.is_empty() && windows.any(|window| window == uid.as_bytes()) {
                orphaned(app, key).await?;
            }
        }
    }
    Ok(())
}
