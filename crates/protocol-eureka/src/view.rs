//! Encoded answers: one application, and the whole registry as `/apps` answers it, encoded once per shape and reused until something shown changes.
//!
//! The list is kept in groups of neighbouring services, cut where the hash of a service's name says so: a change
//! re-encodes its group alone, and the rest stays where it is: an answer is a [`Rope`] of the groups' bytes. gzip works by groups too: each is a run of deflate blocks that
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
use crate::rope::Rope;
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
    rope: Arc<Rope>,
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
    pub(crate) async fn get(&self, state: Arc<State>, shape: Shape, gzip: bool) -> Arc<Rope> {
        let cell = &self.cells[usize::from(slot_of(shape, gzip))];
        let wanted = mark(&state);
        let ready = || {
            let encoded = cell.ready.load();
            encoded
                .as_ref()
                .filter(|e| e.mark >= wanted)
                .map(|e| e.rope.clone())
        };
        if let Some(rope) = ready() {
            return rope;
        }
        let mut held = cell.groups.lock().await;
        if let Some(rope) = ready() {
            return rope;
        }
        let old = std::mem::take(&mut *held);
        let work = move || encode(&state, shape, gzip, &old);
        let (rope, groups) = match portolan_environment::blocking(work).await {
            Ok(made) => made,
            // The runtime is going down; nobody waits for the answer.
            Err(_) => return Arc::default(),
        };
        *held = groups;
        cell.ready.store(Some(Arc::new(Encoded {
            mark: wanted,
            rope: rope.clone(),
        })));
        rope
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
    bytes: Bytes,
    crc: Crc,
}

impl Piece {
    fn new(plain: Vec<u8>, gzip: bool) -> Piece {
        let mut crc = Crc::new();
        if !gzip {
            let bytes = plain.into();
            return Piece { bytes, crc };
        }
        crc.update(&plain);
        Piece {
            bytes: deflate(&plain).into(),
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

fn encode(state: &State, shape: Shape, gzip: bool, old: &Groups) -> (Arc<Rope>, Groups) {
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
    let rope = Arc::new(join(shape, gzip, &groups));
    let keyed = groups.into_iter().filter_map(|group| {
        let first = group.members.first()?.0.clone();
        Some((first, group))
    });
    (rope, keyed.collect())
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
fn join(shape: Shape, gzip: bool, groups: &[Arc<Group>]) -> Rope {
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

    let mut pieces = Vec::with_capacity(2 * groups.len() + 4);
    let mut crc = Crc::new();
    let mut add = |piece: &Piece| {
        pieces.push(piece.bytes.clone());
        crc.combine(&piece.crc);
    };
    if gzip {
        // Deflate, no name, no time, unknown system.
        add(&Piece {
            bytes: Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]),
            crc: Crc::new(),
        });
    }
    add(&head);
    for (at, group) in groups.iter().filter(|g| !g.empty).enumerate() {
        if at > 0 && shape.format == Format::Json {
            add(&comma);
        }
        add(&group.piece);
    }
    add(&tail);
    if gzip {
        // An empty last block, the checksum, the length.
        let (sum, amount) = (crc.sum().to_le_bytes(), crc.amount().to_le_bytes());
        pieces.push(Bytes::from([&[3, 0][..], &sum, &amount].concat()));
    }
    Rope::new(pieces)
}

#[cfg(test)]
mod tests {
    use portolan_catalog::{
        Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration,
    };
    use portolan_registry::LocalOptions;

    use super::*;

    async fn register(registry: &Registry, service: usize, port: u16) {
        let facts = Registration::new(
            InstanceKey::new(Protocol::Native, format!("{service}-{port}")),
            ServiceKey::plain(&format!("service-{service}")),
            Endpoint::new(Host::new("10.0.0.1"), port),
        );
        let command = Command::Register(Box::new(Register::new(facts)));
        let cause = Cause::call(Protocol::Native, None);
        registry
            .propose(cause, command)
            .await
            .unwrap()
            .outcome
            .unwrap();
    }

    #[tokio::test]
    async fn a_change_renders_its_group_and_copies_nothing() {
        let registry = Registry::local(&LocalOptions::default());
        for service in 0..500 {
            register(&registry, service, 80).await;
        }
        let whole = Whole::default();
        for (shape, gzip) in [(Shape::ALL[0], false), (Shape::ALL[0], true)] {
            let before = whole.get(registry.snapshot(), shape, gzip).await;
            let again = whole.get(registry.snapshot(), shape, gzip).await;
            assert!(Arc::ptr_eq(&before, &again));
            register(&registry, 250, if gzip { 82 } else { 81 }).await;
            let after = whole.get(registry.snapshot(), shape, gzip).await;
            let known: Vec<_> = before.pieces().iter().map(|piece| piece.as_ptr()).collect();
            let fresh = after
                .pieces()
                .iter()
                .filter(|piece| piece.len() > 32 && !known.contains(&piece.as_ptr()));
            let groups = after
                .pieces()
                .iter()
                .filter(|piece| piece.len() > 100)
                .count();
            assert!(groups > 10, "{groups}");
            // The group, the head and the tail with the hash code.
            assert!(fresh.count() <= 3);
            // Made from nothing it is the same.
            let anew = Whole::default().get(registry.snapshot(), shape, gzip).await;
            assert_eq!(
                anew.body().bytes().await.unwrap(),
                after.body().bytes().await.unwrap()
            );
        }
    }
}
