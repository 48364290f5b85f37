//! What peers send each other: a list of what happened to instances, and what came of each.

use super::decode::instance_of;
use super::encode::encode_instance;
use super::instance::{Instance, Status};
use super::json;
use super::media::Format;
use super::tree::{MAX_NODES, Malformed, Tree};

/// Instances in one list, as the original sends them at most.
pub const BATCH: usize = 250;

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happened {
    /// It registered.
    Register,
    /// It renewed its lease.
    Heartbeat,
    /// It left.
    Cancel,
    /// A status was imposed on it.
    StatusUpdate,
    /// An imposed status was taken back.
    DeleteStatusOverride,
}

impl Happened {
    const ALL: [Happened; 5] = [
        Happened::Register,
        Happened::Heartbeat,
        Happened::Cancel,
        Happened::StatusUpdate,
        Happened::DeleteStatusOverride,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Happened::Register => "Register",
            Happened::Heartbeat => "Heartbeat",
            Happened::Cancel => "Cancel",
            Happened::StatusUpdate => "StatusUpdate",
            Happened::DeleteStatusOverride => "DeleteStatusOverride",
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicated {
    /// What happened; none where the sender knows a word that is not known here.
    pub happened: Option<Happened>,
    /// The application, in upper case.
    pub app: String,
    /// The instance's id.
    pub id: String,
    /// When the instance last changed what it says of itself, milliseconds.
    pub dirty_at: Option<i64>,
    /// The status that is imposed on it.
    pub overridden: Option<Status>,
    /// Its status.
    pub status: Option<Status>,
    /// The whole record, with a registration.
    pub instance: Option<Instance>,
}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The status that the call by itself would have had.
    pub status: u16,
    /// With 409, the record that is newer than the sender's.
    pub instance: Option<Instance>,
}

/// Reads a list.
///
/// # Errors
/// When it is none. An entry of an unknown kind is none of these errors.
pub fn decode_batch(body: &[u8]) -> Result<Vec<Replicated>, Malformed> {
    let root = Tree::from_json(body, MAX_NODES * BATCH)?;
    let text = |tree: &Tree, name: &str| tree.child(name).and_then(|child| child.text.clone());
    root.each("replicationList")
        .map(|tree| {
            let status = |name| text(tree, name).as_deref().and_then(Status::named);
            let happened = text(tree, "action");
            let known = |word: &Happened| Some(word.as_str()) == happened.as_deref();
            let instance = tree.child("instanceInfo").filter(|child| child.branch);
            Ok(Replicated {
                happened: Happened::ALL.into_iter().find(known),
                app: text(tree, "appName")
                    .unwrap_or_default()
                    .to_ascii_uppercase(),
                id: text(tree, "id").unwrap_or_default(),
                dirty_at: text(tree, "lastDirtyTimestamp").and_then(|text| text.parse().ok()),
                overridden: status("overriddenStatus"),
                status: status("status"),
                instance: instance
                    .map(|child| instance_of(child, Format::Json))
                    .transpose()?,
            })
        })
        .collect()
}

/// Writes a list.
pub fn encode_batch(list: &[Replicated]) -> Vec<u8> {
    let mut out = b"{\"replicationList\":[".to_vec();
    for (at, one) in list.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        let mut field = |name: &str, value: &dyn Fn(&mut Vec<u8>), first: bool| {
            if !first {
                out.push(b',');
            }
            json::string(&mut out, name);
            out.push(b':');
            value(&mut out);
        };
        field("appName", &|out| json::string(out, &one.app), true);
        field("id", &|out| json::string(out, &one.id), false);
        if let Some(dirty) = one.dirty_at {
            let dirty = dirty.to_string();
            field(
                "lastDirtyTimestamp",
                &|out| out.extend_from_slice(dirty.as_bytes()),
                false,
            );
        }
        let status = |status: Status| move |out: &mut Vec<u8>| json::string(out, status.as_str());
        if let Some(overridden) = one.overridden {
            field("overriddenStatus", &status(overridden), false);
        }
        if let Some(shown) = one.status {
            field("status", &status(shown), false);
        }
        if let Some(instance) = &one.instance {
            field("instanceInfo", &|out| append_bare(out, instance), false);
        }
        if let Some(happened) = one.happened {
            field("action", &|out| json::string(out, happened.as_str()), false);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// Reads what came of a list, in its order.
///
/// # Errors
/// When it is none.
pub fn decode_outcomes(body: &[u8]) -> Result<Vec<Outcome>, Malformed> {
    let root = Tree::from_json(body, MAX_NODES * BATCH)?;
    root.each("responseList")
        .map(|tree| {
            let status = tree
                .child("statusCode")
                .and_then(|child| child.text.clone());
            let instance = tree.child("responseEntity").filter(|child| child.branch);
            Ok(Outcome {
                status: status.and_then(|text| text.parse().ok()).unwrap_or(500),
                instance: instance
                    .map(|child| instance_of(child, Format::Json))
                    .transpose()?,
            })
        })
        .collect()
}

/// Writes what came of a list.
pub fn encode_outcomes(list: &[Outcome]) -> Vec<u8> {
    let mut out = b"{\"responseList\":[".to_vec();
    for (at, one) in list.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        out.extend_from_slice(format!("{comma}{{\"statusCode\":{}", one.status).as_bytes());
        if let Some(instance) = &one.instance {
            out.extend_from_slice(b",\"responseEntity\":");
            append_bare(&mut out, instance);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// The record without the name around it.
fn append_bare(out: &mut Vec<u8>, instance: &Instance) {
    let wrapped = encode_instance(Format::Json, instance);
    let bare = wrapped
        .strip_prefix(b"{\"instance\":")
        .and_then(|rest| rest.strip_suffix(b"}"));
    out.extend_from_slice(bare.unwrap_or(&wrapped));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_were_written_and_in_netflix_words() {
        let instance = Instance {
            instance_id: Some("h1:web:80".into()),
            app: "WEB".into(),
            host_name: "h1".into(),
            dirty_at: Some(1000),
            ..Instance::default()
        };
        let list = vec![
            Replicated {
                happened: Some(Happened::Register),
                app: "WEB".into(),
                id: "h1:web:80".into(),
                dirty_at: Some(1000),
                overridden: None,
                status: Some(Status::Up),
                instance: Some(instance.clone()),
            },
            Replicated {
                happened: Some(Happened::Cancel),
                app: "WEB".into(),
                id: "a\"b".into(),
                dirty_at: None,
                overridden: Some(Status::OutOfService),
                status: None,
                instance: None,
            },
        ];
        let bytes = encode_batch(&list);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let first = &json["replicationList"][0];
        assert_eq!(first["instanceInfo"]["hostName"], "h1");
        assert_eq!(first["action"], "Register");
        assert_eq!(
            json["replicationList"][1]["overriddenStatus"],
            "OUT_OF_SERVICE"
        );
        let read = decode_batch(&bytes).unwrap();
        assert_eq!(read[1], list[1]);
        assert_eq!(read[0].instance.as_ref().unwrap().host_name, "h1");
        assert_eq!(
            (read[0].dirty_at, read[0].status),
            (Some(1000), Some(Status::Up))
        );

        let outcomes = vec![
            Outcome {
                status: 200,
                instance: None,
            },
            Outcome {
                status: 409,
                instance: Some(instance),
            },
        ];
        let read = decode_outcomes(&encode_outcomes(&outcomes)).unwrap();
        assert_eq!((read[0].status, read[1].status), (200, 409));
        assert!(read[0].instance.is_none() && read[1].instance.is_some());

        let strange = br#"{"replicationList":[{"appName":"a","id":"i","action":"Later"}]}"#;
        assert_eq!(decode_batch(strange).unwrap()[0].happened, None);
        for wrong in [&b"["[..], b"nonsense", b""] {
            assert!(decode_batch(wrong).is_err());
        }
    }
}
