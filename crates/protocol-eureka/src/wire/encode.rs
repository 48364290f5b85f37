//! Whole documents in any shape, for answers that are made per request.

use super::instance::Instance;
use super::list::{Application, Applications};
use super::media::{Detail, Format, Shape};
use super::{json, xml};

/// `/apps/{APP}/{id}` and `/instances/{id}`.
pub fn encode_instance(format: Format, it: &Instance) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536);
    match format {
        Format::Json => json::instance_root(&mut out, it),
        Format::Xml => xml::instance_root(&mut out, it),
    }
    out
}

/// `/apps/{APP}`.
pub fn encode_application(shape: Shape, application: &Application) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536 * (application.instances.len() + 1));
    if shape.format == Format::Json {
        out.extend_from_slice(b"{\"application\":");
    }
    append_application(&mut out, shape, application, 0);
    if shape.format == Format::Json {
        out.push(b'}');
    }
    out
}

/// `/apps/delta`, `/vips/{vip}`.
pub fn encode_applications(shape: Shape, list: &Applications) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let detail: Detail = shape.detail;
    match shape.format {
        Format::Json => {
            json::list_open(&mut out, &list.version, &list.hashcode, detail);
            for (at, application) in list.applications.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append_application(&mut out, shape, application, 1);
            }
            json::list_close(&mut out, &list.version, &list.hashcode, detail);
        }
        Format::Xml => {
            xml::list_open(&mut out, &list.version, &list.hashcode, detail);
            for application in &list.applications {
                append_application(&mut out, shape, application, 1);
            }
            xml::list_close(&mut out, &list.version, &list.hashcode, detail);
        }
    }
    out
}

/// One application, standing at `depth` if it is XML.
pub fn append_application(
    out: &mut Vec<u8>,
    shape: Shape,
    application: &Application,
    depth: usize,
) {
    let detail = shape.detail;
    match shape.format {
        Format::Json => {
            json::application_open(out, &application.name);
            for (at, it) in application.instances.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json::instance(out, it, detail);
            }
            json::application_close(out);
        }
        Format::Xml => {
            xml::application_open(out, &application.name, detail, depth);
            for it in &application.instances {
                xml::instance(out, it, detail, depth + 1);
            }
            xml::application_close(out, detail, depth);
        }
    }
}
