//! Writing JSON: Netflix' field order, Netflix' mixture of numbers and strings.

use std::collections::BTreeMap;

use super::instance::{DataCenter, Instance, Port};
use super::media::Detail;

/// One instance, without the `instance` wrapper.
pub fn instance(out: &mut Vec<u8>, it: &Instance, detail: Detail) {
    let mut object = Object::open(out);
    match detail {
        Detail::Full => full(&mut object, it),
        Detail::Compact => compact(&mut object, it),
    }
    object.close();
}

/// One instance with its wrapper, as `/instances/{id}` answers it.
pub fn instance_root(out: &mut Vec<u8>, it: &Instance) {
    out.extend_from_slice(b"{\"instance\":");
    instance(out, it, Detail::Full);
    out.push(b'}');
}

/// Begins an application; its instances follow, separated by commas.
pub fn application_open(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"{\"name\":");
    string(out, name);
    out.extend_from_slice(b",\"instance\":[");
}

/// Ends an application.
pub fn application_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

/// Begins a list; its applications follow, separated by commas.
pub fn list_open(out: &mut Vec<u8>, version: &str, hashcode: &str, detail: Detail) {
    out.extend_from_slice(b"{\"applications\":{");
    if detail == Detail::Full {
        list_marks(out, version, hashcode);
        out.push(b',');
    }
    out.extend_from_slice(b"\"application\":[");
}

/// Ends a list. The compact form names version and hash code last.
pub fn list_close(out: &mut Vec<u8>, version: &str, hashcode: &str, detail: Detail) {
    out.push(b']');
    if detail == Detail::Compact {
        out.push(b',');
        list_marks(out, version, hashcode);
    }
    out.extend_from_slice(b"}}");
}

fn list_marks(out: &mut Vec<u8>, version: &str, hashcode: &str) {
    out.extend_from_slice(b"\"versions__delta\":");
    string(out, version);
    out.extend_from_slice(b",\"apps__hashcode\":");
    string(out, hashcode);
}

fn full(object: &mut Object<'_>, it: &Instance) {
    object.optional("instanceId", it.instance_id.as_deref());
    object.text("hostName", &it.host_name);
    object.text("app", &it.app);
    object.text("ipAddr", &it.ip_addr);
    object.optional("sid", it.sid.as_deref());
    object.text("status", it.status.as_str());
    object.text("overriddenStatus", it.overridden.as_str());
    object.port("port", it.port);
    object.port("securePort", it.secure_port);
    object.number("countryId", it.country_id);
    object.data_center(it.data_center.as_ref());
    let lease = object.key("leaseInfo");
    let mut inner = Object::open(lease);
    inner.number("renewalIntervalInSecs", it.lease.renewal_interval_secs);
    inner.number("durationInSecs", it.lease.duration_secs);
    inner.number("registrationTimestamp", it.lease.registered_at);
    inner.number("lastRenewalTimestamp", it.lease.renewed_at);
    inner.number("evictionTimestamp", it.lease.evicted_at);
    inner.number("serviceUpTimestamp", it.lease.up_at);
    inner.close();
    if it.metadata.is_empty() {
        let out = object.key("metadata");
        out.extend_from_slice(br#"{"@class":"java.util.Collections$EmptyMap"}"#);
    } else {
        object.pairs("metadata", &it.metadata);
    }
    object.optional("appGroupName", it.app_group.as_deref());
    object.optional("homePageUrl", it.home_page_url.as_deref());
    object.optional("statusPageUrl", it.status_page_url.as_deref());
    object.optional("healthCheckUrl", it.health_check_url.as_deref());
    object.optional(
        "secureHealthCheckUrl",
        it.secure_health_check_url.as_deref(),
    );
    object.optional("vipAddress", it.vip_address.as_deref());
    object.optional("secureVipAddress", it.secure_vip_address.as_deref());
    let coordinating = if it.coordinating { "true" } else { "false" };
    object.text("isCoordinatingDiscoveryServer", coordinating);
    object.quoted("lastUpdatedTimestamp", it.updated_at);
    object.quoted("lastDirtyTimestamp", it.dirty_at.unwrap_or(it.updated_at));
    object.text("actionType", it.action.as_str());
    object.optional("asgName", it.asg_name.as_deref());
}

fn compact(object: &mut Object<'_>, it: &Instance) {
    object.optional("instanceId", it.instance_id.as_deref());
    object.text("app", &it.app);
    object.text("ipAddr", &it.ip_addr);
    object.optional("vipAddress", it.vip_address.as_deref());
    object.optional("secureVipAddress", it.secure_vip_address.as_deref());
    object.data_center(it.data_center.as_ref());
    object.text("hostName", &it.host_name);
    object.text("status", it.status.as_str());
    object.number("lastUpdatedTimestamp", it.updated_at);
    object.text("actionType", it.action.as_str());
    object.optional("asgName", it.asg_name.as_deref());
    object.port("port", it.port);
    object.port("securePort", it.secure_port);
}

/// A JSON object being written: keeps the commas.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, first: true }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    /// Writes a key of ours (no escaping needed) and hands out the place of its value.
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn text(&mut self, key: &'static str, value: &str) {
        string(self.key(key), value);
    }

    fn optional(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &'static str, value: i64) {
        decimal(self.key(key), value);
    }

    fn quoted(&mut self, key: &'static str, value: i64) {
        let out = self.key(key);
        out.push(b'"');
        decimal(out, value);
        out.push(b'"');
    }

    fn port(&mut self, key: &'static str, port: Port) {
        let out = self.key(key);
        out.extend_from_slice(b"{\"$\":");
        decimal(out, i64::from(port.number));
        out.extend_from_slice(if port.enabled {
            b",\"@enabled\":\"true\"}".as_slice()
        } else {
            b",\"@enabled\":\"false\"}".as_slice()
        });
    }

    fn data_center(&mut self, it: Option<&DataCenter>) {
        let Some((center, name)) = it.and_then(|c| c.name.map(|name| (c, name))) else {
            return;
        };
        let out = self.key("dataCenterInfo");
        let mut inner = Object::open(out);
        inner.text("@class", name.class());
        inner.text("name", name.as_str());
        if !center.metadata.is_empty() {
            inner.pairs("metadata", &center.metadata);
        }
        inner.close();
    }

    fn pairs(&mut self, key: &'static str, pairs: &BTreeMap<String, String>) {
        let out = self.key(key);
        out.push(b'{');
        for (i, (key, value)) in pairs.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            string(out, key);
            out.push(b':');
            string(out, value);
        }
        out.push(b'}');
    }
}

fn decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// Writes a JSON string with its quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&value.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&value.as_bytes()[from..]);
    out.push(b'"');
}
