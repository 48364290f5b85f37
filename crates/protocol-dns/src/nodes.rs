//! Names of nodes and of addresses in Consul's domain.

use std::net::IpAddr;

use portolan_catalog::{Host, Meta, NodeName};

use crate::builder::{Builder, nothing};
use crate::dependency::Dependency;
use crate::found::{Found, Question, Reader};
use crate::records::{address_data, aliases, meta_texts};
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, rtype};

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
