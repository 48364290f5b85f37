//! Intentions as rows: each source of an entry `service-intentions` is one.

use crate::config::entries::{self, Kept};
use crate::config::value::{items, text};
use portolan_catalog::State;
use serde_json::{Value, json};

/// The kind of entry that intentions are kept in.
pub(super) const KIND: &str = "service-intentions";

/// A source and a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: String,
    pub(super) destination: String,
}

/// One intention.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) pair: Pair,
    /// As it is kept.
    source: Value,
    meta: Value,
    jwt: Value,
    created: u64,
    modified: u64,
}

impl Row {
    pub(super) fn id(&self) -> &str {
        text(&self.source, "LegacyID")
    }

    pub(super) fn precedence(&self) -> i64 {
        self.source["Precedence"].as_i64().unwrap_or(0)
    }

    /// Whether it is about this source.
    pub(super) fn concerns(&self, source: &str) -> bool {
        self.pair.source == "*" || self.pair.source.eq_ignore_ascii_case(source)
    }

    /// Whether it lets every call through. One that looks at requests lets none through where there are none to look at.
    pub(super) fn allows(&self) -> bool {
        text(&self.source, "Action") == "allow"
    }

    /// In one line, as Consul puts it.
    pub(super) fn line(&self) -> String {
        let permissions = items(&self.source, "Permissions").len();
        let action = match permissions {
            0 => text(&self.source, "Action").to_uppercase(),
            1 => "1 PERMISSION".to_owned(),
            count => format!("{count} PERMISSIONS"),
        };
        let id = match self.id() {
            "" => String::new(),
            id => format!("ID: {id}, "),
        };
        format!(
            "{action} default/{} => default/{} ({id}Precedence: {})",
            self.pair.source,
            self.pair.destination,
            self.precedence()
        )
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> Value {
        let time = |key: &str| match text(&self.source, key) {
            "" => "0001-01-01T00:00:00Z".to_owned(),
            time => time.to_owned(),
        };
        let mut row = json!({
            "SourceNS": "default",
            "SourceName": self.pair.source,
            "DestinationNS": "default",
            "DestinationName": self.pair.destination,
            "SourcePartition": "default",
            "DestinationPartition": "default",
            "SourceType": text(&self.source, "Type"),
            "Precedence": self.precedence(),
            "CreatedAt": time("LegacyCreateTime"),
            "UpdatedAt": time("LegacyUpdateTime"),
            "CreateIndex": self.created,
            "ModifyIndex": self.modified,
        });
        let meta = match self.id() {
            "" => &self.meta,
            _ => &self.source["LegacyMeta"],
        };
        for (key, value) in [
            ("ID", &self.source["LegacyID"]),
            ("Description", &self.source["Description"]),
            ("Action", &self.source["Action"]),
            ("Permissions", &self.source["Permissions"]),
            ("Meta", meta),
            ("JWT", &self.jwt),
        ] {
            let nothing = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
            if !nothing {
                row[key] = value.clone();
            }
        }
        row
    }
}

/// The intentions of one entry.
fn of(kept: &Kept) -> impl Iterator<Item = Row> {
    items(&kept.value, "Sources").iter().map(|source| Row {
        pair: Pair {
            source: text(source, "Name").to_owned(),
            destination: text(&kept.value, "Name").to_owned(),
        },
        source: source.clone(),
        meta: kept.value["Meta"].clone(),
        jwt: kept.value["JWT"].clone(),
        created: kept.created,
        modified: kept.modified,
    })
}

/// The first that is looked at comes first; equal ones by name.
fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| {
        let names = |row: &Row| (row.pair.destination.clone(), row.pair.source.clone());
        let order = b.precedence().cmp(&a.precedence());
        order.then_with(|| names(a).cmp(&names(b)))
    });
}

/// All intentions, in the order they are looked at.
pub(super) fn all(state: &State) -> Vec<Row> {
    let kept = entries::all(state, KIND);
    let mut rows: Vec<Row> = kept.iter().flat_map(of).collect();
    sort(&mut rows);
    rows
}

/// Those about calls to a service, in the order they are looked at.
pub(super) fn to(state: &State, destination: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for name in [destination, "*"] {
        if name == "*" && destination == "*" {
            continue;
        }
        let kept = entries::kept(state, &entries::key(KIND, name));
        rows.extend(kept.iter().flat_map(of));
    }
    if destination == "*" {
        let kept = entries::kept(state, &entries::key(KIND, "*"));
        rows.extend(kept.iter().flat_map(of));
    }
    sort(&mut rows);
    rows
}

/// Those about calls of a service, in the order they are looked at.
pub(super) fn from(state: &State, source: &str) -> Vec<Row> {
    let mut rows = all(state);
    rows.retain(|row| row.concerns(source));
    rows
}

/// The one with that id.
pub(super) fn with_id(state: &State, id: &str) -> Option<Row> {
    let kept = entries::all(state, KIND);
    kept.iter().flat_map(of).find(|row| row.id() == id)
}

/// The one between exactly these.
pub(super) fn between(state: &State, pair: &Pair) -> Option<Row> {
    let kept = entries::kept(state, &entries::key(KIND, &pair.destination))?;
    of(&kept).find(|row| row.pair.source == pair.source)
}

/// Whether one service may call another, and by which intention.
pub(super) fn decision(state: &State, pair: &Pair) -> Option<Row> {
    let mut rows = to(state, &pair.destination).into_iter();
    rows.find(|row| row.concerns(&pair.source))
}
