//! What is kept of the authority, among the Consul objects below `connect-ca/`, which no protocol shows but by the routes here: the list of
//! roots in `connect-ca/root`, the key of each in `connect-ca/key/<id>`, the configuration in `connect-ca/config`.
//!
//! Invariants
//! - A root and its key appear in one write, and only if the list was still what it was made from.
//! - A root that another one took the place of stays listed until certificates that it signed are over, twice over; its key goes at once.

use super::authority::{self, Root};
use super::settings::CaConfig;
use crate::error::Failure;
use crate::request::Request;
use crate::server::Server;
use portolan_catalog::{
    Command, Expect, Key, KeyRange, Keyspace, Op, Put, Record, Refusal, Revision, State, Write,
};
use serde_json::{Value, json};

pub(super) const SPACE: Keyspace = Keyspace::ConsulObjects;
/// What all of it begins with.
pub(super) const BELOW: &str = "connect-ca/";
const ROOTS: &str = "connect-ca/root";
const CONFIG: &str = "connect-ca/config";

/// The roots, the one that signs first.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    pub(super) list: Vec<Root>,
    pub(super) created: u64,
    pub(super) modified: u64,
}

impl Roots {
    /// Those of a state; none before the first was made.
    pub(super) fn of(state: &State) -> Option<Self> {
        let record = state.record(SPACE, ROOTS.as_bytes())?;
        Some(Self {
            list: read_list(record)?,
            created: record.created.0,
            modified: record.modified.0,
        })
    }

    /// The one that signs.
    pub(super) fn active(&self) -> Option<&Root> {
        self.list.first()
    }
}

/// A list; from before there was one, a root alone, which has no key.
fn read_list(record: &Record) -> Option<Vec<Root>> {
    let value: Value = serde_json::from_slice(&record.bytes()).ok()?;
    match value {
        Value::Array(_) => serde_json::from_value(value).ok(),
        one => {
            let mut root: Root = serde_json::from_value(one).ok()?;
            root.bits = 256;
            Some(vec![root])
        }
    }
}

fn key_of(root: &Root) -> Key {
    Key::from(format!("{BELOW}key/{}", root.id).as_str())
}

/// The key of a root, in PEM; none if it was thrown away.
pub(super) fn private_key(state: &State, root: &Root) -> Option<String> {
    let record = state.record(SPACE, &key_of(root))?;
    String::from_utf8(record.bytes().to_vec()).ok()
}

/// The configuration and its revisions; what is set at the start where nobody changed it.
pub(super) fn config(server: &Server, state: &State) -> (CaConfig, u64, u64) {
    let record = state.record(SPACE, CONFIG.as_bytes());
    let read = record.and_then(|record| {
        let config = serde_json::from_slice(&record.bytes()).ok()?;
        Some((config, record.created.0, record.modified.0))
    });
    read.unwrap_or_else(|| (CaConfig::first(&server.info.connect), 1, 1))
}

/// Puts another configuration in place.
pub(super) async fn put_config(
    server: &Server,
    request: &Request,
    config: &CaConfig,
) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(config).map_err(|error| Failure::server(error.to_string()))?;
    let put = Put::new(SPACE, Key::from(CONFIG), bytes.into());
    let command = Command::Write(Write::one(Op::Put(Box::new(put))));
    match server.propose(request, command).await?.outcome {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Makes another root that signs from now on. `seen` is the list it was made from; if that was changed in the meantime, nothing is done.
pub(super) async fn rotate(
    server: &Server,
    request: &Request,
    seen: Option<&Roots>,
) -> Result<(), Failure> {
    let state = server.snapshot();
    let (config, ..) = config(server, &state);
    let before = seen.and_then(Roots::active);
    let old_key = before.and_then(|root| private_key(&state, root));
    drop(state);
    let domain = match (before, &server.info.connect.cluster_id) {
        (Some(before), _) => before.trust_domain.clone(),
        (None, None) => authority::fresh_domain(),
        (None, Some(id)) => format!("{id}.consul"),
    };
    let now = server.now_ms();
    let made = authority::make_root(
        &domain,
        config.bits(),
        now,
        config.root_ttl(),
        old_key.as_deref(),
    );
    let (root, key) =
        made.map_err(|error| Failure::server(format!("making the root certificate: {error}")))?;
    let kept = 2 * u64::try_from(config.leaf_ttl().as_millis()).unwrap_or(u64::MAX);
    let mut list = vec![root];
    let mut drops: Vec<Key> = Vec::new();
    for old in seen.map_or(&[][..], |seen| &seen.list) {
        let mut old = old.clone();
        if old.rotated_out_ms == 0 {
            old.rotated_out_ms = now.max(1);
            drops.push(key_of(&old));
        }
        if now.saturating_sub(old.rotated_out_ms) <= kept {
            list.push(old);
        }
    }
    let expect = seen.map_or(Expect::Absent, |seen| {
        Expect::Modified(Revision(seen.modified))
    });
    write_roots(server, request, &list, key, expect, drops).await
}

async fn write_roots(
    server: &Server,
    request: &Request,
    list: &[Root],
    key: String,
    expect: Expect,
    drops: Vec<Key>,
) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(list).map_err(|error| Failure::server(error.to_string()))?;
    let mut roots = Put::new(SPACE, Key::from(ROOTS), bytes.into());
    roots.expect = expect;
    let mut then = vec![Op::Put(Box::new(roots))];
    if let Some(root) = list.first() {
        let put = Put::new(SPACE, key_of(root), key.into_bytes().into());
        then.push(Op::Put(Box::new(put)));
    }
    then.extend(drops.into_iter().map(|key| Op::Delete {
        space: SPACE,
        range: KeyRange::One(key),
        expect: Expect::Any,
    }));
    let command = Command::Write(Write {
        then,
        ..Write::default()
    });
    match server.propose(request, command).await?.outcome {
        // Somebody else made one at the same time: theirs counts.
        Ok(_) | Err(Refusal::Exists | Refusal::Changed(_)) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The answer of `/connect/ca/roots`.
pub(super) fn render(roots: &Roots) -> Value {
    let domain = roots.active().map_or("", |root| root.trust_domain.as_str());
    let rows: Vec<Value> = roots
        .list
        .iter()
        .enumerate()
        .map(|(at, root)| {
            let crossed = match &*root.cross_signed {
                "" => Value::Null,
                pem => json!([pem]),
            };
            let mut row = json!({
                "ID": root.id,
                "Name": "Consul CA Primary Cert",
                "SerialNumber": root.serial_number,
                "SigningKeyID": root.signing_key_id,
                "ExternalTrustDomain": domain.strip_suffix(".consul").unwrap_or(domain),
                "NotBefore": root.not_before,
                "NotAfter": root.not_after,
                "RootCert": root.root_cert,
                "IntermediateCerts": crossed,
                "Active": at == 0,
                "PrivateKeyType": "ec",
                "PrivateKeyBits": root.bits,
                "CreateIndex": roots.created,
                "ModifyIndex": roots.modified,
            });
            if root.rotated_out_ms != 0 {
                row["RotatedOutAt"] = authority::time(root.rotated_out_ms).into();
            }
            row
        })
        .collect();
    json!({
        "ActiveRootID": roots.active().map_or("", |root| &root.id),
        "TrustDomain": domain,
        "Roots": rows,
    })
}
