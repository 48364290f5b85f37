//! One header block, field by field (RFC 7541 section 6), as far as the value of `:authority` needs it: no tables.

use std::ops::Range;

use http::uri::Authority;

use super::huffman;

/// `:authority`, whose place in the static table is 1.
const NAME: &[u8] = b":authority";
/// The same by Huffman's code.
const NAME_PACKED: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// The field "`:authority`, empty" of the static table.
const EMPTY: u8 = 0x81;
/// A longest value that is worth remembering.
const REMEMBERED: usize = 256;

/// The last value that was in order, as it was sent: encoders that do not index send the same again and again.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<u8>);

/// What is to be done to a block.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    at: Range<usize>,
    with: Vec<u8>,
}

/// `block` with every `:authority` that is none replaced; `None` when there is nothing to replace or the block is malformed.
pub(super) fn rewritten(block: &[u8], known: &mut Known) -> Option<Vec<u8>> {
    let mut changes = Vec::new();
    let mut cursor = Cursor { block, at: 0 };
    while let Some(&first) = block.get(cursor.at) {
        let start = cursor.at;
        if first == EMPTY {
            cursor.at += 1;
            changes.push(Change {
                at: start..cursor.at,
                with: Vec::new(),
            });
        } else if first & 0x80 != 0 {
            cursor.integer(7)?;
        } else if first & 0xe0 == 0x20 {
            cursor.integer(5)?;
        } else {
            let indexed = first & 0x40 != 0;
            let name = cursor.integer(if indexed { 6 } else { 4 })?;
            let is_authority = match name {
                0 => cursor.string()?.is_name(),
                name => name == 1,
            };
            let value_at = cursor.at;
            let value = cursor.string()?;
            if is_authority {
                let raw = &block[value_at..cursor.at];
                changes.extend(replacement(
                    &value, raw, start, value_at, cursor.at, indexed, known,
                ));
            }
        }
    }
    if changes.is_empty() {
        return None;
    }
    let mut rewritten = Vec::with_capacity(block.len());
    let mut from = 0;
    for Change { at, with } in changes {
        rewritten.extend_from_slice(&block[from..at.start]);
        rewritten.extend_from_slice(&with);
        from = at.end;
    }
    rewritten.extend_from_slice(&block[from..]);
    Some(rewritten)
}

fn replacement(
    value: &Text<'_>,
    raw: &[u8],
    start: usize,
    value_at: usize,
    end: usize,
    indexed: bool,
    known: &mut Known,
) -> Option<Change> {
    if known.0 == raw {
        return None;
    }
    let decoded;
    let plain = match value.packed {
        true => {
            decoded = huffman::decode(value.bytes)?;
            &decoded[..]
        }
        false => value.bytes,
    };
    if Authority::try_from(plain).is_ok() {
        if raw.len() <= REMEMBERED {
            known.0.clear();
            known.0.extend_from_slice(raw);
        }
        return None;
    }
    if plain.is_empty() {
        // No authority of no length is a valid one, so the field goes. An entry of the table must not, so it gets the shortest value: one
        // byte more than the peer counts, which matters only to a table that is full to the last byte.
        return Some(match indexed {
            false => Change {
                at: start..end,
                with: Vec::new(),
            },
            true => Change {
                at: value_at..end,
                with: vec![1, b'0'],
            },
        });
    }
    let zeros = match value.packed {
        true => huffman::encoded_zeros(plain.len()),
        false => vec![b'0'; plain.len()],
    };
    let mut with = Vec::with_capacity(raw.len());
    put_length(&mut with, zeros.len(), value.packed);
    with.extend_from_slice(&zeros);
    Some(Change {
        at: value_at..end,
        with,
    })
}

/// A string as it stands in a block.
struct Text<'a> {
    packed: bool,
    bytes: &'a [u8],
}

impl Text<'_> {
    fn is_name(&self) -> bool {
        match self.packed {
            true => self.bytes == NAME_PACKED,
            false => self.bytes == NAME,
        }
    }
}

struct Cursor<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// An integer whose first `prefix` bits share their byte with others (section 5.1), of at most five bytes.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Text<'a>> {
        let packed = self.block.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(Text { packed, bytes })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

