//! Changes as the responses of a watch, encoded once for all watchers with equal options.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, BytesMut};
use portolan_catalog::{Batch, Change, KeyRange, Keyspace, Record, Revision};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::{
    grpc,
    wire::{
        encode::{Event, nested_len},
        etcdserverpb::ResponseHeader,
    },
};

/// Selections whose events are cached at a time.
const KEPT: usize = 8;
/// Events of one revision and selection that streams share, at a time, and their bytes at most.
const SHARED: usize = 16;
const SHARED_BYTES: usize = 256 << 10;
/// Bytes of a buffer that stay allocated for the next change.
const KEPT_BYTES: usize = 4 << 10;

/// The options of a watcher, apart from its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchOptions {
    /// The start revision: events of earlier revisions are not sent.
    pub(crate) start: Revision,
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
    /// Send the previous value (`prev_kv`).
    pub(crate) previous: bool,
}

/// Batches of one feed, for all watchers of its range.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) range: KeyRange,
    pub(crate) batches: Vec<Arc<Batch>>,
    /// Previous values are omitted for events up to this revision: they may be compacted.
    pub(crate) floor: Revision,
}

/// Watchers with equal selections get equal events of the same batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Selection {
    puts: bool,
    deletes: bool,
    previous: bool,
    /// The first batch that is not below the start.
    from: usize,
}

/// The events of one selection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rendering {
    selection: Selection,
    /// The events as elements of a `WatchResponse`, one behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// The events of one [`Changes`], by selection. The buffers are reused for the next.
#[derive(Debug, Default)]
pub(crate) struct Renderings {
    /// Of these the first `used` are of now.
    kept: Vec<Arc<Rendering>>,
    used: usize,
    /// The header of all responses, as their first field.
    header: Vec<u8>,
    shared: SharedRenderings,
}

impl Renderings {
    /// Renderings of one stream, which takes single revisions from those that all streams share.
    pub(crate) fn new(shared: SharedRenderings) -> Renderings {
        Renderings {
            shared,
            ..Renderings::default()
        }
    }

    /// Begins anew, with the header that all responses have.
    pub(crate) fn begin(&mut self, header: &ResponseHeader) {
        self.used = 0;
        for rendering in &mut self.kept {
            match Arc::get_mut(rendering) {
                Some(rendering) => rendering.clear(),
                None => *rendering = Arc::default(),
            }
        }
        self.header.clear();
        prost::encoding::message::encode(1, header, &mut self.header);
    }

    /// Writes the responses for one watcher: one, several that say of themselves to be fragments of one, or nothing. A fragment is
    /// smaller than `largest` bytes unless it is of one event.
    ///
    /// Returns whether there was anything.
    pub(crate) fn respond(
        &mut self,
        out: &mut BytesMut,
        watch_id: i64,
        options: &WatchOptions,
        changes: &Changes,
        largest: Option<usize>,
    ) -> bool {
        let at = self.rendered(options, changes);
        let Rendering { bytes, ends, .. } = &*self.kept[at];
        let head = Head {
            header: &self.header,
            watch_id,
        };
        let whole = match largest {
            Some(largest) => ends.len() < 2 || head.len(false) + bytes.len() < largest,
            None => true,
        };
        if whole {
            if !ends.is_empty() {
                head.write(out, false, bytes);
            }
            return !ends.is_empty();
        }
        let (largest, mut first, mut start) = (largest.unwrap_or(usize::MAX), 0, 0);
        while first < ends.len() {
            let fits = |end: &usize| head.len(true) + end - start < largest;
            let many = ends[first..].partition_point(fits).max(1);
            let end = ends[first + many - 1];
            first += many;
            head.write(out, first < ends.len(), &bytes[start..end]);
            start = end;
        }
        true
    }

    /// The index of the rendering with the events that a watcher gets.
    fn rendered(&mut self, options: &WatchOptions, changes: &Changes) -> usize {
        let selection = Selection {
            puts: options.puts,
            deletes: options.deletes,
            previous: options.previous,
            from: changes
                .batches
                .partition_point(|batch| batch.revision < options.start),
        };
        if let Some(at) = self.kept[..self.used]
            .iter()
            .position(|rendering| rendering.selection == selection)
        {
            return at;
        }
        let at = self.used.min(KEPT - 1);
        self.used = at + 1;
        if self.kept.len() == at {
            self.kept.push(Arc::default());
        }
        let kept = &mut self.kept[at];
        if let ([batch], 0) = (&changes.batches[..], selection.from) {
            *kept = self.shared.rendering(selection, changes, batch);
        } else {
            let rendering = Arc::make_mut(kept);
            rendering.clear();
            rendering.render(selection, changes);
        }
        at
    }
}

