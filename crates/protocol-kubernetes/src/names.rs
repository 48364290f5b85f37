//! Names: what objects, labels and namespaces may be called, and names that the server makes.

use serde_json::Value;

use crate::error::Cause;
use crate::kind::{Kind, Names};

/// Bytes of a name with dots.
const SUBDOMAIN: usize = 253;
/// Bytes of a label of a name.
const LABEL: usize = 63;
/// What made names end in: no vowels, nothing that looks like something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How much is made.
const SUFFIX: usize = 5;

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_RULE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Whether a text is an RFC 1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= LABEL
        && word(*first)
        && word(*last)
        && bytes.iter().all(|byte| word(*byte) || *byte == b'-')
}

/// Whether a text is a name with dots.
pub(crate) fn is_subdomain(text: &str) -> bool {
    // The parts of a name with dots may be longer than a label; the API server does not mind.
    let part = |part: &str| {
        part.as_bytes().chunks(LABEL).all(|chunk| {
            chunk
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        }) && !part.starts_with('-')
            && !part.ends_with('-')
            && !part.is_empty()
    };
    text.len() <= SUBDOMAIN && text.split('.').all(part)
}

fn is_word(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let inner = |byte: &u8| word(*byte) || matches!(byte, b'-' | b'_' | b'.');
    bytes.len() <= LABEL && word(*first) && word(*last) && bytes.iter().all(inner)
}

/// Whether a text can be a label's value.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// Whether a text can be a label's name: perhaps a prefix with dots and a slash, then a word.
pub(crate) fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// What is wrong with an object's name.
pub(crate) fn check_name(kind: &Kind, name: &str, causes: &mut Vec<Cause>) {
    let field = "metadata.name";
    let value = Value::from(name);
    let (fits, rule) = match kind.names {
        Names::Label1035 => (
            is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            LABEL_1035_RULE,
        ),
        Names::Label1123 => (is_label(name), LABEL_RULE),
        Names::Subdomain => (is_subdomain(name), SUBDOMAIN_RULE),
    };
    if name.is_empty() {
        causes.push(Cause::required(field, "name or generateName is required"));
    } else if !fits {
        let long = match kind.names {
            Names::Label1035 | Names::Label1123 if name.len() > LABEL => {
                "must be no more than 63 characters"
            }
            Names::Subdomain if name.len() > SUBDOMAIN => "must be no more than 253 characters",
            _ => rule,
        };
        causes.push(Cause::invalid(field, &value, long));
    }
}

/// What is wrong with labels, at `field`.
pub(crate) fn check_labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (name, value) in labels.as_object().into_iter().flatten() {
        if !is_qualified(name) {
            causes.push(Cause::invalid(field, &Value::from(&**name), QUALIFIED_RULE));
        }
        if !value.as_str().is_some_and(is_label_value) {
            causes.push(Cause::invalid(field, value, LABEL_VALUE_RULE));
        }
    }
}

/// Bytes of all annotations of an object.
const ANNOTATIONS: usize = 256 << 10;

/// What is wrong with annotations.
pub(crate) fn check_annotations(annotations: &Value, causes: &mut Vec<Cause>) {
    let field = "metadata.annotations";
    let mut total = 0;
    for (name, value) in annotations.as_object().into_iter().flatten() {
        if !is_qualified(&name.to_ascii_lowercase()) {
            causes.push(Cause::invalid(field, &Value::from(&**name), QUALIFIED_RULE));
        }
        total += name.len() + value.as_str().unwrap_or_default().len();
    }
    if total > ANNOTATIONS {
        let why = format!("Too long: may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause::forbidden(field, &why));
    }
}

/// A name that begins with `base`.
pub(crate) fn generated(base: &str) -> String {
    let mut base = base;
    while base.len() > LABEL - SUFFIX || !base.is_char_boundary(base.len()) {
        let mut chars = base.chars();
        chars.next_back();
        base = chars.as_str();
    }
    let random: [u8; SUFFIX] = portolan_environment::random_bytes();
    let letters = random.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
    letters.iter().fold(base.to_owned(), |mut name, letter| {
        name.push(*letter);
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{PODS, SERVICES};

    #[test]
    fn names_follow_their_kinds() {
        let rows = [
            (&SERVICES, "web", true),
            (&SERVICES, "1web", false),
            (&SERVICES, "web.x", false),
            (&SERVICES, "Web", false),
            (&PODS, "1web.x", true),
            (&PODS, "web-", false),
            (&PODS, "", false),
        ];
        for (kind, name, fits) in rows {
            let mut causes = Vec::new();
            check_name(kind, name, &mut causes);
            assert_eq!(causes.is_empty(), fits, "{name}");
        }
        let long = "a".repeat(64);
        assert!(is_subdomain(&long) && !is_label(&long) && !is_label_value(&long));
        assert!(
            is_qualified("app.kubernetes.io/name") && !is_qualified("/x") && !is_qualified("a/b/c")
        );
        assert!(is_label_value("") && is_label_value("My_v.1") && !is_label_value("a b"));
    }

    #[test]
    fn made_names_fit_into_a_label() {
        let name = generated(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(is_label(&name));
        assert!(generated("web-").starts_with("web-"));
    }
}
