//! The bytes of a message as JSON, by its shape: names as the definition spells them, 64-bit numbers as strings, bytes in base64,
//! enumerations by name. What is zero or empty stays away, as it does in the message.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::wire::shape::{EnumShape, FieldShape, Kind, MessageShape};

/// Writes `message` as JSON. Nothing here comes from a peer: what does not fit the shape is passed over.
pub(super) fn message(message: &[u8], shape: &MessageShape, out: &mut Vec<u8>) {
    let mut rest = message;
    let mut list: Option<u32> = None;
    let mut first = true;
    out.push(b'{');
    while rest.has_remaining() {
        let Ok((number, wire)) = decode_key(&mut rest) else {
            break;
        };
        let field = shape.fields.iter().find(|field| field.number == number);
        let Some((varint, bytes)) = content(wire, &mut rest) else {
            break;
        };
        let Some(field) = field else {
            continue;
        };
        let zero = match field.kind {
            Kind::Message(_) => false,
            Kind::String | Kind::Bytes => bytes.is_empty(),
            _ => varint == 0,
        };
        if zero && !field.repeated && field.oneof.is_none() {
            continue;
        }
        if list == Some(number) {
            out.push(b',');
        } else {
            if list.take().is_some() {
                out.push(b']');
            }
            if !first {
                out.push(b',');
            }
            first = false;
            text(field.name, out);
            out.push(b':');
            if field.repeated {
                out.push(b'[');
                list = Some(number);
            }
        }
        value(field, varint, bytes, out);
    }
    if list.is_some() {
        out.push(b']');
    }
    out.push(b'}');
}

/// The content of a field: a number, or bytes.
fn content<'a>(wire: WireType, rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    match wire {
        WireType::Varint => Some((decode_varint(rest).ok()?, &[])),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Some((0, bytes))
        }
        // The protocol has no others.
        _ => None,
    }
}

fn value(field: &FieldShape, varint: u64, bytes: &[u8], out: &mut Vec<u8>) {
    match field.kind {
        Kind::Bool => out.extend_from_slice(if varint != 0 { b"true" } else { b"false" }),
        Kind::Int32 => out.extend_from_slice((varint as i32).to_string().as_bytes()),
        Kind::Uint32 => out.extend_from_slice((varint as u32).to_string().as_bytes()),
        Kind::Int64 => quoted(&(varint as i64).to_string(), out),
        Kind::Uint64 => quoted(&varint.to_string(), out),
        Kind::String => text(&String::from_utf8_lossy(bytes), out),
        Kind::Bytes => {
            out.push(b'"');
            let start = out.len();
            let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
            out.resize(start + length, 0);
            // The room is exact, so this cannot fail.
            let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
            out.push(b'"');
        }
        Kind::Message(shape) => message(bytes, shape, out),
        Kind::Enum(shape) => match name_of(shape, varint as i32) {
            Some(name) => quoted(name, out),
            None => out.extend_from_slice((varint as i32).to_string().as_bytes()),
        },
    }
}

fn name_of(shape: &EnumShape, number: i32) -> Option<&'static str> {
    let mut values = shape.values.iter();
    values
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

fn quoted(plain: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
}

/// A string with what JSON wants escaped, and no more.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::{etcdserverpb as pb, mvccpb, shape};

    fn encoded(from: &impl Message, shape: &MessageShape) -> String {
        let mut out = Vec::new();
        message(&from.encode_to_vec(), shape, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_look_as_etcd_s() {
        let header = pb::ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 1,
            revision: 0,
            raft_term: 2,
        };
        let kv = |key: &'static str| mvccpb::KeyValue {
            key: key.into(),
            version: 1,
            lease: -3,
            ..Default::default()
        };
        let range = pb::RangeResponse {
            header: Some(header),
            kvs: vec![kv("foo"), kv("")],
            more: true,
            count: 2,
        };
        assert_eq!(
            encoded(&range, &shape::ETCDSERVERPB_RANGERESPONSE),
            r#"{"header":{"cluster_id":"18446744073709551615","member_id":"1","raft_term":"2"},"kvs":[{"key":"Zm9v","version":"1","lease":"-3"},{"version":"1","lease":"-3"}],"more":true,"count":"2"}"#
        );
        let watch = pb::WatchResponse {
            cancel_reason: "\"\\\n\u{1}é<".to_owned(),
            events: vec![mvccpb::Event {
                r#type: 1,
                kv: Some(kv("f")),
                prev_kv: None,
            }],
            ..Default::default()
        };
        assert_eq!(
            encoded(&watch, &shape::ETCDSERVERPB_WATCHRESPONSE),
            r#"{"cancel_reason":"\"\\\n\u0001é<","events":[{"type":"DELETE","kv":{"key":"Zg==","version":"1","lease":"-3"}}]}"#
        );
        let member = pb::Member {
            id: 7,
            peer_ur_ls: vec!["a".to_owned(), String::new()],
            client_ur_ls: vec!["b".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            encoded(&member, &shape::ETCDSERVERPB_MEMBER),
            r#"{"ID":"7","peerURLs":["a",""],"clientURLs":["b"]}"#
        );
        assert_eq!(
            encoded(
                &pb::TxnResponse::default(),
                &shape::ETCDSERVERPB_TXNRESPONSE
            ),
            "{}"
        );
    }
}
