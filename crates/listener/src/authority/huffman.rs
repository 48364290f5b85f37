//! HPACK's Huffman code (RFC 7541 appendix B). It is canonical: within one length, codes count upwards in the order of the symbols,
//! so the symbols by length are the whole table.

/// Bits of a code, and the symbols that have codes of that length, in order. The last symbol, which ends a string (30 ones), is absent.
const SYMBOLS: [(u32, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\x00$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, b"\\\xc3\xd0"),
    (20, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    (
        21,
        b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    ),
    (
        22,
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    ),
    (
        23,
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    ),
    (
        24,
        b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    ),
    (25, b"\xc7\xcf\xea\xeb"),
    (
        26,
        b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    ),
    (
        27,
        b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    ),
    (
        28,
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    ),
    (30, b"\x0a\x0d\x16"),
];

/// Decodes `bytes`; `None` when they are no valid encoding.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut decoded = Vec::with_capacity(bytes.len() * 8 / 5);
    let mut at = 0;
    let end = bytes.len() * 8;
    let bit = |at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
    while at < end {
        match symbol(at, end, bit) {
            Some((symbol, length)) => {
                decoded.push(symbol);
                at += length as usize;
            }
            // The rest must be padding: fewer than eight ones.
            None if end - at < 8 && (at..end).all(|at| bit(at) == 1) => break,
            None => return None,
        }
    }
    Some(decoded)
}

/// The symbol whose code begins at bit `at`, and the bits of its code.
fn symbol(at: usize, end: usize, bit: impl Fn(usize) -> u32) -> Option<(u8, u32)> {
    let (mut code, mut length) = (0, 0);
    // The first code of the present length.
    let mut first = 0;
    for (bits, symbols) in SYMBOLS {
        while length < bits {
            let next = at + length as usize;
            if next >= end {
                return None;
            }
            code = code << 1 | bit(next);
            first <<= 1;
            length += 1;
        }
        let place = (code - first) as usize;
        if let Some(symbol) = symbols.get(place) {
            return Some((*symbol, length));
        }
        first += symbols.len() as u32;
    }
    None
}

/// How many bytes `count` zeros (the digit) take: its code is five zero bits.
pub(super) fn encoded_zeros(count: usize) -> Vec<u8> {
    let bits = count * 5;
    let mut encoded = vec![0; bits.div_ceil(8)];
    if let Some(last) = encoded.last_mut()
        && !bits.is_multiple_of(8)
    {
        *last = 0xff >> (bits % 8);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        // Every code space is used up: the sum of 2^-length over all symbols, with the one that ends strings, is one.
        let sum: u64 = SYMBOLS
            .iter()
            .map(|(bits, symbols)| (symbols.len() as u64) << (30 - bits))
            .sum();
        assert_eq!(sum + 1, 1 << 30);
        let mut all: Vec<u8> = SYMBOLS.iter().flat_map(|(_, s)| s.to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn examples_of_the_standard_decode() {
        // RFC 7541 appendix C.4 and C.6.
        let rows: [(&[u8], &[u8]); 5] = [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ],
                b"www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], b"no-cache"),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                b"custom-value",
            ),
            (&[0x64, 0x02], b"302"),
            (&[], b""),
        ];
        for (encoded, plain) in rows {
            assert_eq!(decode(encoded).as_deref(), Some(plain));
        }
    }

    #[test]
    fn bad_padding_and_the_end_symbol_are_refused() {
        for bad in [
            &[0x64, 0x02, 0xff][..], // eight ones of padding
            &[0x00],                 // padding of zeros
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff],
        ] {
            assert_eq!(decode(bad), None, "{bad:x?}");
        }
    }

    #[test]
    fn zeros_encode_to_what_decodes_to_zeros() {
        for count in 0..100 {
            assert_eq!(decode(&encoded_zeros(count)), Some(vec![b'0'; count]));
        }
    }
}
