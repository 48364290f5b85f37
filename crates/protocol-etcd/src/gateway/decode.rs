//! One JSON value as the bytes of a message, by its shape. Mistakes are told in the words and places of Go's `protojson`.
//!
//! The text is a whole JSON value already ([`super::scan`]), so what can be wrong is its meaning: types, names, numbers, base64, UTF-8.
//! Fields that the message does not have are passed over, and so are names that an enumeration does not have.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::scalars::{first_number, from_base64, unescaped, whole_number};
use crate::wire::shape::{EnumShape, FieldShape, Kind, MessageShape};

/// Messages within messages at most: what the message itself may have when it is read.
const DEPTH: usize = 100;

/// The message that `text` says, appended to `out`.
///
/// # Errors
/// The text of etcd's answer.
pub(super) fn message(
    text: &[u8],
    shape: &'static MessageShape,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut reader = Reader { text, at: 0 };
    reader.message(shape, out, 0)
}

/// A place in valid JSON.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no white space, which stays unread.
    fn peek(&mut self) -> u8 {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.text.get(self.at).copied().unwrap_or_default()
    }

    /// Passes a comma or colon if there is one.
    fn skip(&mut self, byte: u8) {
        if self.peek() == byte {
            self.at += 1;
        }
    }

    /// The next string, number or word as it stands; of an object or array the first byte.
    fn token(&mut self) -> Token<'a> {
        let first = self.peek();
        let (start, rest) = (self.at, &self.text[self.at..]);
        let length = match first {
            b'"' => {
                let mut escaped = false;
                let end = rest.iter().skip(1).position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            b'{' | b'[' | b'}' | b']' => 1,
            _ => rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n'))
                .unwrap_or(rest.len()),
        };
        self.at += length;
        Token {
            start,
            raw: &rest[..length],
        }
    }

    /// Passes a whole value, however deep.
    fn pass(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.token().raw {
                [b'{' | b'['] => open += 1,
                [b'}' | b']'] => open = open.saturating_sub(1),
                _ => {}
            }
            self.skip(b':');
            if open == 0 || self.at >= self.text.len() {
                return;
            }
            self.skip(b',');
            self.skip(b':');
        }
    }

    /// An error at a place, counted in lines and characters from 1.
    fn error(&self, at: usize, what: &str) -> String {
        self.placed("", at, what)
    }

    fn placed(&self, kind: &str, at: usize, what: &str) -> String {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let begin = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let column = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
        format!("proto: {kind}(line {line}:{column}): {what}")
    }

    fn unexpected(&self, token: &Token<'_>) -> String {
        let what = format!("unexpected token {}", token.shown());
        self.placed("syntax error ", token.start, &what)
    }

    fn message(
        &mut self,
        shape: &'static MessageShape,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), String> {
        let token = self.token();
        if token.raw != b"{" {
            return Err(self.unexpected(&token));
        }
        if depth >= DEPTH {
            return Err(self.error(token.start, "exceeded max recursion depth"));
        }
        let mut seen = Seen::default();
        loop {
            let name = self.token();
            if name.raw == b"}" {
                return Ok(());
            }
            let known = self.string(&name)?;
            self.skip(b':');
            let found = shape
                .fields
                .iter()
                .enumerate()
                .find(|(_, field)| field.json_name == known || field.name == known);
            match found {
                None => self.pass(),
                Some((place, field)) => {
                    if seen.has(place) {
                        let what = format!("duplicate field {}", name.shown());
                        return Err(self.error(name.start, &what));
                    }
                    if self.peek() == b'n' {
                        self.token();
                    } else {
                        if let Some(oneof) = field.oneof
                            && !seen.first_of(oneof)
                        {
                            let what = format!(
                                "error parsing {}, oneof {oneof} is already set",
                                name.shown()
                            );
                            return Err(self.error(name.start, &what));
                        }
                        self.field(field, out, depth)?;
                    }
                }
            }
            self.skip(b',');
        }
    }

    fn field(&mut self, field: &FieldShape, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if !field.repeated {
            return self.value(field, out, depth);
        }
        let token = self.token();
        if token.raw != b"[" {
            return Err(self.unexpected(&token));
        }
        loop {
            if self.peek() == b']' {
                self.at += 1;
                return Ok(());
            }
            self.value(field, out, depth)?;
            self.skip(b',');
        }
    }

    fn value(&mut self, field: &FieldShape, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if let Kind::Message(shape) = field.kind {
            encode_key(field.number, WireType::LengthDelimited, out);
            let start = out.len();
            self.message(shape, out, depth + 1)?;
            prefix_length(out, start);
            return Ok(());
        }
        let token = self.token();
        let wrong = |reader: &Reader<'_>| {
            let (kind, name) = (field.kind.name(), field.json_name);
            let what = format!("invalid value for {kind} field {name}: {}", token.shown());
            reader.error(token.start, &what)
        };
        let number = |low, high| self.integer(&token, low, high);
        // Zero is said too: in a group of fields it says which one is set.
        let varint = match field.kind {
            Kind::Bool => match token.raw {
                b"true" => Some(1),
                b"false" => Some(0),
                _ => return Err(wrong(self)),
            },
            Kind::Int32 => number(i32::MIN.into(), i32::MAX.into()).map(|n| n as i64 as u64),
            Kind::Int64 => number(i64::MIN.into(), i64::MAX.into()).map(|n| n as i64 as u64),
            Kind::Uint32 => number(0, u32::MAX.into()).map(|n| n as u64),
            Kind::Uint64 => number(0, u64::MAX.into()).map(|n| n as u64),
            Kind::Enum(shape) => match token.raw.first() {
                Some(b'"') => match value_named(shape, &self.string(&token)?) {
                    Some(value) => Some(i64::from(value) as u64),
                    None => return Ok(()),
                },
                _ => number(i32::MIN.into(), i32::MAX.into()).map(|n| n as i64 as u64),
            },
            Kind::String | Kind::Bytes | Kind::Message(_) => {
                if token.raw.first() != Some(&b'"') {
                    return Err(wrong(self));
                }
                let text = self.string(&token)?;
                let bytes = match field.kind {
                    Kind::Bytes => from_base64(&text).ok_or_else(|| wrong(self))?,
                    _ => text.into_bytes(),
                };
                encode_key(field.number, WireType::LengthDelimited, out);
                encode_varint(bytes.len() as u64, out);
                out.extend_from_slice(&bytes);
                return Ok(());
            }
        };
        let Some(varint) = varint else {
            return Err(wrong(self));
        };
        encode_key(field.number, WireType::Varint, out);
        encode_varint(varint, out);
        Ok(())
    }

    /// A whole number, as such or in a string.
    fn integer(&self, token: &Token<'_>, low: i128, high: i128) -> Option<i128> {
        let text = match token.raw.first()? {
            b'"' => first_number(&token.raw[1..token.raw.len().checked_sub(1)?])?,
            _ => token.raw,
        };
        let number = whole_number(text)?;
        (low..=high).contains(&number).then_some(number)
    }

    /// What a string says.
    fn string(&self, token: &Token<'_>) -> Result<String, String> {
        let inner = token.raw.get(1..token.raw.len().saturating_sub(1));
        let inner = inner.unwrap_or_default();
        let text = std::str::from_utf8(inner)
            .map_err(|_| self.placed("syntax error ", token.start, "invalid UTF-8 in string"))?;
        if !text.contains('\\') {
            return Ok(text.to_owned());
        }
        unescaped(text).map_err(|code| {
            let what = format!("invalid escape code {code:?} in string");
            self.placed("syntax error ", token.start, &what)
        })
    }
}

