//! The entries of `managedFields`.

use serde_json::{Value, json};

use super::set::Set;

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// A manager with the fields it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: Set,
}

impl Entry {
    /// Whether both are of one manager. Who applies is the same in every version.
    pub(super) fn is_of(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The manager, as conflicts name it.
    pub(super) fn words(&self) -> String {
        let mut words = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            words = format!("{words} with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            words = format!("{words} using {}", self.api_version);
        }
        words
    }

    fn read(value: &Value) -> Option<Entry> {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if !matches!(value["fieldsType"].as_str(), None | Some("" | "FieldsV1")) {
            return None;
        }
        let set = match &value["fieldsV1"] {
            Value::Null => Set::default(),
            fields => Set::read(fields)?,
        };
        Some(Entry {
            manager: text("manager"),
            operation,
            api_version: value["apiVersion"].as_str()?.to_owned(),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            set,
        })
    }

    fn write(&self) -> Value {
        let mut value = json!({
            "manager": self.manager,
            "operation": self.operation.name(),
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.write(),
        });
        if let Some(time) = &self.time {
            value["time"] = time.as_str().into();
        }
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }
}

/// Reads entries; none when one of them is none.
pub(super) fn read(entries: &[Value]) -> Option<Vec<Entry>> {
    let mut read: Vec<Entry> = Vec::new();
    for value in entries {
        let entry = Entry::read(value)?;
        match read.iter_mut().find(|other| other.is_of(&entry)) {
            Some(other) => *other = entry,
            None => read.push(entry),
        }
    }
    Some(read)
}

/// The entries of an object.
pub(super) fn of(object: Option<&Value>) -> Vec<Entry> {
    let entries = object.and_then(|object| object["metadata"]["managedFields"].as_array());
    entries.and_then(|all| read(all)).unwrap_or_default()
}

/// Writes entries in their order: who applied first, then by time.
pub(super) fn write(mut entries: Vec<Entry>) -> Vec<Value> {
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            (
                entry.operation,
                entry.time.clone(),
                entry.manager.clone(),
                entry.api_version.clone(),
                entry.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    entries.iter().map(Entry::write).collect()
}
