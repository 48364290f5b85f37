//! Encoded answers: one application, and the whole registry as `/apps` answers it, encoded once per shape and reused until something shown changes.
//!
//! The list is kept in groups of neighbouring services, cut where the hash of a service's name says so: a change
//! re-encodes its group alone, and the rest is copied. gzip works by groups too: each is a run of deflate blocks that
//! refers to nothing before it, so runs join into one gzip member, and their checksums combine.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use portolan_catalog::{Revision, ServiceKey, State};
use portolan_registry::{Registry, Slot};
use tokio::sync::Mutex;

use crate::read;
use crate::translate;
use crate::wire::encode::{append_head, append_items, append_tail};
use crate::wire::{self, Application, Counts, Format, Shape};

/// One group in this many services begins anew.
const GROUP: u64 = 16;

/// The answer to `/apps/{APP}`: encoded when first asked for, reused until something about the service changes.
/// Empty when the application shows no instance.
pub(crate) fn application(registry: &Registry, app: &str, shape: Shape, gzip: bool) -> Bytes {
    let view = registry.view(&translate::service_of(app));
    let slot = Slot::eureka(slot_of(shape, gzip));
    let render = || {
        let state = registry.snapshot();
        let rows = view
            .endpoints
            .iter()
            .flat_map(|row| read::shown(&state, app, row));
        let instances: Vec<_> = rows.map(|row| row.render(&state, app)).collect();
        if instances.is_empty() {
            return Bytes::new();
        }
        let name = app.to_owned();
        let plain = wire::encode_application(shape, &Application { name, instances });
        if gzip {
            portolan_listener::gzip(&plain)
        } else {
            plain.into()
        }
    };
    view.form(slot, render).clone()
}

/// The place of an encoding among eight.
pub(crate) const fn slot_of(shape: Shape, gzip: bool) -> u8 {
    shape.index() as u8 * 2 + gzip as u8
}

/// Every encoding of the whole registry, each made when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    cells: [Cell; 8],
}

#[derive(Debug, Default)]
struct Cell {
    ready: ArcSwapOption<Encoded>,
    /// Held while encoding, so that many readers after one change encode once.
    groups: Mutex<Groups>,
}

#[derive(Debug)]
struct Encoded {
    mark: Revision,
    bytes: Bytes,
}

type Groups = HashMap<ServiceKey, Arc<Group>>;

/// The last revision at which anything `/apps` shows may have changed.
pub(crate) fn mark(state: &State) -> Revision {
    let marks = state.marks();
    marks
        .instances
        .max(marks.services)
        .max(marks.nodes)
        .max(marks.checks)
}

impl Whole {
    /// The answer to `/apps`, at least as new as `state`. Without a change since the last call: a pointer load.
    pub(crate) async fn get(&self, state: Arc<State>, shape: Shape, gzip: bool) -> Bytes {
        let cell = &self.cells[usize::from(slot_of(shape, gzip))];
        let wanted = mark(&state);
        let ready = || {
            let encoded = cell.ready.load();
            encoded
                .as_ref()
                .filter(|e| e.mark >= wanted)
                .map(|e| e.bytes.clone())
        };
        if let Some(bytes) = ready() {
            return bytes;
        }
        let mut held = cell.groups.lock().await;
        if let Some(bytes) = ready() {
            return bytes;
        }
        let old = std::mem::take(&mut *held);
        let work = move || encode(&state, shape, gzip, &old);
        let (bytes, groups) = match tokio::task::spawn_blocking(work).await {
            Ok(made) => made,
            // The runtime is going down; nobody waits for the answer.
            Err(_) => return Bytes::new(),
        };
        *held = groups;
        cell.ready.store(Some(Arc::new(Encoded {
            mark: wanted,
            bytes: bytes.clone(),
        })));
        bytes
    }
}

/// Some neighbouring services in one encoding.
#[derive(Debug)]
struct Group {
    members: Vec<(ServiceKey, Revision)>,
    counts: Counts,
    piece: Piece,
    /// None of its services shows an instance.
    empty: bool,
}

