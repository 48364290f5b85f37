//! Who a client is by its certificate: the name of its subject, as Java writes it (RFC 2253).

use x509_parser::der_parser::oid;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

/// The name of a certificate's subject: its parts from the last one to the first. None for bytes that are no certificate.
pub(crate) fn subject(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let parts = certificate.subject().iter_rdn().map(|part| {
        let pairs: Vec<String> = part.iter().map(pair).collect();
        pairs.join("+")
    });
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    Some(parts.join(","))
}

fn pair(attribute: &AttributeTypeAndValue<'_>) -> String {
    let known = [
        (oid!(2.5.4.3), "CN"),
        (oid!(2.5.4.6), "C"),
        (oid!(2.5.4.7), "L"),
        (oid!(2.5.4.8), "ST"),
        (oid!(2.5.4.9), "STREET"),
        (oid!(2.5.4.10), "O"),
        (oid!(2.5.4.11), "OU"),
        (oid!(0.9.2342.19200300.100.1.25), "DC"),
        (oid!(0.9.2342.19200300.100.1.1), "UID"),
    ];
    let kind = attribute.attr_type();
    let keyword = known.iter().find(|(known, _)| known == kind);
    match (keyword, attribute.as_str()) {
        (Some((_, keyword)), Ok(text)) => format!("{keyword}={}", escaped(text)),
        // What has no keyword is written as the bytes it is.
        _ => format!("{}=#{}", kind.to_id_string(), hexadecimal(attribute)),
    }
}

/// The value's encoding, tag and length before it.
fn hexadecimal(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let mut bytes = vec![u8::try_from(value.header.tag().0).unwrap_or_default()];
    match u8::try_from(value.data.len()) {
        Ok(short @ ..0x80) => bytes.push(short),
        Ok(long) => bytes.extend([0x81, long]),
        Err(_) => {
            let length = u16::try_from(value.data.len()).unwrap_or(u16::MAX);
            bytes.push(0x82);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(value.data);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        let special = ",+\"\\<>;".contains(c)
            || (at == 0 && matches!(c, '#' | ' '))
            || (at == last && c == ' ');
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        let rows = [
            ("a b", "a b"),
            (" a ", "\\ a\\ "),
            ("#a,b", "\\#a\\,b"),
            ("a+\"<", "a\\+\\\"\\<"),
        ];
        for (text, expected) in rows {
            assert_eq!(escaped(text), expected, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_nobody() {
        for der in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0x30; 64]] {
            assert_eq!(subject(der), None);
        }
    }
}
