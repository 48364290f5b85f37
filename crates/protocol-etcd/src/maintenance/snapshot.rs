//! The Snapshot method: the keys, leases, users and roles of this moment as the database of an etcd, which `etcdutl snapshot restore` makes a
//! member of.
//!
//! What is in it: each key with its value, lease, version, and the revisions at which it was made and changed; each lease with its time; users with their passwords' hashes, roles, and whether authentication is on.
//! Alarms stay behind: they are of members, and the new ones are others. The store stands at the revision of this moment, compacted there: earlier revisions are not carried over. Instances that
//! layouts show as keys are keys in it like any other. The form is that of etcd 3.5, from which every later one goes on by itself.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Key, Keyspace, LeaseId, Record, Revision, State};
use portolan_listener::{Action, Resource, Response};
use prost::Message;
use sha2::{Digest, Sha256};

use super::bolt::{Bucket, Cursor, File, Pairs, Rows};
use crate::{
    app::{App, allow, unexpected},
    asker::Asker,
    auth::rows,
    cluster,
    error::{Failure, STOPPED},
    grpc::{self, Messages},
    wire::{
        authpb::{Role, User, UserAddOptions},
        encode::Row,
        etcdserverpb::{SnapshotRequest, SnapshotResponse},
    },
};

/// Bytes of one piece.
const PIECE: usize = 32 << 10;

pub(crate) async fn snapshot(app: Arc<App>, caller: Asker, mut messages: Messages) -> Response {
    let begun = async {
        allow(&caller, Action::Admin, Resource::Operator)?;
        app.who(&caller)?.manages()?;
        let SnapshotRequest {} = messages.only().await?;
        let state = app.state(false).await?;
        let term = app.header(Revision(0)).raft_term;
        let planned =
            portolan_environment::blocking(move || File::plan(buckets(&state, term), term));
        planned.await.map_err(|_| unexpected("snapshot"))
    };
    match begun.await {
        Ok(file) => {
            let pieces = Pieces {
                remaining: file.len(),
                file,
                cursor: Cursor::default(),
                ready: Bytes::new(),
                digest: Some(Sha256::new()),
                version: cluster::storage_version(&app.settings.version),
                caller,
            };
            grpc::streaming(Box::new(pieces), |mut pieces| async move {
                let piece = pieces.next()?;
                Some((piece, pieces))
            })
        }
        Err(failure) => grpc::unary(Err::<_, Failure>(failure)),
    }
}

/// A file on its way to the client, made as fast as it is read.
struct Pieces {
    file: File,
    cursor: Cursor,
    /// Pages that are made and not sent.
    ready: Bytes,
    remaining: u64,
    /// None when it is sent, which is the end.
    digest: Option<Sha256>,
    version: String,
    caller: Asker,
}

impl Pieces {
    fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if self.caller.context().is_draining() {
            return Some(Err(STOPPED));
        }
        if self.ready.is_empty() {
            let mut pages = Vec::with_capacity(PIECE);
            while pages.len() < PIECE {
                match self.file.next(&mut self.cursor) {
                    Some(page) => pages.extend_from_slice(&page),
                    None => break,
                }
            }
            self.ready = pages.into();
        }
        let blob = match self.ready.len() {
            // The digest of everything is the end.
            0 => Bytes::copy_from_slice(&self.digest.take()?.finalize()),
            length => {
                let piece = self.ready.split_to(length.min(PIECE));
                self.digest.as_mut()?.update(&piece);
                self.remaining = self.remaining.saturating_sub(piece.len() as u64);
                piece
            }
        };
        Some(Ok(grpc::frame(&SnapshotResponse {
            header: None,
            remaining_bytes: self.remaining,
            blob,
            version: self.version.clone(),
        })))
    }
}

