//! Records straight into etcd's messages, without a message object in between: the hot path of ranges and watches.
//!
//! The field numbers are those of `proto/kv.proto` and `proto/rpc.proto`; a test decodes what is encoded here with the generated types.

use bytes::BufMut;
use portolan_catalog::{LeaseId, Record, Revision};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::etcdserverpb::ResponseHeader;

/// A record as a `KeyValue`.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) record: &'a Record,
    /// `keys_only`: the value stays away.
    pub(crate) value: bool,
    /// etcd leaves the lease away where it answers from its index alone.
    pub(crate) lease: bool,
}

/// The etcd lease of a record, 0 for none.
pub(crate) fn lease_of(record: &Record) -> i64 {
    match &record.lease {
        Some(LeaseId::Etcd(id)) => *id,
        _ => 0,
    }
}

impl<'a> Row<'a> {
    /// The whole record.
    pub(crate) fn whole(key: &'a [u8], record: &'a Record) -> Row<'a> {
        Row {
            key,
            record,
            value: true,
            lease: true,
        }
    }

    fn value(&self) -> &'a [u8] {
        if self.value {
            self.record.value.as_deref().unwrap_or_default()
        } else {
            &[]
        }
    }

    fn lease(&self) -> u64 {
        if self.lease {
            lease_of(self.record) as u64
        } else {
            0
        }
    }

    pub(crate) fn len(&self) -> usize {
        bytes_len(self.key)
            + number_len(self.record.created.0)
            + number_len(self.record.modified.0)
            + number_len(self.record.version)
            + bytes_len(self.value())
            + number_len(self.lease())
    }

    pub(crate) fn put(&self, out: &mut impl BufMut) {
        put_bytes(1, self.key, out);
        put_number(2, self.record.created.0, out);
        put_number(3, self.record.modified.0, out);
        put_number(4, self.record.version, out);
        put_bytes(5, self.value(), out);
        put_number(6, self.lease(), out);
    }
}

/// A `RangeResponse`.
pub(crate) struct Ranged<'a, R> {
    pub(crate) header: Option<&'a ResponseHeader>,
    /// Cloned to be walked twice: once for the length, once for the bytes.
    pub(crate) rows: R,
    pub(crate) more: bool,
    pub(crate) count: u64,
}

impl<'a, R: Iterator<Item = Row<'a>> + Clone> Ranged<'_, R> {
    pub(crate) fn len(&self) -> usize {
        let rows: usize = self.rows.clone().map(|row| nested_len(row.len())).sum();
        self.header
            .map_or(0, |header| nested_len(prost::Message::encoded_len(header)))
            + rows
            + 2 * usize::from(self.more)
            + number_len(self.count)
    }

    pub(crate) fn put(&self, out: &mut impl BufMut) {
        if let Some(header) = self.header {
            prost::encoding::message::encode(1, header, out);
        }
        for row in self.rows.clone() {
            put_nested(2, row.len(), out);
            row.put(out);
        }
        put_number(3, u64::from(self.more), out);
        put_number(4, self.count, out);
    }
}

/// One event of a watch.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) key: &'a [u8],
    /// The record now; `None` for a delete.
    pub(crate) now: Option<&'a Record>,
    /// The record before, if it is to be told.
    pub(crate) before: Option<&'a Record>,
    pub(crate) revision: Revision,
}

impl Event<'_> {
    fn kv_len(&self) -> usize {
        match self.now {
            Some(record) => Row::whole(self.key, record).len(),
            None => bytes_len(self.key) + number_len(self.revision.0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        let before = self
            .before
            .map_or(0, |record| nested_len(Row::whole(self.key, record).len()));
        2 * usize::from(self.now.is_none()) + nested_len(self.kv_len()) + before
    }

    /// The event as an element of a `WatchResponse`.
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        put_nested(11, self.len(), out);
        put_number(1, u64::from(self.now.is_none()), out);
        put_nested(2, self.kv_len(), out);
        match self.now {
            Some(record) => Row::whole(self.key, record).put(out),
            None => {
                put_bytes(1, self.key, out);
                put_number(3, self.revision.0, out);
            }
        }
        if let Some(record) = self.before {
            let row = Row::whole(self.key, record);
            put_nested(3, row.len(), out);
            row.put(out);
        }
    }
}