fn put_length(out: &mut Vec<u8>, length: usize, packed: bool) {
    let flag = if packed { 0x80 } else { 0 };
    let Some(mut rest) = length.checked_sub(0x7f) else {
        out.push(flag | length as u8);
        return;
    };
    out.push(flag | 0x7f);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(first: u8, value: &[u8]) -> Vec<u8> {
        let mut field = vec![first];
        put_length(&mut field, value.len(), false);
        field.extend_from_slice(value);
        field
    }

    fn after(block: &[u8]) -> Vec<u8> {
        rewritten(block, &mut Known::default()).unwrap_or_else(|| block.to_vec())
    }

    #[test]
    fn values_that_are_no_authority_become_zeros_of_their_length() {
        let bad = b"#initially=[h:1]";
        // Incremental indexing, without indexing, never indexed.
        for first in [0x41, 0x01, 0x11] {
            let zeros = literal(first, &[b'0'; 16]);
            assert_eq!(after(&literal(first, bad)), zeros, "{first:x}");
            for good in [&b"localhost:2379"[..], b"[::1]:1", b"a_b", b":2379"] {
                let field = literal(first, good);
                assert_eq!(after(&field), field);
            }
        }
        // The name spelled out, plainly and packed.
        let mut plain = vec![0x40];
        put_length(&mut plain, NAME.len(), false);
        plain.extend_from_slice(NAME);
        let mut packed = vec![0x00];
        put_length(&mut packed, NAME_PACKED.len(), true);
        packed.extend_from_slice(&NAME_PACKED);
        assert_eq!(huffman::decode(&NAME_PACKED).as_deref(), Some(NAME));
        for name in [plain, packed] {
            let of = |value: &[u8]| [&name[..], &literal(0, value)[1..]].concat();
            assert_eq!(after(&of(bad)), of(&[b'0'; 16]));
        }
        // Long values, whose length takes several bytes.
        for length in [126, 127, 128, 300, 20_000] {
            let long = vec![b'#'; length];
            assert_eq!(
                after(&literal(0x41, &long)),
                literal(0x41, &vec![b'0'; length])
            );
        }
    }

    #[test]
    fn packed_values_keep_their_length_and_do_not_grow() {
        // "#" and "[]" by appendix B: 0xffa (12 bits), 0x1ffb and 0x1ffc (13 bits each), then padding.
        let bits = format!("{:012b}{:013b}{:013b}11", 0xffa, 0x1ffb, 0x1ffc);
        let packed: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        assert_eq!(huffman::decode(&packed).as_deref(), Some(&b"#[]"[..]));
        let mut field = vec![0x41, 0x80 | packed.len() as u8];
        field.extend_from_slice(&packed);
        assert_eq!(after(&field), [0x41, 0x82, 0x00, 0x01]);
        assert_eq!(huffman::decode(&[0x00, 0x01]).as_deref(), Some(&b"000"[..]));
    }

    #[test]
    fn everything_around_it_stays() {
        let bad = literal(0x41, b"a b");
        let good = literal(0x41, b"000");
        let around = |field: &[u8]| {
            let before = [0x3f, 0xe1, 0x1f, 0x83, 0x86, 0x44, 0x01, b'/'];
            let behind = [0x0f, 0x2f, 0x01, b'x', 0x10, 0x01, b'n', 0x01, b'v', 0xc0];
            [&before[..], field, &behind].concat()
        };
        assert_eq!(after(&around(&bad)), around(&good));
    }

    #[test]
    fn an_empty_value_goes_or_is_one_zero_where_it_is_indexed() {
        assert_eq!(after(&[0x83, 0x81, 0x86]), [0x83, 0x86]);
        assert_eq!(after(&[0x83, 0x01, 0x00, 0x86]), [0x83, 0x86]);
        assert_eq!(
            after(&[0x83, 0x41, 0x00, 0x86]),
            [0x83, 0x41, 0x01, b'0', 0x86]
        );
        // Packed by Huffman's code, nothing is nothing as well.
        assert_eq!(
            after(&[0x83, 0x41, 0x80, 0x86]),
            [0x83, 0x41, 0x01, b'0', 0x86]
        );
    }

    #[test]
    fn malformed_blocks_stay_what_they_are() {
        for block in [
            &[0x41][..],
            &[0x41, 0x05, b'#'],
            &[0x41, 0x01, b'#', 0x41],
            &[0x41, 0x01, b'#', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x41, 0x82, 0x00, 0x00],
            &[0x40, 0x7f],
        ] {
            assert_eq!(rewritten(block, &mut Known::default()), None, "{block:x?}");
        }
    }
}
