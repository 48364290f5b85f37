//! Discovery: which groups, versions and resources there are, plain and in one piece.

use std::net::SocketAddr;

use http::HeaderMap;
use http::StatusCode;
use http::header::ACCEPT;
use portolan_listener::{Body, Response};
use serde_json::{Map, Value, json};

use crate::kind::{Access, KINDS, Kind, group_version, groups};
use crate::respond;

/// The version of Kubernetes whose API this is.
pub(crate) const VERSION: &str = "v1.35.4";

const AGGREGATED: [(&str, &str); 2] = [
    (
        "v2",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ),
    (
        "v2beta1",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    ),
];

/// `/api` and `/apis`: in one piece for whom that is enough, else the list of groups.
pub(crate) fn root(core: bool, headers: &HeaderMap, address: SocketAddr) -> Response {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let accepted = accepted.join(",");
    for range in accepted.split(',').map(str::trim) {
        let has = |parameter: &str| range.split(';').any(|part| part.trim() == parameter);
        if !has("as=APIGroupDiscoveryList") {
            if range.starts_with("application/json") {
                break;
            }
            continue;
        }
        for (version, content_type) in AGGREGATED {
            if has(&format!("v={version}")) {
                let body = aggregated(core, version).to_string();
                return respond::typed(StatusCode::OK, content_type, Body::from(body));
            }
        }
    }
    let body = match core {
        true => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
        }),
        false => {
            let groups = groups().into_iter().filter(|(group, _)| !group.is_empty());
            let groups: Vec<Value> = groups
                .map(|(group, version)| bare(group, version))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
    };
    respond::json(StatusCode::OK, body.to_string())
}

fn bare(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": group_version(group, version), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

/// `/apis/GROUP`; none when there is no such group.
pub(crate) fn group(name: &str) -> Option<Value> {
    let found = groups()
        .into_iter()
        .find(|(group, _)| !group.is_empty() && *group == name)?;
    let mut body = bare(found.0, found.1);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

fn of(group: &str, version: &str) -> Vec<&'static Kind> {
    let all = KINDS.into_iter();
    all.filter(|kind| kind.group == group && kind.version == version)
        .collect()
}

const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `/api/v1` and `/apis/GROUP/VERSION`; none when there is none.
pub(crate) fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds = of(group, version);
    if kinds.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for kind in kinds {
        let mut resource = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs(),
        });
        names(kind, &mut resource);
        all.push(resource);
        for subresource in kind.subresources {
            let verbs: &[&str] = match *subresource {
                "finalize" => &["update"],
                _ => &SUBRESOURCE_VERBS,
            };
            all.push(json!({
                "name": format!("{}/{subresource}", kind.plural),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": verbs,
            }));
        }
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": all,
    }))
}

fn names(kind: &Kind, resource: &mut Value) {
    if !kind.short.is_empty() {
        resource["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

fn aggregated(core: bool, discovery: &str) -> Value {
    let groups = groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core);
    let groups = groups.map(|(group, version)| {
        let resources: Vec<Value> = of(group, version).into_iter().map(whole).collect();
        let mut metadata = json!({"creationTimestamp": null});
        if !core {
            metadata["name"] = group.into();
        }
        json!({
            "metadata": metadata,
            "versions": [{"version": version, "freshness": "Current", "resources": resources}],
        })
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{discovery}"),
        "metadata": {},
        "items": groups.collect::<Vec<_>>(),
    })
}

fn whole(kind: &Kind) -> Value {
    let response = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": response,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs(),
    });
    names(kind, &mut resource);
    let subresources = kind.subresources.iter().map(|name| {
        let verbs: &[&str] = match *name {
            "finalize" => &["update"],
            _ => &SUBRESOURCE_VERBS,
        };
        json!({"subresource": name, "responseKind": response, "verbs": verbs})
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() && kind.access == Access::Full {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// `/version`.
pub(crate) fn version() -> Value {
    let mut parts = VERSION.trim_start_matches('v').split('.');
    let mut body = Map::new();
    let mut set = |name: &str, value: &str| body.insert(name.into(), value.into());
    set("major", parts.next().unwrap_or_default());
    set("minor", parts.next().unwrap_or_default());
    set("gitVersion", &format!("{VERSION}+portolan"));
    set("gitCommit", "");
    set("gitTreeState", "clean");
    set("buildDate", "1970-01-01T00:00:00Z");
    set("goVersion", "");
    set("compiler", "");
    set("platform", "linux/amd64");
    Value::Object(body)
}