/// etcd's buckets.
fn buckets(state: &State, term: u64) -> Vec<Bucket> {
    let number = |number: u64| number.to_be_bytes().to_vec();
    let row = |name: &str, value: Vec<u8>| (name.as_bytes().to_vec(), value);
    let compacted = revision_bytes(state.revision(), 0);
    let mut meta = vec![
        row(
            "confState",
            br#"{"voters":[1],"auto_leave":false}"#.to_vec(),
        ),
        row("consistent_index", number(state.revision().0)),
        row("finishedCompactRev", compacted.clone()),
        row("scheduledCompactRev", compacted),
        row("term", number(term)),
    ];
    meta.sort();
    let mut leases: Pairs = state
        .leases()
        .filter_map(|lease| lease_row(lease))
        .collect();
    leases.sort();
    let head = rows::head(state);
    let auth = vec![
        row("authEnabled", vec![u8::from(head.enabled)]),
        row("authRevision", number(head.revision)),
    ];
    let none = Vec::new;
    let given: [(&'static str, Pairs); 9] = [
        ("alarm", none()),
        ("auth", auth),
        ("authRoles", roles(state)),
        ("authUsers", users(state)),
        ("cluster", none()),
        ("lease", leases),
        ("members", none()),
        ("members_removed", none()),
        ("meta", meta),
    ];
    let mut buckets: Vec<Bucket> = given
        .into_iter()
        .map(|(name, rows)| (name, Box::new(rows) as Box<dyn Rows + Send + Sync>))
        .collect();
    buckets.push(("key", Box::new(Keys::of(state))));
    buckets
}

/// Users with the hashes of their passwords, by name.
fn users(state: &State) -> Pairs {
    let row = |(name, user): (String, rows::User)| {
        let user = User {
            name: Bytes::copy_from_slice(name.as_bytes()),
            password: user.password.into(),
            roles: user.roles,
            options: Some(UserAddOptions {
                no_password: user.no_password,
            }),
        };
        (name.into_bytes(), user.encode_to_vec())
    };
    rows::users(state).into_iter().map(row).collect()
}

/// Roles with their permissions, by name.
fn roles(state: &State) -> Pairs {
    let row = |(name, role): (String, rows::Role)| {
        let role = Role {
            name: Bytes::copy_from_slice(name.as_bytes()),
            key_permission: role.permissions.into_iter().map(Into::into).collect(),
        };
        (name.into_bytes(), role.encode_to_vec())
    };
    rows::roles(state).into_iter().map(row).collect()
}

/// A lease by its id. The fields are `ID` and `TTL` of etcd's own message.
fn lease_row(lease: &portolan_catalog::Lease) -> Option<(Vec<u8>, Vec<u8>)> {
    let LeaseId::Etcd(id) = lease.id else {
        return None;
    };
    let mut value = Vec::with_capacity(22);
    for (field, number) in [(1, id as u64), (2, lease.terms.ttl_ms() / 1000)] {
        prost::encoding::uint64::encode(field, &number, &mut value);
    }
    Some((id.to_be_bytes().to_vec(), value))
}

/// A revision and the place of a change in it, as etcd spells it in keys.
fn revision_bytes(revision: Revision, place: u64) -> Vec<u8> {
    let mut bytes = revision.0.to_be_bytes().to_vec();
    bytes.push(b'_');
    bytes.extend_from_slice(&place.to_be_bytes());
    bytes
}

/// The records of a state, by the revision at which they changed last.
struct Keys {
    rows: Vec<(Revision, u64, Key, Arc<Record>)>,
}

impl Keys {
    fn of(state: &State) -> Keys {
        let everything = portolan_catalog::KeyRange::prefix(b"");
        let mut rows: Vec<_> = state
            .range(Keyspace::Etcd, &everything)
            .map(|(key, record)| (record.modified, 0, key.clone(), record.clone()))
            .collect();
        // Of one revision in the order of keys.
        rows.sort_by_key(|(modified, ..)| *modified);
        let mut last = (Revision(0), 0);
        for (modified, place, ..) in &mut rows {
            last = match *modified == last.0 {
                true => (last.0, last.1 + 1),
                false => (*modified, 0),
            };
            *place = last.1;
        }
        Keys { rows }
    }

    fn row(&self, row: usize) -> Row<'_> {
        let (_, _, key, record) = &self.rows[row];
        Row::whole(key, record)
    }
}

impl Rows for Keys {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn key(&self, row: usize) -> Vec<u8> {
        let (modified, place, ..) = &self.rows[row];
        revision_bytes(*modified, *place)
    }

    fn value_len(&self, row: usize) -> usize {
        self.row(row).len()
    }

    fn value(&self, row: usize, out: &mut Vec<u8>) {
        self.row(row).put(out);
    }
}