/// A piece of the text.
struct Token<'a> {
    start: usize,
    raw: &'a [u8],
}

impl Token<'_> {
    fn shown(&self) -> String {
        String::from_utf8_lossy(self.raw).into_owned()
    }
}

/// Which fields of a message were there.
#[derive(Default)]
struct Seen {
    places: u64,
    oneof: Option<&'static str>,
}

impl Seen {
    /// Whether a field was there before; it is from now on. No message has more fields than bits.
    fn has(&mut self, place: usize) -> bool {
        let bit = 1_u64 << (place % 64);
        let had = self.places & bit != 0;
        self.places |= bit;
        had
    }

    /// Whether nothing of this group was there. A message has one group at most.
    fn first_of(&mut self, oneof: &'static str) -> bool {
        self.oneof.replace(oneof).is_none()
    }
}

fn value_named(shape: &EnumShape, name: &str) -> Option<i32> {
    let mut values = shape.values.iter();
    values
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// Puts the length of everything from `start` on in front of it.
fn prefix_length(out: &mut Vec<u8>, start: usize) {
    let mut length = Vec::with_capacity(5);
    encode_varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::{etcdserverpb as pb, shape};

    fn decoded<M: Message + Default>(
        text: &str,
        shape: &'static MessageShape,
    ) -> Result<M, String> {
        let mut out = Vec::new();
        message(text.as_bytes(), shape, &mut out)?;
        Ok(M::decode(&out[..]).unwrap())
    }

    fn range(text: &str) -> Result<pb::RangeRequest, String> {
        decoded(text, &shape::ETCDSERVERPB_RANGEREQUEST)
    }

    #[test]
    fn both_spellings_both_kinds_of_numbers_and_both_alphabets() {
        let expected = pb::RangeRequest {
            key: vec![0xfb, 0xff].into(),
            range_end: vec![0].into(),
            limit: 120,
            sort_order: 2,
            keys_only: true,
            ..Default::default()
        };
        for text in [
            r#"{"key":"+/8=","range_end":"AA==","limit":"120","sort_order":"DESCEND","keys_only":true}"#,
            r#"{"key":"-_8","rangeEnd":"AA","limit":1.2e2,"sortOrder":2,"keysOnly":true,"x":{"a":[1,"]",{}]}}"#,
            "{ \"k\\u0065y\" : \"+/8\\n\\n\" ,\n\"rangeEnd\":\"AA==\\n\\n\\n\\n\", \"limit\":\"12000e-2\",\"sort_order\":\"DESCEND\",\"keys_only\":true,\"revision\":null}",
        ] {
            assert_eq!(range(text), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn messages_in_messages() {
        let text = r#"{"compare":[{"target":"MOD","key":"aw==","modRevision":"0"}],"success":[
            {"requestPut":{"key":"aw==","value":"dg=="}},{"request_txn":{"failure":[{"request_range":{"key":"aw=="}}]}}]}"#;
        let txn: pb::TxnRequest = decoded(text, &shape::ETCDSERVERPB_TXNREQUEST).unwrap();
        let union = Some(pb::compare::TargetUnion::ModRevision(0));
        assert_eq!(txn.compare[0].target_union, union);
        assert_eq!(txn.success.len(), 2);
        assert!(txn.failure.is_empty());
    }

    #[test]
    fn mistakes_are_told_as_protojson_tells_them() {
        let rows = [
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            (
                "null",
                "proto: syntax error (line 1:1): unexpected token null",
            ),
            (
                r#"{"key":1}"#,
                "proto: (line 1:8): invalid value for bytes field key: 1",
            ),
            (
                r#"{"key":"!!"}"#,
                "proto: (line 1:8): invalid value for bytes field key: \"!!\"",
            ),
            (
                r#"{"limit":"x"}"#,
                "proto: (line 1:10): invalid value for int64 field limit: \"x\"",
            ),
            (
                r#"{"limit":" 1"}"#,
                "proto: (line 1:10): invalid value for int64 field limit: \" 1\"",
            ),
            (
                r#"{"limit":1.5}"#,
                "proto: (line 1:10): invalid value for int64 field limit: 1.5",
            ),
            (
                r#"{"limit":1e999999999999}"#,
                "proto: (line 1:10): invalid value for int64 field limit: 1e999999999999",
            ),
            (
                r#"{"limit":[]}"#,
                "proto: (line 1:10): invalid value for int64 field limit: [",
            ),
            (
                "{\n\"é\":0,\"limit\":99999999999999999999}",
                "proto: (line 2:15): invalid value for int64 field limit: 99999999999999999999",
            ),
            (
                r#"{"serializable":"true"}"#,
                "proto: (line 1:17): invalid value for bool field serializable: \"true\"",
            ),
            (
                r#"{"sort_order":true}"#,
                "proto: (line 1:15): invalid value for enum field sortOrder: true",
            ),
            (
                r#"{"key":"","key":""}"#,
                "proto: (line 1:11): duplicate field \"key\"",
            ),
            (
                r#"{"rangeEnd":"","range_end":""}"#,
                "proto: (line 1:16): duplicate field \"range_end\"",
            ),
            (
                r#"{"key":"\ud800"}"#,
                "proto: syntax error (line 1:8): invalid escape code \"\\\\ud800\" in string",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(range(text), Err(expected.to_owned()), "{text}");
        }
        let txn = |text| decoded::<pb::TxnRequest>(text, &shape::ETCDSERVERPB_TXNREQUEST);
        assert_eq!(
            txn(r#"{"success":[{"requestPut":{"key":"Zm9v"},"request_range":{"key":"Zm9v"}}]}"#),
            Err("proto: (line 1:42): error parsing \"request_range\", oneof etcdserverpb.RequestOp.request is already set".to_owned())
        );
        assert_eq!(
            txn(r#"{"success":{}}"#),
            Err("proto: syntax error (line 1:12): unexpected token {".to_owned())
        );
        let deep = r#"{"success":[{"request_txn":"#.repeat(200);
        let deep = format!("{deep}{{}}{}", "}]}".repeat(200));
        assert!(
            txn(&deep)
                .unwrap_err()
                .ends_with("exceeded max recursion depth")
        );
    }
}
