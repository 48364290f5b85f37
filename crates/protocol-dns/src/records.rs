//! The data of records that several kinds of names have.

use std::net::IpAddr;

use portolan_catalog::{Host, Meta};

use crate::builder::Builder;
use crate::names::Zone;
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{push_name, rtype};

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

/// That the name is another one's: a name has one alias at most (RFC 1034 section 3.6.2); which one is drawn for each reply.
pub(crate) fn aliases<'a>(hosts: impl Iterator<Item = &'a Host>, ttl: u32) -> Template {
    let mut builder = Builder::default().at_most(1);
    let mut names: Vec<&str> = hosts
        .filter_map(|host| match host {
            Host::Name(name) => Some(&**name),
            Host::Ip(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut data = Vec::new();
        if push_name(&mut data, name) {
            builder.answer(rtype::CNAME, ttl, &data);
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
