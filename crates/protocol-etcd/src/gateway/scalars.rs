//! Numbers, bytes and strings as JSON writes them: what Go's `protojson` takes for them.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
const BARE: GeneralPurposeConfig = LENIENT.with_decode_padding_mode(DecodePaddingMode::RequireNone);
static PADDED: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&STANDARD, LENIENT),
    GeneralPurpose::new(&URL_SAFE, LENIENT),
];
static UNPADDED: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&STANDARD, BARE),
    GeneralPurpose::new(&URL_SAFE, BARE),
];

/// The value of a JSON number that is whole, such as `12`, `1.20e1` or `120e-1`.
pub(super) fn whole_number(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leads || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let shift = exponent - i64::try_from(fraction.len()).ok()?;
    let mut digits = [whole, fraction].concat();
    if digits.bytes().all(|digit| digit == b'0') {
        return Some(0);
    }
    if shift < 0 {
        let cut = usize::try_from(-shift).ok()?;
        let keep = digits.len().checked_sub(cut)?;
        if digits.bytes().skip(keep).any(|digit| digit != b'0') {
            return None;
        }
        digits.truncate(keep);
    }
    let digits = digits.trim_start_matches('0');
    let zeros = usize::try_from(shift.max(0)).ok()?;
    // Nothing longer fits into 64 bits.
    if digits.len() + zeros.min(64) > 20 {
        return None;
    }
    let value: i128 = format!("{digits}{}", "0".repeat(zeros)).parse().ok()?;
    Some(if negative { -value } else { value })
}

/// What a string in the place of a number says: Go reads the first token of it and does not look at the rest, but space around it is wrong.
pub(super) fn first_number(text: &[u8]) -> Option<&[u8]> {
    let written = std::str::from_utf8(text).ok()?;
    if written.trim() != written {
        return None;
    }
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
    let end = text.iter().position(|byte| !part(byte));
    Some(&text[..end.unwrap_or(text.len())])
}

/// The exponent of a number. Longer ones than any that could matter are taken for very large.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size: i64 = digits.parse().unwrap_or(i64::from(i32::MAX));
    let size = size.min(i64::from(i32::MAX));
    Some(if text.starts_with('-') { -size } else { size })
}

/// Base64 of either alphabet, padded or not; line breaks in it do not count.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let url = usize::from(text.contains(['-', '_']));
    // Go looks at the length as it came.
    let engines = match text.len() % 4 {
        0 => &PADDED,
        _ => &UNPADDED,
    };
    let bytes = match text.contains(['\r', '\n']) {
        true => engines[url].decode(text.replace(['\r', '\n'], "")),
        false => engines[url].decode(text),
    };
    bytes.ok()
}

/// A string with its escapes resolved.
///
/// # Errors
/// The escape that is half of a pair.
pub(super) fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let plain = match rest.as_bytes().get(1) {
            Some(b'u') => None,
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            Some(b'n') => Some('\n'),
            Some(b'r') => Some('\r'),
            Some(b't') => Some('\t'),
            Some(other) => Some(char::from(*other)),
            None => return Err(rest.to_owned()),
        };
        if let Some(plain) = plain {
            out.push(plain);
            rest = &rest[2..];
            continue;
        }
        let unit = |text: &str| u16::from_str_radix(text.get(2..6)?, 16).ok();
        let first = unit(rest).ok_or_else(|| rest.to_owned())?;
        let second = rest.get(6..).filter(|next| next.starts_with("\\u"));
        let second = second.and_then(unit);
        if let Some(character) = char::from_u32(u32::from(first)) {
            out.push(character);
            rest = &rest[6..];
        } else if let Some(second) = second
            && let Some(Ok(character)) = char::decode_utf16([first, second]).next()
        {
            out.push(character);
            rest = &rest[12..];
        } else {
            return Err(rest[..6].to_owned());
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_string() {
        let rows: [(&str, Option<&str>); 7] = [
            ("12", Some("12")),
            ("2>", Some("2")),
            ("2 3", Some("2")),
            ("2x", Some("2x")),
            (">2", Some("")),
            (" 2", None),
            ("2\t", None),
        ];
        for (text, number) in rows {
            let found = first_number(text.as_bytes());
            assert_eq!(found, number.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        let rows: [(&str, Option<i128>); 18] = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("12", Some(12)),
            ("-12.0", Some(-12)),
            ("1.20e1", Some(12)),
            ("120e-1", Some(12)),
            ("1e2", Some(100)),
            ("0e999999", Some(0)),
            ("18446744073709551615", Some(u64::MAX.into())),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1.5", None),
            ("15e-1", None),
            ("1e-400", None),
            ("1e400", None),
            ("01", None),
            ("", None),
            ("1.", None),
            ("+1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(whole_number(text.as_bytes()), expected, "{text}");
        }
    }
}
