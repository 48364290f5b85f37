//! What calls make of entries: a source appears, changes or goes; an entry without sources goes.

use super::rows::{KIND, Pair, Row};
use crate::config::entries::Kept;
use crate::config::made;
use crate::config::value::{items, text};
use crate::config::write::{self, Change};
use crate::error::Failure;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use serde_json::{Value, json};

/// An intention as a body says it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) pair: Pair,
    /// As a source of an entry.
    source: Value,
    meta: Value,
}

/// A name without the one namespace there is: `default/web` is `web`.
///
/// # Errors
/// 400 for other namespaces.
pub(super) fn name(text: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let (places, name) = parts.split_at(parts.len() - 1);
    match places.len() <= 2 && places.iter().all(|place| matches!(*place, "default" | "")) {
        true => Ok(name[0].to_owned()),
        false => Err(Failure::bad(format!(
            "Invalid name {text:?} - Namespaces are a Consul Enterprise feature"
        ))),
    }
}

/// Reads a body. `pair` is what the path says already.
///
/// # Errors
/// 400 in Consul's words.
pub(super) fn read(body: &Value, pair: Option<Pair>) -> Result<Wanted, Failure> {
    let fields = Fields::of(body, "intention")?;
    for key in ["sourcens", "destinationns"] {
        let place = fields.text(key)?;
        if !matches!(&*place, "" | "default") {
            return Err(Failure::bad(format!(
                "Invalid namespace {place:?} - Namespaces are a Consul Enterprise feature"
            )));
        }
    }
    for key in ["sourcepeer", "sourcesamenessgroup"] {
        if !fields.text(key)?.is_empty() {
            return Err(Failure::bad(
                "this server does not peer with other clusters",
            ));
        }
    }
    let said = Pair {
        source: fields.text("sourcename")?,
        destination: fields.text("destinationname")?,
    };
    let pair = match pair {
        None => said,
        Some(pair) => {
            let other = |said: &str, is: &str| !said.is_empty() && said != is;
            if other(&said.source, &pair.source) || other(&said.destination, &pair.destination) {
                return Err(Failure::bad(
                    "source and destination of the body are not those of the query",
                ));
            }
            pair
        }
    };
    let mut source = json!({"Name": pair.source});
    for (key, folded) in [
        ("Action", "action"),
        ("Description", "description"),
        ("Type", "sourcetype"),
        ("Permissions", "permissions"),
    ] {
        if let Some(value) = fields.get(folded) {
            source[key] = value.clone();
        }
    }
    let meta = fields.strings_of("meta")?;
    Ok(Wanted {
        id: fields.text("id")?,
        pair,
        source,
        meta: json!(meta),
    })
}

/// Creates one with an id, as the older calls do.
pub(super) async fn create(
    server: &Server,
    request: &Request,
    wanted: &Wanted,
    id: &str,
    now: &str,
) -> Result<(), Failure> {
    let destination = wanted.pair.destination.clone();
    let put = write::write(server, request, KIND, &destination, |old| {
        with_ids_only(old, &destination)?;
        let mut sources = sources_of(old);
        if let Some(there) = sources
            .iter()
            .find(|one| text(one, "Name") == wanted.pair.source)
        {
            return Err(Failure::server(format!(
                "duplicate intention found: {} default/{} => default/{destination}",
                text(there, "Action").to_uppercase(),
                wanted.pair.source
            )));
        }
        let mut source = wanted.source.clone();
        source["LegacyID"] = id.into();
        source["LegacyMeta"] = wanted.meta.clone();
        source["LegacyCreateTime"] = now.into();
        source["LegacyUpdateTime"] = now.into();
        sources.push(source);
        put_sources(old, &destination, sources)
    });
    put.await
}

