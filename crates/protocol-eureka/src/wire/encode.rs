//! From the types to either spelling: whole documents, and the pieces a long list is put together from.
//!
//! Fields stand in Netflix' order and have Netflix' mixture of numbers and texts.

use super::instance::{DataCenter, Instance, LeaseInfo};
use super::json::JsonWriter;
use super::list::{Application, Applications};
use super::media::{Detail, Format, Shape};
use super::writer::DocumentWriter;
use super::xml::XmlWriter;

/// `/apps/{APP}/{id}` and `/instances/{id}`.
pub fn encode_instance(format: Format, it: &Instance) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536);
    append(&mut out, Shape::new(format, Detail::Full), 0, |writer| {
        writer.open_root("instance");
        fields(writer, it, Detail::Full);
        writer.close_root("instance");
    });
    out
}

/// `/apps/{APP}`.
pub fn encode_application(shape: Shape, application: &Application) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536 * (application.instances.len() + 1));
    append(&mut out, shape, 0, |writer| {
        writer.open_root("application");
        members(writer, application, shape.detail);
        writer.close_root("application");
    });
    out
}

/// `/apps/delta`, `/vips/{vip}`.
pub fn encode_applications(shape: Shape, list: &Applications) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    append(&mut out, shape, 0, |writer| {
        head(writer, shape.detail, &list.version, &list.hashcode);
        items(writer, shape.detail, &list.applications);
        tail(writer, shape.detail, &list.version, &list.hashcode);
    });
    out
}

/// The beginning of a list; [`append_items`] follow, in JSON with commas between.
pub fn append_head(out: &mut Vec<u8>, shape: Shape, version: &str, hashcode: &str) {
    append(out, shape, 0, |writer| {
        head(writer, shape.detail, version, hashcode);
    });
}

/// Neighbouring applications of a list.
pub fn append_items(out: &mut Vec<u8>, shape: Shape, applications: &[Application]) {
    append(out, shape, 1, |writer| {
        items(writer, shape.detail, applications)
    });
}

/// The end of a list.
pub fn append_tail(out: &mut Vec<u8>, shape: Shape, version: &str, hashcode: &str) {
    append(out, shape, 1, |writer| {
        tail(writer, shape.detail, version, hashcode);
    });
}

/// Writes `body` at the end of `out` with the writer of a shape; `depth` elements of XML are open.
pub fn append(
    out: &mut Vec<u8>,
    shape: Shape,
    depth: usize,
    body: impl FnOnce(&mut dyn DocumentWriter),
) {
    match shape.format {
        Format::Json => body(&mut JsonWriter::new(out)),
        Format::Xml => body(&mut XmlWriter::new(out, shape.detail, depth)),
    }
}

fn head(writer: &mut dyn DocumentWriter, detail: Detail, version: &str, hashcode: &str) {
    writer.open_root("applications");
    if detail == Detail::Full {
        marks(writer, version, hashcode);
    }
    writer.open_list("application");
}

fn items(writer: &mut dyn DocumentWriter, detail: Detail, applications: &[Application]) {
    for application in applications {
        writer.open_item("application");
        members(writer, application, detail);
        writer.close_item("application");
    }
}

/// The compact form names version and hash code last.
fn tail(writer: &mut dyn DocumentWriter, detail: Detail, version: &str, hashcode: &str) {
    writer.close_list();
    if detail == Detail::Compact {
        marks(writer, version, hashcode);
    }
    writer.close_root("applications");
}

/// The names have doubled underscores in JSON too: XStream's escape, which clients have come to expect.
fn marks(writer: &mut dyn DocumentWriter, version: &str, hashcode: &str) {
    writer.text("versions__delta", version);
    writer.text("apps__hashcode", hashcode);
}

fn members(writer: &mut dyn DocumentWriter, application: &Application, detail: Detail) {
    writer.text("name", &application.name);
    writer.open_list("instance");
    for it in &application.instances {
        writer.open_item("instance");
        fields(writer, it, detail);
        writer.close_item("instance");
    }
    writer.close_list();
}

fn fields(writer: &mut dyn DocumentWriter, it: &Instance, detail: Detail) {
    match detail {
        Detail::Full => full(writer, it),
        Detail::Compact => compact(writer, it),
    }
}

fn full(writer: &mut dyn DocumentWriter, it: &Instance) {
    writer.optional("instanceId", it.instance_id.as_deref());
    writer.text("hostName", &it.host_name);
    writer.text("app", &it.app);
    writer.text("ipAddr", &it.ip_addr);
    writer.optional("sid", it.sid.as_deref());
    writer.text("status", it.status.as_str());
    let overridden = writer.either("overriddenStatus", "overriddenstatus");
    writer.text(overridden, it.overridden.as_str());
    writer.port("port", it.port);
    writer.port("securePort", it.secure_port);
    writer.number("countryId", it.country_id);
    data_center(writer, it.data_center.as_ref());
    lease(writer, &it.lease);
    writer.pairs("metadata", &it.metadata);
    writer.optional("appGroupName", it.app_group.as_deref());
    writer.optional("homePageUrl", it.home_page_url.as_deref());
    writer.optional("statusPageUrl", it.status_page_url.as_deref());
    writer.optional("healthCheckUrl", it.health_check_url.as_deref());
    writer.optional(
        "secureHealthCheckUrl",
        it.secure_health_check_url.as_deref(),
    );
    writer.optional("vipAddress", it.vip_address.as_deref());
    writer.optional("secureVipAddress", it.secure_vip_address.as_deref());
    let coordinating = if it.coordinating { "true" } else { "false" };
    writer.text("isCoordinatingDiscoveryServer", coordinating);
    writer.quoted("lastUpdatedTimestamp", it.updated_at);
    writer.quoted("lastDirtyTimestamp", it.dirty_at.unwrap_or(it.updated_at));
    writer.text("actionType", it.action.as_str());
    writer.optional("asgName", it.asg_name.as_deref());
}

fn compact(writer: &mut dyn DocumentWriter, it: &Instance) {
    writer.optional("instanceId", it.instance_id.as_deref());
    writer.text("app", &it.app);
    writer.text("ipAddr", &it.ip_addr);
    writer.optional("vipAddress", it.vip_address.as_deref());
    writer.optional("secureVipAddress", it.secure_vip_address.as_deref());
    data_center(writer, it.data_center.as_ref());
    writer.text("hostName", &it.host_name);
    writer.text("status", it.status.as_str());
    writer.number("lastUpdatedTimestamp", it.updated_at);
    writer.text("actionType", it.action.as_str());
    writer.optional("asgName", it.asg_name.as_deref());
    writer.port("port", it.port);
    writer.port("securePort", it.secure_port);
}

fn lease(writer: &mut dyn DocumentWriter, it: &LeaseInfo) {
    writer.open("leaseInfo", None);
    writer.number("renewalIntervalInSecs", it.renewal_interval_secs);
    writer.number("durationInSecs", it.duration_secs);
    writer.number("registrationTimestamp", it.registered_at);
    writer.number("lastRenewalTimestamp", it.renewed_at);
    writer.number("evictionTimestamp", it.evicted_at);
    writer.number("serviceUpTimestamp", it.up_at);
    writer.close("leaseInfo");
}

fn data_center(writer: &mut dyn DocumentWriter, it: Option<&DataCenter>) {
    let Some((center, name)) = it.and_then(|center| Some((center, center.name?))) else {
        return;
    };
    writer.open("dataCenterInfo", Some(name.class()));
    writer.text("name", name.as_str());
    if !center.metadata.is_empty() {
        writer.pairs("metadata", &center.metadata);
    }
    writer.close("dataCenterInfo");
}
