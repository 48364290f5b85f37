//! Writing XML as XStream's pretty printer does: two spaces a level, no declaration, an element without a value as
//! `<a/>`, one with an empty value as `<a></a>`. The compact form is written without white space.

use std::collections::BTreeMap;

use super::instance::{DataCenter, Instance, Port};
use super::media::Detail;
use super::name;

/// One instance as an item of an application at `depth` (0: the instance is the root).
pub fn instance(out: &mut Vec<u8>, it: &Instance, detail: Detail, depth: usize) {
    let mut xml = Writer::new(out, detail, depth);
    xml.open("instance", &[]);
    match detail {
        Detail::Full => full(&mut xml, it),
        Detail::Compact => compact(&mut xml, it),
    }
    xml.close("instance");
}

/// One instance as a document of its own.
pub fn instance_root(out: &mut Vec<u8>, it: &Instance) {
    instance(out, it, Detail::Full, 0);
}

/// Begins an application at `depth`.
pub fn application_open(out: &mut Vec<u8>, name: &str, detail: Detail, depth: usize) {
    let mut xml = Writer::new(out, detail, depth);
    xml.open("application", &[]);
    xml.leaf("name", name);
}

/// Ends an application at `depth`.
pub fn application_close(out: &mut Vec<u8>, detail: Detail, depth: usize) {
    Writer::new(out, detail, depth + 1).close("application");
}

/// Begins a list.
pub fn list_open(out: &mut Vec<u8>, version: &str, hashcode: &str, detail: Detail) {
    let mut xml = Writer::new(out, detail, 0);
    xml.open("applications", &[]);
    if detail == Detail::Full {
        xml.leaf("versions__delta", version);
        xml.leaf("apps__hashcode", hashcode);
    }
}

/// Ends a list. The compact form names version and hash code last.
pub fn list_close(out: &mut Vec<u8>, version: &str, hashcode: &str, detail: Detail) {
    let mut xml = Writer::new(out, detail, 1);
    if detail == Detail::Compact {
        xml.leaf("versions__delta", version);
        xml.leaf("apps__hashcode", hashcode);
    }
    xml.close("applications");
}

fn full(xml: &mut Writer<'_>, it: &Instance) {
    xml.optional("instanceId", it.instance_id.as_deref());
    xml.leaf("hostName", &it.host_name);
    xml.leaf("app", &it.app);
    xml.leaf("ipAddr", &it.ip_addr);
    xml.optional("sid", it.sid.as_deref());
    xml.leaf("status", it.status.as_str());
    xml.leaf("overriddenstatus", it.overridden.as_str());
    xml.port("port", it.port);
    xml.port("securePort", it.secure_port);
    xml.number("countryId", it.country_id);
    xml.data_center(it.data_center.as_ref());
    xml.open("leaseInfo", &[]);
    xml.number("renewalIntervalInSecs", it.lease.renewal_interval_secs);
    xml.number("durationInSecs", it.lease.duration_secs);
    xml.number("registrationTimestamp", it.lease.registered_at);
    xml.number("lastRenewalTimestamp", it.lease.renewed_at);
    xml.number("evictionTimestamp", it.lease.evicted_at);
    xml.number("serviceUpTimestamp", it.lease.up_at);
    xml.close("leaseInfo");
    if it.metadata.is_empty() {
        xml.empty("metadata", &[("class", "java.util.Collections$EmptyMap")]);
    } else {
        xml.pairs("metadata", &it.metadata);
    }
    xml.optional("appGroupName", it.app_group.as_deref());
    xml.optional("homePageUrl", it.home_page_url.as_deref());
    xml.optional("statusPageUrl", it.status_page_url.as_deref());
    xml.optional("healthCheckUrl", it.health_check_url.as_deref());
    xml.optional(
        "secureHealthCheckUrl",
        it.secure_health_check_url.as_deref(),
    );
    xml.optional("vipAddress", it.vip_address.as_deref());
    xml.optional("secureVipAddress", it.secure_vip_address.as_deref());
    let coordinating = if it.coordinating { "true" } else { "false" };
    xml.leaf("isCoordinatingDiscoveryServer", coordinating);
    xml.number("lastUpdatedTimestamp", it.updated_at);
    xml.number("lastDirtyTimestamp", it.dirty_at.unwrap_or(it.updated_at));
    xml.leaf("actionType", it.action.as_str());
    xml.optional("asgName", it.asg_name.as_deref());
}

