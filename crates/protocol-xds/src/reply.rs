//! Responses, framed. Resources are copied in as they were encoded; only what is a stream's own is encoded for it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use portolan_grpc::framed;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::kind::Kind;
use crate::resource::Resource;

/// What is a stream's own in a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: Kind,
    /// Of the whole response: the revision.
    pub(crate) version: u64,
    pub(crate) nonce: u64,
    /// This server's name.
    pub(crate) server: &'a str,
}

/// A response about the state of the world.
pub(crate) fn world(envelope: &Envelope<'_>, resources: &[Arc<Resource>]) -> Bytes {
    let (version, nonce) = (envelope.version.to_string(), envelope.nonce.to_string());
    let server = server(envelope.server);
    let mut fields: Vec<(u32, &[u8])> = vec![(1, version.as_bytes())];
    fields.extend(resources.iter().map(|resource| (2, &*resource.any)));
    fields.push((4, envelope.kind.type_url().as_bytes()));
    fields.push((5, nonce.as_bytes()));
    fields.push((6, &server));
    message(&fields)
}

/// A response of differences.
pub(crate) fn delta(
    envelope: &Envelope<'_>,
    resources: &[Arc<Resource>],
    removed: &[Arc<str>],
) -> Bytes {
    let (version, nonce) = (envelope.version.to_string(), envelope.nonce.to_string());
    let server = server(envelope.server);
    let wrapped: Vec<Bytes> = resources.iter().map(|resource| wrap(resource)).collect();
    let mut fields: Vec<(u32, &[u8])> = vec![(1, version.as_bytes())];
    fields.extend(wrapped.iter().map(|resource| (2, &**resource)));
    fields.push((4, envelope.kind.type_url().as_bytes()));
    fields.push((5, nonce.as_bytes()));
    fields.extend(removed.iter().map(|name| (6, name.as_bytes())));
    fields.push((7, &server));
    message(&fields)
}

/// A resource with its own name and version around it.
fn wrap(resource: &Resource) -> Bytes {
    let version = Resource::print(resource.version);
    let fields: [(u32, &[u8]); 3] = [
        (1, version.as_bytes()),
        (2, &resource.any),
        (3, resource.name.as_bytes()),
    ];
    let mut out = BytesMut::with_capacity(length(&fields));
    put(&fields, &mut out);
    out.freeze()
}

fn server(name: &str) -> Bytes {
    let fields: [(u32, &[u8]); 1] = [(1, name.as_bytes())];
    let mut out = BytesMut::with_capacity(length(&fields));
    put(&fields, &mut out);
    out.freeze()
}

fn message(fields: &[(u32, &[u8])]) -> Bytes {
    framed(length(fields), |out| put(fields, out))
}

fn length(fields: &[(u32, &[u8])]) -> usize {
    let of_one = |(tag, value): &(u32, &[u8])| {
        key_len(*tag) + encoded_len_varint(value.len() as u64) + value.len()
    };
    fields.iter().map(of_one).sum()
}

fn put(fields: &[(u32, &[u8])], out: &mut BytesMut) {
    for (tag, value) in fields {
        encode_key(*tag, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.put_slice(value);
    }
}
