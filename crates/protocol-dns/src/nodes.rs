//! Names of nodes and of addresses in Consul's domain.

use std::net::IpAddr;

use portolan_catalog::{Host, Meta, NodeName};

use crate::builder::{Builder, nothing};
use crate::dependency::Dependency;
use crate::names::Zone;
use crate::read::{Found, Question, Reader};
use crate::services::aliases;
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, rtype};

/// The name of a node in an answer about `zone`.
pub(crate) fn node_name(settings: &Settings, zone: Zone, node: &str) -> String {
    let zones = &settings.zones;
    let domain = zones.domain(zone);
    format!("{node}.node.{}.{domain}", zones.datacenter)
}

/// Type and data of an address record.
pub(crate) fn address_data(ip: IpAddr) -> (u16, Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => (rtype::A, v4.octets().to_vec()),
        IpAddr::V6(v6) => (rtype::AAAA, v6.octets().to_vec()),
    }
}

/// Works out the answer to a question about a node.
pub(crate) fn resolve(reader: &Reader<'_>, question: Question<'_>, name: &str) -> Found {
    let (state, settings, qtype) = (reader.state, reader.settings, question.qtype);
    let name = NodeName::new(name);
    if name.is_virtual() {
        // A virtual node is where instances without a node are; its address is theirs.
        let Some(instance) = state.instances_on(&name).next() else {
            return Found::passing(nothing(Rcode::NxDomain));
        };
        return Found::passing(node_records(
            settings,
            instance.host(),
            &Meta::default(),
            qtype,
        ));
    }
    match state.node(&name) {
        Some(node) => {
            let template = node_records(settings, &node.address, &node.meta, qtype);
            Found::new(template, Dependency::Node(name, node.modified))
        }
        None if reader.indexes.nodes.are_below(state, name.as_str()) => {
            Found::passing(nothing(Rcode::NoError))
        }
        None => Found::passing(nothing(Rcode::NxDomain)),
    }
}

fn node_records(settings: &Settings, address: &Host, meta: &Meta, qtype: u16) -> Template {
    let ttl = settings.node_ttl;
    let mut builder = Builder::default();
    match address {
        Host::Ip(ip) => {
            let (kind, data) = address_data(*ip);
            if qtype == kind || qtype == rtype::ANY {
                builder.answer(kind, ttl, &data);
            }
            if qtype == kind && settings.node_meta_txt {
                for text in meta_texts(meta) {
                    builder.extra(rtype::TXT, ttl, &text);
                }
            }
        }
        // Consul gives the metadata all the same.
        Host::Name(_) if qtype == rtype::TXT => {}
        Host::Name(_) => return aliases(std::iter::once(address), ttl),
    }
    if matches!(qtype, rtype::TXT | rtype::ANY) {
        for text in meta_texts(meta) {
            builder.answer(rtype::TXT, ttl, &text);
        }
    }
    builder.finish()
}

/// TXT data for each pair of a node's metadata: `key=value` in the manner of RFC 1464; a key that begins with `rfc1035-` stands for its
/// value alone.
pub(crate) fn meta_texts(meta: &Meta) -> impl Iterator<Item = Vec<u8>> {
    meta.iter().map(|(key, value)| {
        if key.to_ascii_lowercase().starts_with("rfc1035-") {
            return text_data(value);
        }
        let middle = key.trim_matches(' ');
        let lead = key.len() - key.trim_start_matches(' ').len();
        let trail = if middle.is_empty() {
            0
        } else {
            key.len() - key.trim_end_matches(' ').len()
        };
        let mut text = "` ".repeat(lead);
        text.push_str(&middle.replace('`', "``").replace('=', "`="));
        text.push_str(&"` ".repeat(trail));
        text.push('=');
        text.push_str(&value.replace('`', "``"));
        text_data(&text)
    })
}

/// A text as strings of at most 255 bytes, each behind its length.
pub(crate) fn text_data(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return vec![0];
    }
    let mut data = Vec::with_capacity(text.len() + 1 + text.len() / 255);
    for part in text.as_bytes().chunks(255) {
        data.push(part.len() as u8);
        data.extend_from_slice(part);
    }
    data
}

/// The address that a name below `addr` spells.
pub(crate) fn address(settings: &Settings, ip: IpAddr, qtype: u16) -> Template {
    let mut builder = Builder::default();
    let (kind, data) = address_data(ip);
    if qtype == kind || qtype == rtype::ANY {
        builder.answer(kind, settings.node_ttl, &data);
    } else {
        // The name exists and has one address; whoever asks for the other family is told.
        builder.extra(kind, settings.node_ttl, &data);
    }
    builder.finish()
}