/// Bytes that an element of `len` bytes takes inside a message, for field numbers up to 15.
pub(crate) fn nested_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

pub(crate) fn put_nested(field: u32, len: usize, out: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        nested_len(bytes.len())
    }
}

fn put_bytes(field: u32, bytes: &[u8], out: &mut impl BufMut) {
    if !bytes.is_empty() {
        put_nested(field, bytes.len(), out);
        out.put_slice(bytes);
    }
}

fn number_len(number: u64) -> usize {
    if number == 0 {
        0
    } else {
        1 + encoded_len_varint(number)
    }
}

fn put_number(field: u32, number: u64, out: &mut impl BufMut) {
    if number != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    }
}

#[cfg(test)]
mod tests {
    use portolan_catalog::{Extension, Timestamp};
    use prost::Message;

    use super::*;
    use crate::wire::{etcdserverpb::*, mvccpb};

    fn record(value: &'static [u8], lease: i64) -> Record {
        Record {
            value: Some(value.into()),
            version: 3,
            flags: 0,
            lease: (lease != 0).then_some(LeaseId::Etcd(lease)),
            lock: None,
            recognised: portolan_catalog::Recognised::None,
            derived_from: None,
            extension: Extension::None,
            created: Revision(200),
            modified: Revision(70_000),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
        }
    }

    #[test]
    fn what_is_encoded_here_is_what_the_generated_types_read() {
        let (short, long) = (record(b"", -7), record(&[b'x'; 300], 0));
        let header = ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 1,
            revision: 70_001,
            raft_term: 2,
        };
        let rows = [
            Row::whole(b"a", &short),
            Row::whole(b"b", &long),
            Row {
                value: false,
                lease: false,
                ..Row::whole(b"c", &short)
            },
        ];
        for (rows, more, count) in [
            (&rows[..0], false, 0),
            (&rows[..1], false, 1),
            (&rows[..], true, 500),
        ] {
            let ranged = Ranged {
                header: Some(&header),
                rows: rows.iter().copied(),
                more,
                count,
            };
            let mut bytes = Vec::new();
            ranged.put(&mut bytes);
            assert_eq!(bytes.len(), ranged.len());
            let kv = |row: &Row<'_>| mvccpb::KeyValue {
                key: row.key.to_vec().into(),
                create_revision: 200,
                mod_revision: 70_000,
                version: 3,
                value: if row.value {
                    row.record.bytes()
                } else {
                    Default::default()
                },
                lease: if row.lease { lease_of(row.record) } else { 0 },
            };
            let expected = RangeResponse {
                header: Some(header.clone()),
                kvs: rows.iter().map(kv).collect(),
                more,
                count: count as i64,
            };
            assert_eq!(RangeResponse::decode(&bytes[..]).unwrap(), expected);
            assert_eq!(expected.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn events_too() {
        let (before, now) = (record(b"old", 5), record(b"new", 0));
        let rows = [
            (Some(&now), None),
            (Some(&now), Some(&before)),
            (None, None),
            (None, Some(&before)),
        ];
        for (now, before) in rows {
            let event = Event {
                key: b"key",
                now,
                before,
                revision: Revision(70_000),
            };
            let mut bytes = Vec::new();
            event.put(&mut bytes);
            assert_eq!(bytes.len(), nested_len(event.len()));
            let response = WatchResponse::decode(&bytes[..]).unwrap();
            assert_eq!(response.encode_to_vec(), bytes);
            let read = &response.events[0];
            assert_eq!(read.r#type, i32::from(now.is_none()));
            let kv = read.kv.as_ref().unwrap();
            assert_eq!(
                (kv.mod_revision, kv.version, &kv.key[..]),
                (70_000, if now.is_some() { 3 } else { 0 }, &b"key"[..])
            );
            assert_eq!(
                read.prev_kv.as_ref().map(|kv| kv.value.clone()),
                before.map(|record| record.bytes())
            );
        }
    }
}