/// Changes the one with an id. Its destination stays.
pub(super) async fn update(
    server: &Server,
    request: &Request,
    row: &Row,
    wanted: &Wanted,
    now: &str,
) -> Result<(), Failure> {
    let destination = row.pair.destination.clone();
    let put = write::write(server, request, KIND, &destination, |old| {
        with_ids_only(old, &destination)?;
        let mut sources = sources_of(old);
        let twice = |one: &Value| {
            text(one, "Name") == wanted.pair.source && text(one, "LegacyID") != row.id()
        };
        if sources.iter().any(twice) {
            return Err(Failure::server(format!(
                "duplicate intention found: default/{} => default/{destination}",
                wanted.pair.source
            )));
        }
        let Some(there) = sources
            .iter_mut()
            .find(|one| text(one, "LegacyID") == row.id())
        else {
            return Err(Failure::server(format!(
                "Cannot modify non-existent intention: '{}'",
                row.id()
            )));
        };
        let mut source = wanted.source.clone();
        source["LegacyID"] = row.id().into();
        source["LegacyMeta"] = wanted.meta.clone();
        source["LegacyCreateTime"] = there["LegacyCreateTime"].clone();
        source["LegacyUpdateTime"] = now.into();
        *there = source;
        put_sources(old, &destination, sources)
    });
    put.await
}

/// Creates or changes the one between two services.
pub(super) async fn upsert(
    server: &Server,
    request: &Request,
    wanted: &Wanted,
) -> Result<(), Failure> {
    let destination = wanted.pair.destination.clone();
    let put = write::write(server, request, KIND, &destination, |old| {
        let mut sources = sources_of(old);
        let mut source = wanted.source.clone();
        // An entry whose sources have ids loses them when it is changed so, as any entry that is written.
        match sources
            .iter_mut()
            .find(|one| text(one, "Name") == wanted.pair.source)
        {
            Some(there) => *there = source.take(),
            None => sources.push(source.take()),
        }
        for source in &mut sources {
            forget_id(source);
        }
        let mut entry = entry_of(old, &destination);
        if wanted.meta.as_object().is_some_and(|meta| !meta.is_empty()) {
            entry["Meta"] = wanted.meta.clone();
        }
        entry["Sources"] = sources.into();
        Ok(Change::Put(made(KIND, entry).map_err(Failure::server)?))
    });
    put.await
}

/// Removes those that `goes` picks; false when there are none.
pub(super) async fn remove(
    server: &Server,
    request: &Request,
    destination: &str,
    goes: impl Fn(&Value) -> bool,
) -> Result<bool, Failure> {
    let mut done = false;
    let removed = write::write(server, request, KIND, destination, |old| {
        let mut sources = sources_of(old);
        let before = sources.len();
        sources.retain(|source| !goes(source));
        done = sources.len() < before;
        match (done, sources.is_empty()) {
            (false, _) => Ok(Change::Nothing),
            (true, true) => Ok(Change::Drop),
            (true, false) => put_sources(old, destination, sources),
        }
    });
    removed.await?;
    Ok(done)
}

fn sources_of(old: Option<&Kept>) -> Vec<Value> {
    old.map_or_else(Vec::new, |old| items(&old.value, "Sources").to_vec())
}

fn entry_of(old: Option<&Kept>, destination: &str) -> Value {
    match old {
        Some(old) => old.value.clone(),
        None => json!({"Kind": KIND, "Name": destination}),
    }
}

fn put_sources(
    old: Option<&Kept>,
    destination: &str,
    sources: Vec<Value>,
) -> Result<Change, Failure> {
    let mut entry = entry_of(old, destination);
    entry["Sources"] = sources.into();
    Ok(Change::Put(made(KIND, entry).map_err(Failure::server)?))
}

fn forget_id(source: &mut Value) {
    if let Some(map) = source.as_object_mut() {
        for key in [
            "LegacyID",
            "LegacyMeta",
            "LegacyCreateTime",
            "LegacyUpdateTime",
        ] {
            map.remove(key);
        }
    }
}

/// The older calls leave alone what was written as a whole.
fn with_ids_only(old: Option<&Kept>, destination: &str) -> Result<(), Failure> {
    let whole = sources_of(old)
        .iter()
        .any(|one| text(one, "LegacyID").is_empty());
    match whole {
        true => Err(Failure::server(format!(
            "cannot use legacy intention API to edit intentions with a destination of {destination:?} after editing them via a service-intentions config entry"
        ))),
        false => Ok(()),
    }
}