impl Rendering {
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / 64);
    }

    fn render(&mut self, selection: Selection, changes: &Changes) {
        self.selection = selection;
        for batch in &changes.batches[selection.from..] {
            for event in events_of(selection, changes, batch) {
                event.put(&mut self.bytes);
                self.ends.push(self.bytes.len());
            }
        }
    }
}

/// The events of the latest revisions, rendered once for the watchers of all streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRenderings(Arc<Mutex<VecDeque<Shared>>>);

#[derive(Debug)]
struct Shared {
    revision: Revision,
    range: KeyRange,
    /// Whether previous values, if asked for, are there: that depends on the compaction that each stream saw.
    previous: bool,
    rendering: Arc<Rendering>,
}

impl SharedRenderings {
    /// The events of one revision, from its first watcher if another one asked before.
    fn rendering(&self, selection: Selection, changes: &Changes, batch: &Batch) -> Arc<Rendering> {
        let previous = selection.previous && batch.revision > changes.floor;
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = latest.iter().rev().find(|shared| {
            shared.revision == batch.revision
                && shared.previous == previous
                && shared.rendering.selection == selection
                && shared.range == changes.range
        });
        if let Some(known) = known {
            return known.rendering.clone();
        }
        let mut rendering = Rendering::default();
        rendering.render(selection, changes);
        let rendering = Arc::new(rendering);
        if rendering.bytes.len() <= SHARED_BYTES {
            if latest.len() == SHARED {
                latest.pop_front();
            }
            latest.push_back(Shared {
                revision: batch.revision,
                range: changes.range.clone(),
                previous,
                rendering: rendering.clone(),
            });
        }
        rendering
    }
}

/// The events of one revision, in the order in which they happened.
fn events_of<'a>(
    selection: Selection,
    changes: &'a Changes,
    batch: &'a Batch,
) -> impl Iterator<Item = Event<'a>> {
    // etcd reads the previous value at the revision before, which may be compacted.
    let previous = selection.previous && batch.revision > changes.floor;
    batch
        .changes
        .iter()
        .enumerate()
        .filter_map(move |(at, change)| {
            let Change::Record {
                space: Keyspace::Etcd,
                key,
                before,
                after,
            } = change
            else {
                return None;
            };
            let selected = if after.is_some() {
                selection.puts
            } else {
                selection.deletes
            };
            (selected && changes.range.contains(key)).then(|| Event {
                key,
                now: after.as_deref(),
                before: previous
                    .then(|| previous_value(batch, at, before, after))
                    .flatten(),
                revision: batch.revision,
            })
        })
}

/// The previous value that etcd sends with an event: the record at the revision before, and none with a put that creates its key, even
/// when an earlier operation of the same transaction deleted it.
fn previous_value<'a>(
    batch: &'a Batch,
    at: usize,
    before: &'a Option<Arc<Record>>,
    after: &Option<Arc<Record>>,
) -> Option<&'a Record> {
    let creates = after
        .as_ref()
        .is_some_and(|record| record.created == record.modified);
    let before = before.as_deref().filter(|_| !creates)?;
    if before.modified < batch.revision {
        return Some(before);
    }
    // Written by this very transaction: what its first change of the key replaced.
    let Change::Record { key, .. } = &batch.changes[at] else {
        return None;
    };
    batch.changes[..at]
        .iter()
        .find_map(|change| match change {
            Change::Record {
                space: Keyspace::Etcd,
                key: other,
                before,
                ..
            } if other == key => Some(before.as_deref()),
            _ => None,
        })
        .flatten()
}

/// The fields of a `WatchResponse` before its events, which are the last.
struct Head<'a> {
    header: &'a [u8],
    watch_id: i64,
}

impl Head<'_> {
    fn len(&self, fragment: bool) -> usize {
        let id = match self.watch_id {
            0 => 0,
            id => 1 + encoded_len_varint(id as u64),
        };
        self.header.len() + id + 2 * usize::from(fragment)
    }

    fn write(&self, out: &mut BytesMut, fragment: bool, events: &[u8]) {
        grpc::frame_into(out, self.len(fragment) + events.len(), |out| {
            out.put_slice(self.header);
            if self.watch_id != 0 {
                out.put_u8(2 << 3);
                encode_varint(self.watch_id as u64, out);
            }
            if fragment {
                out.put_slice(&[7 << 3, 1]);
            }
            out.put_slice(events);
        });
    }
}

