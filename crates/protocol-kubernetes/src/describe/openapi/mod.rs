//! Descriptions of the types, OpenAPI 3 and 2: from the same lists that paths and checks come from.
//!
//! kubectl looks here whether a server checks fields itself (`fieldValidation`), `explain` prints the types, and kubectl before 1.25 checks
//! what it applies against version 2.

mod gnostic;
mod v2;
mod v3;

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use portolan_listener::Response;
use serde_json::{Value, json};

pub(crate) use self::v3::{document, index};
use crate::error::Failure;
use crate::kind::Kind;
use crate::{media, respond};

/// The bodies that a patch may be sent in.
pub(crate) const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY,
];
/// That of server-side apply.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// Version 2 in protobuf, by its two names.
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

static JSON_2: LazyLock<Bytes> = LazyLock::new(|| v2::document().to_string().into());
static PROTOBUF_2: LazyLock<Bytes> = LazyLock::new(|| gnostic::write(&v2::document()).into());

/// `/openapi/v2`, in protobuf for whom that is the first choice.
pub(crate) fn version_2(headers: &HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let mut asked = false;
    for range in accepted.iter().flat_map(|value| value.split(',')) {
        let range = range.split(';').next().unwrap_or_default().trim();
        asked |= !range.is_empty();
        if PROTOBUF.contains(&range) {
            return respond::typed(StatusCode::OK, PROTOBUF[0], PROTOBUF_2.clone().into());
        }
        if matches!(range, media::JSON | "*/*" | "application/*") {
            return respond::json(StatusCode::OK, JSON_2.clone());
        }
    }
    match asked {
        true => Failure::not_acceptable(&[media::JSON, PROTOBUF[0]]).respond(),
        false => respond::json(StatusCode::OK, JSON_2.clone()),
    }
}

fn type_name(name: &str) -> String {
    format!("io.k8s.api.v1.{name}")
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// The paths of a kind: of its lists, and of one object.
fn paths_of(kind: &Kind) -> [String; 2] {
    let base = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let list = match kind.namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{}", kind.plural),
        false => format!("{base}/{}", kind.plural),
    };
    let one = format!("{list}/{{name}}");
    [list, one]
}