fn compact(xml: &mut Writer<'_>, it: &Instance) {
    xml.optional("instanceId", it.instance_id.as_deref());
    xml.leaf("app", &it.app);
    xml.leaf("ipAddr", &it.ip_addr);
    xml.optional("vipAddress", it.vip_address.as_deref());
    xml.optional("secureVipAddress", it.secure_vip_address.as_deref());
    xml.data_center(it.data_center.as_ref());
    xml.leaf("hostName", &it.host_name);
    xml.leaf("status", it.status.as_str());
    xml.number("lastUpdatedTimestamp", it.updated_at);
    xml.leaf("actionType", it.action.as_str());
    xml.optional("asgName", it.asg_name.as_deref());
    xml.port("port", it.port);
    xml.port("securePort", it.secure_port);
}

/// Elements being written at some depth.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    pretty: bool,
    depth: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, detail: Detail, depth: usize) -> Writer<'a> {
        let pretty = detail == Detail::Full;
        Writer { out, pretty, depth }
    }

    fn indent(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            for _ in 0..self.depth {
                self.out.extend_from_slice(b"  ");
            }
        }
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        // The root is the document's first byte.
        if self.depth > 0 {
            self.indent();
        }
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        for (key, value) in attributes {
            self.out.push(b' ');
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"=\"");
            text(self.out, value);
            self.out.push(b'"');
        }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push(b'>');
        self.depth += 1;
    }

    fn end(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    fn close(&mut self, name: &str) {
        self.depth -= 1;
        self.indent();
        self.end(name);
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.extend_from_slice(b"/>");
    }

    fn leaf(&mut self, name: &str, value: &str) {
        self.start(name, &[]);
        self.out.push(b'>');
        text(self.out, value);
        self.end(name);
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    fn number(&mut self, name: &str, value: i64) {
        self.leaf(name, &value.to_string());
    }

    fn port(&mut self, name: &str, port: Port) {
        let enabled = if port.enabled { "true" } else { "false" };
        self.start(name, &[("enabled", enabled)]);
        self.out.push(b'>');
        self.out
            .extend_from_slice(port.number.to_string().as_bytes());
        self.end(name);
    }

    fn data_center(&mut self, it: Option<&DataCenter>) {
        let Some((center, name)) = it.and_then(|c| c.name.map(|name| (c, name))) else {
            return;
        };
        self.open("dataCenterInfo", &[("class", name.class())]);
        self.leaf("name", name.as_str());
        if !center.metadata.is_empty() {
            self.pairs("metadata", &center.metadata);
        }
        self.close("dataCenterInfo");
    }

    fn pairs(&mut self, name: &str, pairs: &BTreeMap<String, String>) {
        self.open(name, &[]);
        for (key, value) in pairs {
            self.leaf(&name::escape(key), value);
        }
        self.close(name);
    }
}

/// Writes text with XML's five escapes. Characters XML 1.0 cannot hold become U+FFFD.
pub fn text(out: &mut Vec<u8>, value: &str) {
    let mut from = 0;
    for (at, c) in value.char_indices() {
        let escape = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&apos;",
            '\r' => "&#xd;",
            '\t' | '\n' => continue,
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => "\u{FFFD}",
            _ => continue,
        };
        out.extend_from_slice(&value.as_bytes()[from..at]);
        out.extend_from_slice(escape.as_bytes());
        from = at + c.len_utf8();
    }
    out.extend_from_slice(&value.as_bytes()[from..]);
}
