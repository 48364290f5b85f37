//! Changes as the responses of a watch.

use bytes::BytesMut;
use portolan_catalog::{Batch, Change, KeyRange, Keyspace, Revision};
use prost::Message;

use crate::{
    grpc,
    wire::{
        encode::{Event, nested_len},
        etcdserverpb::{ResponseHeader, WatchResponse},
    },
};

/// What a watcher wants to be told of.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) range: KeyRange,
    /// Events below are not told.
    pub(crate) start: Revision,
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
    /// With the record before.
    pub(crate) previous: bool,
}

/// The events of one revision that a watcher wants, in the order in which they happened.
pub(crate) fn events_of<'a>(
    watcher: &'a Wanted,
    batch: &'a Batch,
    floor: Revision,
) -> impl Iterator<Item = Event<'a>> {
    // etcd reads the previous value at the revision before, which may be compacted.
    let previous = watcher.previous && batch.revision.0 > floor.0;
    let seen = batch.revision >= watcher.start;
    batch
        .changes
        .iter()
        .filter(move |_| seen)
        .filter_map(move |change| {
            let Change::Record {
                space: Keyspace::Etcd,
                key,
                before,
                after,
            } = change
            else {
                return None;
            };
            let wanted = if after.is_some() {
                watcher.puts
            } else {
                watcher.deletes
            };
            (wanted && watcher.range.contains(key)).then(|| Event {
                key,
                now: after.as_deref(),
                before: before.as_deref().filter(|_| previous),
                revision: batch.revision,
            })
        })
}

/// Writes one response, or several that say of themselves to be fragments of one: none of `largest` bytes unless it is of one event.
pub(crate) fn respond(
    out: &mut BytesMut,
    header: &ResponseHeader,
    watch_id: i64,
    events: &[Event<'_>],
    largest: Option<usize>,
) {
    let mut rest = events;
    while !rest.is_empty() {
        let mut many = rest.len();
        if let Some(largest) = largest
            && rest.len() > 1
            && length(header, watch_id, true, rest) >= largest
        {
            let mut bytes = length(header, watch_id, true, &[]);
            let fits = |event: &&Event<'_>| {
                bytes += nested_len(event.len());
                bytes < largest
            };
            many = rest.iter().take_while(fits).count().max(1);
        }
        let (events, later) = rest.split_at(many);
        write(out, header, watch_id, !later.is_empty(), events);
        rest = later;
    }
}

fn start_of(header: &ResponseHeader, watch_id: i64, fragment: bool) -> WatchResponse {
    WatchResponse {
        header: Some(*header),
        watch_id,
        fragment,
        ..Default::default()
    }
}

fn length(header: &ResponseHeader, watch_id: i64, fragment: bool, events: &[Event<'_>]) -> usize {
    start_of(header, watch_id, fragment).encoded_len()
        + events
            .iter()
            .map(|event| nested_len(event.len()))
            .sum::<usize>()
}

fn write(
    out: &mut BytesMut,
    header: &ResponseHeader,
    watch_id: i64,
    fragment: bool,
    events: &[Event<'_>],
) {
    grpc::frame_into(out, length(header, watch_id, fragment, events), |out| {
        // The events are the message's last field.
        start_of(header, watch_id, fragment).encode_raw(out);
        events.iter().for_each(|event| event.put(out));
    });
}
