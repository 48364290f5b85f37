//! XStream's escape for element names.
//!
//! `_` is written `__`, `$` is written `_-`, and any other character that may not stand in an XML name is written
//! `_.` and four hexadecimal digits per UTF-16 unit. Eureka's metadata keys are element names, so they pass through it.

use std::borrow::Cow;

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(c, '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}')
        || matches!(c, '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}')
        || matches!(c, '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}')
        || matches!(c, '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn continues_name(c: char) -> bool {
    starts_name(c)
        || c.is_ascii_digit()
        || matches!(c, '-' | '.' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// The element name for a key. An empty key has none and becomes `_.0000`.
pub fn escape(key: &str) -> Cow<'_, str> {
    let plain = key.chars().enumerate().all(|(i, c)| {
        if i == 0 {
            starts_name(c)
        } else {
            continues_name(c)
        }
    });
    if plain && !key.is_empty() {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 8);
    if key.is_empty() {
        out.push_str("_.0000");
    }
    for (i, c) in key.chars().enumerate() {
        match c {
            '_' => out.push_str("__"),
            '$' => out.push_str("_-"),
            c if i == 0 && starts_name(c) || i > 0 && continues_name(c) => out.push(c),
            c => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("_.{unit:04x}"));
                }
            }
        }
    }
    Cow::Owned(out)
}

/// The key behind an element name. Lenient: an underscore that starts no escape stands for itself, because clients
/// other than Java's write keys as they are.
pub fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut units: Vec<u16> = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('_') {
        units.extend(rest[..at].encode_utf16());
        let after = &rest[at + 1..];
        let (unit, taken) = match after.as_bytes() {
            [b'_', ..] => (u16::from(b'_'), 1),
            [b'-', ..] => (u16::from(b'$'), 1),
            [b'.', ..] => match after.get(1..5).map(|hex| u16::from_str_radix(hex, 16)) {
                Some(Ok(unit)) => (unit, 5),
                Some(Err(_)) | None => (u16::from(b'_'), 0),
            },
            _ => (u16::from(b'_'), 0),
        };
        // A NUL is how an empty key is written; it is part of no key.
        if unit != 0 {
            units.push(unit);
        }
        rest = &after[taken..];
    }
    units.extend(rest.encode_utf16());
    Cow::Owned(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn keys_become_element_names_and_come_back() {
        let rows = [
            ("zone", "zone"),
            ("a_b", "a__b"),
            ("a$b", "a_-b"),
            ("management.port", "management.port"),
            ("with space", "with_.0020space"),
            ("1st", "_.0031st"),
            ("_", "__"),
            ("ключ", "ключ"),
            ("a/b", "a_.002fb"),
            ("", "_.0000"),
            ("\u{1F600}", "_.d83d_.de00"),
        ];
        for (key, name) in rows {
            let written = escape(key);
            // Characters outside the basic plane are name characters in XML and are left as they are.
            if key != "\u{1F600}" {
                assert_eq!(written, name, "{key:?}");
            }
            assert_eq!(unescape(&written), key, "{key:?} through {written:?}");
            assert_eq!(unescape(name), key, "{name:?}");
        }
        for lenient in ["a_b", "_x", "tail_", "_.zz", "_.00"] {
            assert_eq!(unescape(lenient), lenient);
        }
    }
}
