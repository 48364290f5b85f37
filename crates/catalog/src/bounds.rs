//! Whether the facts of a registration keep within [`limits`](crate::limits).

use crate::instance::Registration;
use crate::limits::*;
use crate::outcome::Refusal;

/// Whether a registration keeps within the bounds.
///
/// # Errors
/// `Limit` with the name of the first bound it exceeds, `Reserved` for names that cannot be used.
pub(crate) fn check(facts: &Registration) -> Result<(), Refusal> {
    let service = &facts.service;
    for part in [service.namespace(), service.group()] {
        if crate::name::reserved(part) {
            return Err(Refusal::Reserved(part.into()));
        }
    }
    if service.name().is_empty() || service.name().contains('\0') {
        return Err(Refusal::Reserved(service.name().into()));
    }
    let meta: usize = facts.meta.iter().map(|(k, v)| k.len() + v.len()).sum();
    let host = if let crate::Host::Name(name) = &facts.endpoint.host {
        name.len()
    } else {
        0
    };
    let bounds = [
        ("service name", service.name().len(), NAME),
        ("group", service.group().len(), NAME),
        ("namespace", service.namespace().len(), NAMESPACE),
        ("instance id", facts.key.id.len(), INSTANCE_ID + RECORD_KEY),
        ("host", host, HOST),
        ("ports", facts.endpoint.ports.len(), PORTS),
        ("tags", facts.tags.len(), TAGS),
        (
            "tag",
            facts.tags.iter().map(|t| t.len()).max().unwrap_or(0),
            TAG,
        ),
        ("metadata pairs", facts.meta.len(), META_PAIRS),
        (
            "metadata key",
            facts.meta.iter().map(|(k, _)| k.len()).max().unwrap_or(0),
            META_KEY,
        ),
        (
            "metadata value",
            facts.meta.iter().map(|(_, v)| v.len()).max().unwrap_or(0),
            META_VALUE,
        ),
        ("metadata", meta, META_TOTAL),
        ("extension", facts.extension.len(), EXTENSION),
    ];
    match bounds.iter().find(|(_, size, most)| size > most) {
        Some((name, ..)) => Err(Refusal::Limit(name)),
        None => Ok(()),
    }
}