/// Bytes of an answer, plain or deflated.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    crc: Crc,
}

impl Piece {
    fn new(plain: Vec<u8>, gzip: bool) -> Piece {
        let mut crc = Crc::new();
        if !gzip {
            return Piece { bytes: plain, crc };
        }
        crc.update(&plain);
        Piece {
            bytes: deflate(&plain),
            crc,
        }
    }
}

/// Deflate blocks that end on a byte and refer to nothing before them.
fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(plain.len() / 6 + 64);
    loop {
        let at = compress.total_in() as usize;
        // Compressing into memory with room left cannot fail; without room it asks for more.
        let _ = compress.compress_vec(&plain[at..], &mut out, FlushCompress::Full);
        if compress.total_in() as usize == plain.len() && out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.capacity());
    }
}

fn encode(state: &State, shape: Shape, gzip: bool, old: &Groups) -> (Bytes, Groups) {
    let mut groups: Vec<Arc<Group>> = Vec::new();
    let mut members = Vec::new();
    let mut finish = |members: &mut Vec<(ServiceKey, Revision)>| {
        let members = std::mem::take(members);
        let Some((first, _)) = members.first() else {
            return;
        };
        let same = old.get(first).filter(|group| group.members == members);
        groups.push(match same {
            Some(group) => group.clone(),
            None => Arc::new(encode_group(state, shape, gzip, members)),
        });
    };
    for service in state.services() {
        if read::digest(service.key.name()).is_multiple_of(GROUP) {
            finish(&mut members);
        }
        let changed = state.service_marks(&service.key).changed;
        members.push((service.key.clone(), changed));
    }
    finish(&mut members);
    let bytes = join(shape, gzip, &groups);
    let keyed = groups.into_iter().filter_map(|group| {
        let first = group.members.first()?.0.clone();
        Some((first, group))
    });
    (bytes, keyed.collect())
}

fn encode_group(
    state: &State,
    shape: Shape,
    gzip: bool,
    members: Vec<(ServiceKey, Revision)>,
) -> Group {
    let mut applications = Vec::new();
    let mut counts = Counts::default();
    for (service, _) in &members {
        let app = translate::app_of(service);
        let rows = read::rows_of(state, &app, service);
        if rows.is_empty() {
            continue;
        }
        let application = Application {
            instances: rows.iter().map(|row| row.render(state, &app)).collect(),
            name: app,
        };
        for it in &application.instances {
            counts.add(it.status);
        }
        applications.push(application);
    }
    let mut out = Vec::new();
    append_items(&mut out, shape, &applications);
    Group {
        members,
        counts,
        piece: Piece::new(out, gzip),
        empty: applications.is_empty(),
    }
}

/// The whole answer: head, groups with what stands between them, tail.
fn join(shape: Shape, gzip: bool, groups: &[Arc<Group>]) -> Bytes {
    let mut counts = Counts::default();
    for group in groups {
        counts.merge(&group.counts);
    }
    let hashcode = counts.hashcode();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    append_head(&mut head, shape, "1", &hashcode);
    append_tail(&mut tail, shape, "1", &hashcode);
    let (head, tail) = (Piece::new(head, gzip), Piece::new(tail, gzip));
    let comma = match shape.format {
        Format::Json => b",".to_vec(),
        Format::Xml => Vec::new(),
    };
    let comma = Piece::new(comma, gzip);

    let mut pieces = vec![&head];
    for (at, group) in groups.iter().filter(|g| !g.empty).enumerate() {
        if at > 0 && shape.format == Format::Json {
            pieces.push(&comma);
        }
        pieces.push(&group.piece);
    }
    pieces.push(&tail);

    let length: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let mut out = Vec::with_capacity(length + 32);
    let mut crc = Crc::new();
    if gzip {
        // Deflate, no name, no time, unknown system.
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    }
    for piece in pieces {
        out.extend_from_slice(&piece.bytes);
        crc.combine(&piece.crc);
    }
    if gzip {
        // An empty last block, the checksum, the length.
        out.extend_from_slice(&[3, 0]);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
    }
    out.into()
}