/// Bytes that events of a change take at most, without what protobuf adds.
pub(crate) fn size(change: &Change) -> usize {
    match change {
        Change::Record {
            key, before, after, ..
        } => {
            let values = [before, after].into_iter().flatten();
            nested_len(key.len())
                + values
                    .filter_map(|record| record.value.as_ref())
                    .map(|value| value.len())
                    .sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use portolan_catalog::{Cause, Extension, Key, LeaseId, Protocol, Recognised, Timestamp};
    use prost::Message;

    use super::*;
    use crate::wire::etcdserverpb::WatchResponse;

    fn record(value: &'static str, revision: u64) -> Arc<Record> {
        Arc::new(Record {
            value: Some(value.into()),
            version: 1,
            flags: 0,
            lease: Some(LeaseId::Etcd(7)),
            lock: None,
            recognised: Recognised::None,
            derived_from: None,
            extension: Extension::None,
            created: Revision(2),
            modified: Revision(revision),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
        })
    }

    fn batch(revision: u64, changes: Vec<Change>) -> Arc<Batch> {
        Arc::new(Batch {
            revision: Revision(revision),
            at: Timestamp(0),
            cause: Arc::new(Cause::call(Protocol::Etcd, None)),
            changes: changes.into(),
            services: Box::default(),
        })
    }

    fn change(key: &str, before: Option<Arc<Record>>, after: Option<Arc<Record>>) -> Change {
        Change::Record {
            space: Keyspace::Etcd,
            key: Key::from(key.as_bytes()),
            before,
            after,
        }
    }

    fn changes() -> Changes {
        let (a, b) = (record("one", 3), record("two", 4));
        Changes {
            range: KeyRange::prefix(b"k"),
            batches: vec![
                batch(
                    3,
                    vec![
                        change("k1", None, Some(a.clone())),
                        change("x", None, Some(a.clone())),
                    ],
                ),
                batch(4, vec![change("k1", Some(a), Some(b.clone()))]),
                batch(5, vec![change("k1", Some(b), None)]),
            ],
            floor: Revision(4),
        }
    }

    fn responses(out: &mut BytesMut) -> Vec<WatchResponse> {
        let mut responses = Vec::new();
        while out.has_remaining() {
            assert_eq!(out.get_u8(), 0);
            let length = out.get_u32() as usize;
            let bytes = out.split_to(length);
            let response = WatchResponse::decode(&bytes[..]).unwrap();
            assert_eq!(response.encode_to_vec(), bytes);
            responses.push(response);
        }
        responses
    }

    fn text(response: &WatchResponse) -> String {
        let events = response.events.iter().map(|event| {
            let kv = event.kv.as_ref().unwrap();
            let previous = event.prev_kv.as_ref().map_or("", |_| "<");
            format!(
                "{}{}@{}{previous}",
                event.r#type,
                kv.key.len(),
                kv.mod_revision
            )
        });
        events.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn watchers_of_one_feed_are_each_told_what_they_want() {
        let header = ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 2,
            revision: 9,
            raft_term: 1,
        };
        let all = WatchOptions {
            start: Revision(1),
            puts: true,
            deletes: true,
            previous: false,
        };
        let rows = [
            (0, all, "02@3 02@4 12@5"),
            (1, all, "02@3 02@4 12@5"),
            (
                -7,
                WatchOptions {
                    previous: true,
                    ..all
                },
                "02@3 02@4 12@5<",
            ),
            (3, WatchOptions { puts: false, ..all }, "12@5"),
            (
                4,
                WatchOptions {
                    deletes: false,
                    ..all
                },
                "02@3 02@4",
            ),
            (
                5,
                WatchOptions {
                    start: Revision(5),
                    ..all
                },
                "12@5",
            ),
            (
                6,
                WatchOptions {
                    start: Revision(6),
                    ..all
                },
                "",
            ),
            (300, all, "02@3 02@4 12@5"),
        ];
        let mut renderings = Renderings::default();
        let changes = changes();
        for _ in 0..2 {
            renderings.begin(&header);
            for (id, options, expected) in &rows {
                let mut out = BytesMut::new();
                let any = renderings.respond(&mut out, *id, options, &changes, None);
                assert_eq!(any, !expected.is_empty(), "{options:?}");
                for response in responses(&mut out) {
                    assert_eq!(
                        (
                            response.watch_id,
                            &response.header,
                            text(&response).as_str()
                        ),
                        (*id, &Some(header), *expected),
                    );
                }
            }
        }
    }

    #[test]
    fn fragments_are_of_whole_events_and_all_but_the_last_say_so() {
        let options = WatchOptions {
            start: Revision(1),
            puts: true,
            deletes: true,
            previous: true,
        };
        let mut renderings = Renderings::default();
        for (largest, expected) in [(1000, 1), (75, 2), (1, 3)] {
            renderings.begin(&ResponseHeader::default());
            let mut out = BytesMut::new();
            renderings.respond(&mut out, 5, &options, &changes(), Some(largest));
            let parts = responses(&mut out);
            assert_eq!(parts.len(), expected, "{parts:?}");
            assert_eq!(parts.iter().map(|part| part.events.len()).sum::<usize>(), 3);
            for (n, part) in parts.iter().enumerate() {
                assert_eq!(part.fragment, n + 1 < parts.len());
                assert!(part.events.len() == 1 || part.encoded_len() < largest);
            }
        }
    }
}
