//! Names: folding, the flat form for protocols without groups, DNS labels.
//!
//! Folding is ASCII only: Unicode tables differ between compiler versions, and so would replicas.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::{DEFAULT, ServiceKey};

pub use crate::ids::fold;

/// Why a namespace or group cannot be used, if so: such names would make the flat form ambiguous.
pub fn reserved(part: &str) -> bool {
    part.starts_with('-') || part.ends_with('-') || part.contains("--") || part.contains('\0')
}

/// One name for protocols without groups and namespaces: `name`, `name--group` or `name--group--namespace`.
///
/// The short form is used unless it would be read as another key; [`read_flat`] is the inverse.
pub fn flat(key: &ServiceKey) -> String {
    flat_spelled(key, key.name())
}

/// [`flat`] with the name in a chosen spelling.
pub fn flat_spelled(key: &ServiceKey, spelling: &str) -> String {
    let short = short(key, spelling);
    if read_flat(&short) == *key {
        short
    } else {
        long(key, spelling)
    }
}

fn short(key: &ServiceKey, spelling: &str) -> String {
    match (key.namespace(), key.group()) {
        (DEFAULT, DEFAULT) => spelling.to_owned(),
        (DEFAULT, group) => format!("{spelling}--{group}"),
        _ => long(key, spelling),
    }
}

fn long(key: &ServiceKey, spelling: &str) -> String {
    format!("{spelling}--{}--{}", key.group(), key.namespace())
}

/// The key a flat name stands for.
///
/// With one `--` it is split there, with more at the last two. If a part is empty, or writing the parts again does not
/// give the same string, the whole string is the name in the default group and namespace.
pub fn read_flat(text: &str) -> ServiceKey {
    let whole = || ServiceKey::plain(text);
    if !text.contains("--") {
        return whole();
    }
    let folded = text.to_ascii_lowercase();
    let Some(key) = parts(&folded) else {
        return whole();
    };
    // The long form is written only where the short one, which is shorter than this text, is read as something else.
    let needed = || folded == long(&key, key.name()) && read_flat(&short(&key, key.name())) != key;
    if folded == short(&key, key.name()) || needed() {
        key
    } else {
        whole()
    }
}

/// The parts between the last two `--`, if all of them can be parts.
fn parts(text: &str) -> Option<ServiceKey> {
    let (rest, last) = text.rsplit_once("--")?;
    let (namespace, group, name) = match rest.rsplit_once("--") {
        Some((name, group)) => (last, group, name),
        None => (DEFAULT, last, rest),
    };
    let odd = |s: &str| s.is_empty() || reserved(s);
    let usable = !name.is_empty() && !odd(group) && !odd(namespace);
    usable.then(|| ServiceKey::new(namespace, group, name))
}

impl fmt::Display for ServiceKey {
    /// The flat name, see [`flat`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&flat(self))
    }
}

/// A DNS label for a flat name without namespace: lower case, other characters become `-`, at most 63.
pub fn label(key: &ServiceKey) -> String {
    let flat = flat(&ServiceKey::new(DEFAULT, key.group(), key.name()));
    let mapped: String = flat
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let mut label = mapped.trim_matches('-').to_owned();
    if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "s-");
    }
    label.truncate(63);
    label.trim_end_matches('-').to_owned()
}

/// The label to use when [`label`] is taken by another service: cut to 57 and marked with five digits of a hash of the key.
pub fn label_taken(key: &ServiceKey) -> String {
    let mut label = label(key);
    label.truncate(57);
    let digest = Sha256::digest(format!(
        "{}\0{}\0{}",
        key.namespace(),
        key.group(),
        key.name()
    ));
    format!(
        "{}-{:02x}{:02x}{:x}",
        label.trim_end_matches('-'),
        digest[0],
        digest[1],
        digest[2] >> 4
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flat_names_of_the_documentation() {
        let rows = [
            (("default", "default", "web"), "web"),
            (("default", "DEV", "Order-Service"), "order-service--dev"),
            (("prod", "DEV", "Order-Service"), "order-service--dev--prod"),
            (("prod", "default", "web"), "web--default--prod"),
        ];
        for ((namespace, group, name), expected) in rows {
            let key = ServiceKey::new(namespace, group, name);
            assert_eq!(flat(&key), expected);
            assert_eq!(read_flat(expected), key, "{expected}");
        }
        assert_eq!(read_flat("a--b").group(), "b");
        assert_eq!(read_flat("--b"), ServiceKey::plain("--b"));
    }

    fn pieces(most: usize) -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec!["a", "-", "--", "b", "default"]);
        prop::collection::vec(piece, 1..=most).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn reading_what_was_written_gives_the_key_back(
            name in pieces(5),
            group in pieces(3).prop_filter("reserved", |s| !reserved(s)),
            namespace in pieces(3).prop_filter("reserved", |s| !reserved(s)),
        ) {
            let key = ServiceKey::new(&namespace, &group, &name);
            prop_assert_eq!(read_flat(&flat(&key)), key);
        }

        #[test]
        fn writing_what_was_read_gives_the_string_back(text in pieces(7)) {
            prop_assert_eq!(flat(&read_flat(&text)), text);
        }
    }

    #[test]
    fn labels_are_labels() {
        let rows = [
            ("web", "web"),
            ("com.foo.Bar", "com-foo-bar"),
            ("9lives", "s-9lives"),
            ("---", "s-"),
        ];
        for (name, expected) in rows {
            assert_eq!(
                label(&ServiceKey::plain(name)),
                expected.trim_end_matches('-')
            );
        }
        assert!(label(&ServiceKey::plain(&"x".repeat(80))).len() <= 63);
        assert!(label_taken(&ServiceKey::plain("web")).starts_with("web-"));
    }
}
