//! What a node can be called: names, ids and metadata.

use std::collections::BTreeMap;

/// A name that a node can have.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        return Err(format!(
            "{text:?} cannot be a node's name; use 1 to 128 bytes"
        ));
    }
    if name.to_ascii_lowercase().ends_with(".virtual") {
        return Err(format!(
            "{text:?} cannot be used: names that end in \".virtual\" are taken"
        ));
    }
    Ok(name.to_owned())
}

/// A node's id: a UUID, as Consul wants it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn id(text: &str) -> Result<String, String> {
    let id = uuid::Uuid::try_parse(text.trim());
    let id = id.map_err(|_| format!("{text:?} is not a UUID, which a node's id has to be"))?;
    Ok(id.to_string())
}

/// Takes one `KEY=VALUE`, or `KEY:VALUE` as Consul writes it, within Consul's bounds.
pub(super) fn add_metadata(
    metadata: &mut BTreeMap<String, String>,
    text: &str,
) -> Result<(), String> {
    let (key, value) = text
        .split_once(['=', ':'])
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as rack=r1"))?;
    let (key, value) = (key.trim(), value.trim());
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if key.is_empty() || key.len() > 128 || !key.chars().all(good) {
        return Err(format!(
            "{key:?} cannot be a key of metadata; use letters, digits, - and _, at most 128 of them"
        ));
    }
    if key.starts_with("consul-") {
        return Err(format!(
            "{key:?} cannot be used: keys that begin with consul- are taken"
        ));
    }
    if value.len() > 512 {
        return Err(format!("the value of {key:?} is longer than 512 bytes"));
    }
    metadata.insert(key.to_owned(), value.to_owned());
    if metadata.len() > 62 {
        return Err("a node cannot have more than 62 pairs of metadata of its own".to_owned());
    }
    Ok(())
}
