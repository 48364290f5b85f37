//! Node bodies to the catalog's nodes.

use super::valid::invalid_meta;
use crate::error::Failure;
use crate::wire::NodeBody;
use portolan_catalog::{Host, Locality, Meta, NodeFacts};
use std::sync::Arc;

/// Why a node is not taken, in the words of Consul's servers: it has no name, or an id that is no UUID.
pub(crate) fn refused_node(name: &str, id: &str) -> Option<&'static str> {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    if name.is_empty() {
        Some("Must provide node")
    } else if id.is_empty() {
        None
    } else if id.len() != 36 {
        Some("Bad node ID: uuid string is wrong length")
    } else {
        let well_formed = id.bytes().enumerate().all(|(at, byte)| {
            if is_dash(at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
        (!well_formed).then_some("Bad node ID: uuid is improperly formatted")
    }
}

/// The facts of a node as sent; the lease of the node that is there stays.
///
/// # Errors
/// 400 for names and metadata that cannot be kept.
pub(crate) fn node_facts(body: &NodeBody, known: Option<&NodeFacts>) -> Result<NodeFacts, Failure> {
    if body.name.contains(['/', '\0']) {
        return Err(Failure::bad(format!(
            "Invalid node name {:?}: it holds a slash or a NUL byte",
            body.name
        )));
    }
    if let Some(why) = invalid_meta(&body.meta).filter(|why| !why.contains("'consul-")) {
        return Err(Failure::bad(format!("Invalid Node Meta: {why}")));
    }
    let mut facts = NodeFacts::new(&body.name, Host::new(&body.address));
    facts.id = body.id.to_ascii_lowercase().into();
    if let Some(known) = known {
        facts.spelling = known.spelling.clone();
        facts.lease = known.lease.clone();
        if facts.id.is_empty() {
            facts.id = known.id.clone();
        }
    }
    facts.tagged_addresses = body
        .tagged_addresses
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect::<Meta>();
    facts.meta = body
        .meta
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect::<Meta>();
    facts.locality = body.locality.as_ref().map(|(region, zone)| {
        Arc::new(Locality {
            region: region.as_str().into(),
            zone: zone.as_str().into(),
        })
    });
    Ok(facts)
}
