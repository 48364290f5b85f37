//! From the types to either spelling: whole documents, and the pieces a long list is put together from.
//!
//! Fields stand in Netflix' order and have Netflix' mixture of numbers and texts.

use super::instance::{DataCenter, Instance, LeaseInfo};
use super::json::JsonPen;
use super::list::{Application, Applications};
use super::media::{Detail, Format, Shape};
use super::pen::Pen;
use super::xml::XmlPen;

/// `/apps/{APP}/{id}` and `/instances/{id}`.
pub fn encode_instance(format: Format, it: &Instance) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536);
    append(&mut out, Shape::new(format, Detail::Full), 0, |pen| {
        pen.open_root("instance");
        fields(pen, it, Detail::Full);
        pen.close_root("instance");
    });
    out
}

/// `/apps/{APP}`.
pub fn encode_application(shape: Shape, application: &Application) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536 * (application.instances.len() + 1));
    append(&mut out, shape, 0, |pen| {
        pen.open_root("application");
        members(pen, application, shape.detail);
        pen.close_root("application");
    });
    out
}

/// `/apps/delta`, `/vips/{vip}`.
pub fn encode_applications(shape: Shape, list: &Applications) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    append(&mut out, shape, 0, |pen| {
        head(pen, shape.detail, &list.version, &list.hashcode);
        items(pen, shape.detail, &list.applications);
        tail(pen, shape.detail, &list.version, &list.hashcode);
    });
    out
}

/// The beginning of a list; [`append_items`] follow, in JSON with commas between.
pub fn append_head(out: &mut Vec<u8>, shape: Shape, version: &str, hashcode: &str) {
    append(out, shape, 0, |pen| {
        head(pen, shape.detail, version, hashcode);
    });
}

/// Neighbouring applications of a list.
pub fn append_items(out: &mut Vec<u8>, shape: Shape, applications: &[Application]) {
    append(out, shape, 1, |pen| items(pen, shape.detail, applications));
}

/// The end of a list.
pub fn append_tail(out: &mut Vec<u8>, shape: Shape, version: &str, hashcode: &str) {
    append(out, shape, 1, |pen| {
        tail(pen, shape.detail, version, hashcode);
    });
}

/// Writes `body` at the end of `out` with the pen of a shape; `depth` elements of XML are open.
pub fn append(out: &mut Vec<u8>, shape: Shape, depth: usize, body: impl FnOnce(&mut dyn Pen)) {
    match shape.format {
        Format::Json => body(&mut JsonPen::new(out)),
        Format::Xml => body(&mut XmlPen::new(out, shape.detail, depth)),
    }
}

fn head(pen: &mut dyn Pen, detail: Detail, version: &str, hashcode: &str) {
    pen.open_root("applications");
    if detail == Detail::Full {
        marks(pen, version, hashcode);
    }
    pen.open_list("application");
}

fn items(pen: &mut dyn Pen, detail: Detail, applications: &[Application]) {
    for application in applications {
        pen.open_item("application");
        members(pen, application, detail);
        pen.close_item("application");
    }
}

/// The compact form names version and hash code last.
fn tail(pen: &mut dyn Pen, detail: Detail, version: &str, hashcode: &str) {
    pen.close_list();
    if detail == Detail::Compact {
        marks(pen, version, hashcode);
    }
    pen.close_root("applications");
}

/// The names have doubled underscores in JSON too: XStream's escape, which clients have come to expect.
fn marks(pen: &mut dyn Pen, version: &str, hashcode: &str) {
    pen.text("versions__delta", version);
    pen.text("apps__hashcode", hashcode);
}

fn members(pen: &mut dyn Pen, application: &Application, detail: Detail) {
    pen.text("name", &application.name);
    pen.open_list("instance");
    for it in &application.instances {
        pen.open_item("instance");
        fields(pen, it, detail);
        pen.close_item("instance");
    }
    pen.close_list();
}

fn fields(pen: &mut dyn Pen, it: &Instance, detail: Detail) {
    match detail {
        Detail::Full => full(pen, it),
        Detail::Compact => compact(pen, it),
    }
}

fn full(pen: &mut dyn Pen, it: &Instance) {
    pen.optional("instanceId", it.instance_id.as_deref());
    pen.text("hostName", &it.host_name);
    pen.text("app", &it.app);
    pen.text("ipAddr", &it.ip_addr);
    pen.optional("sid", it.sid.as_deref());
    pen.text("status", it.status.as_str());
    let overridden = pen.either("overriddenStatus", "overriddenstatus");
    pen.text(overridden, it.overridden.as_str());
    pen.port("port", it.port);
    pen.port("securePort", it.secure_port);
    pen.number("countryId", it.country_id);
    data_center(pen, it.data_center.as_ref());
    lease(pen, &it.lease);
    pen.pairs("metadata", &it.metadata);
    pen.optional("appGroupName", it.app_group.as_deref());
    pen.optional("homePageUrl", it.home_page_url.as_deref());
    pen.optional("statusPageUrl", it.status_page_url.as_deref());
    pen.optional("healthCheckUrl", it.health_check_url.as_deref());
    pen.optional(
        "secureHealthCheckUrl",
        it.secure_health_check_url.as_deref(),
    );
    pen.optional("vipAddress", it.vip_address.as_deref());
    pen.optional("secureVipAddress", it.secure_vip_address.as_deref());
    let coordinating = if it.coordinating { "true" } else { "false" };
    pen.text("isCoordinatingDiscoveryServer", coordinating);
    pen.quoted("lastUpdatedTimestamp", it.updated_at);
    pen.quoted("lastDirtyTimestamp", it.dirty_at.unwrap_or(it.updated_at));
    pen.text("actionType", it.action.as_str());
    pen.optional("asgName", it.asg_name.as_deref());
}

fn compact(pen: &mut dyn Pen, it: &Instance) {
    pen.optional("instanceId", it.instance_id.as_deref());
    pen.text("app", &it.app);
    pen.text("ipAddr", &it.ip_addr);
    pen.optional("vipAddress", it.vip_address.as_deref());
    pen.optional("secureVipAddress", it.secure_vip_address.as_deref());
    data_center(pen, it.data_center.as_ref());
    pen.text("hostName", &it.host_name);
    pen.text("status", it.status.as_str());
    pen.number("lastUpdatedTimestamp", it.updated_at);
    pen.text("actionType", it.action.as_str());
    pen.optional("asgName", it.asg_name.as_deref());
    pen.port("port", it.port);
    pen.port("securePort", it.secure_port);
}

fn lease(pen: &mut dyn Pen, it: &LeaseInfo) {
    pen.open("leaseInfo", None);
    pen.number("renewalIntervalInSecs", it.renewal_interval_secs);
    pen.number("durationInSecs", it.duration_secs);
    pen.number("registrationTimestamp", it.registered_at);
    pen.number("lastRenewalTimestamp", it.renewed_at);
    pen.number("evictionTimestamp", it.evicted_at);
    pen.number("serviceUpTimestamp", it.up_at);
    pen.close("leaseInfo");
}

fn data_center(pen: &mut dyn Pen, it: Option<&DataCenter>) {
    let Some((center, name)) = it.and_then(|center| Some((center, center.name?))) else {
        return;
    };
    pen.open("dataCenterInfo", Some(name.class()));
    pen.text("name", name.as_str());
    if !center.metadata.is_empty() {
        pen.pairs("metadata", &center.metadata);
    }
    pen.close("dataCenterInfo");
}
