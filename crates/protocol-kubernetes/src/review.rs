//! Questions about the caller: what it may do, and whose a token is. They are asked by creating an object that is kept nowhere.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use portolan_listener::{
    Action, Authenticator, Caller, Credentials, Principal, Resource, Response,
};
use serde_json::{Map, Value, json};

use crate::app::{allow, allow_all};
use crate::error::{Cause, Failure};
use crate::kind::{Access, KINDS, Kind, SPACE};
use crate::write::Call;

/// Answers a review.
pub(crate) fn review(call: &Call, body: &[u8]) -> Result<Response, Failure> {
    call.caller.allow(Action::Read, Resource::Public)?;
    let (mut object, warnings) = call.body(body)?;
    let status = match call.kind.kind {
        "SelfSubjectAccessReview" => access(call, &object["spec"])?,
        "SelfSubjectRulesReview" => rules(call, &object["spec"])?,
        "TokenReview" => token(call, &object["spec"])?,
        _ => json!({"userInfo": user(call.caller.principal())}),
    };
    object["apiVersion"] = call.kind.api_version().into();
    object["kind"] = call.kind.kind.into();
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    if call.kind.kind == "SelfSubjectRulesReview" {
        object["spec"] = json!({});
    }
    object["status"] = status;
    Ok(call.answer(StatusCode::CREATED, &object, &warnings))
}

fn user(principal: &Principal) -> Value {
    match principal.name() {
        Some(name) => json!({"username": name, "groups": ["system:authenticated"]}),
        None => json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]}),
    }
}

fn access(call: &Call, spec: &Value) -> Result<Value, Failure> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let allowed = match (resource.is_object(), other.is_object()) {
        (true, false) => may_resource(&call.caller, resource),
        (false, true) => may_path(&call.caller, other),
        _ => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let cause = Cause::invalid("spec.resourceAttributes", &Value::Null, why);
            return Err(Failure::invalid(call.kind, "", &[cause]));
        }
    };
    Ok(json!({"allowed": allowed}))
}

/// Of what is no object, what is public may be read.
fn may_path(caller: &Caller, attributes: &Value) -> bool {
    let reads = matches!(attributes["verb"].as_str(), Some("get" | "head"));
    !caller.restricted() || reads && caller.may(Action::Read, Resource::Public)
}

fn may_resource(caller: &Caller, attributes: &Value) -> bool {
    if !caller.restricted() {
        return true;
    }
    let text = |field: &str| attributes[field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let Some(actions) = actions(text("verb")) else {
        return false;
    };
    if text("resource") == "*" || text("group") == "*" {
        return actions.iter().all(|action| may_all(caller, *action));
    }
    let kind = KINDS
        .into_iter()
        .find(|kind| kind.group == text("group") && kind.plural == text("resource"));
    let Some(kind) = kind else {
        return false;
    };
    if kind.access == Access::Review {
        return caller.may(Action::Read, Resource::Public);
    }
    let one = !name.is_empty() && !matches!(text("verb"), "list" | "watch" | "deletecollection");
    actions.iter().all(|action| {
        let namespace = match kind.namespaced {
            true => namespace,
            false => "",
        };
        let asked = match one {
            true => allow(caller, *action, kind, namespace, name),
            false => {
                let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
                allow_all(caller, *action, kind, namespace)
            }
        };
        asked.is_ok()
    })
}

/// What has to be allowed for a verb.
fn actions(verb: &str) -> Option<&'static [Action]> {
    Some(match verb {
        "get" | "list" => &[Action::Read],
        "watch" => &[Action::Watch],
        "create" | "update" | "patch" | "delete" | "deletecollection" => &[Action::Write],
        "*" => &[Action::Read, Action::Watch, Action::Write],
        _ => return None,
    })
}

/// Whether `caller` may do `action` to every object.
fn may_all(caller: &Caller, action: Action) -> bool {
    caller.may(
        action,
        Resource::Range {
            keyspace: SPACE.as_str(),
            start: b"",
            end: b"",
        },
    )
}

fn rules(call: &Call, spec: &Value) -> Result<Value, Failure> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Failure::bad_request("no namespace on request"));
    }
    let everything = |field: &str| json!([{"verbs": ["*"], field: ["*"]}]);
    if !call.caller.restricted() {
        return Ok(json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": everything("nonResourceURLs"),
            "incomplete": false,
        }));
    }
    let mut rules = Vec::new();
    for kind in KINDS {
        let verbs = verbs(&call.caller, kind, namespace);
        if !verbs.is_empty() {
            rules.push(
                json!({"verbs": verbs, "apiGroups": [kind.group], "resources": [kind.plural]}),
            );
        }
    }
    let public = match call.caller.may(Action::Read, Resource::Public) {
        true => json!([{"verbs": ["get"], "nonResourceURLs": ["*"]}]),
        false => json!([]),
    };
    // Rules about single objects are not shown.
    Ok(json!({"resourceRules": rules, "nonResourceRules": public, "incomplete": true}))
}

/// The verbs that the caller may use on all objects of a kind in a namespace.
fn verbs(caller: &Caller, kind: &'static Kind, namespace: &str) -> Vec<&'static str> {
    let namespace = kind.namespaced.then_some(namespace);
    let may = |verb: &str| match kind.access {
        Access::Review => caller.may(Action::Read, Resource::Public),
        _ => actions(verb).is_some_and(|actions| {
            actions
                .iter()
                .all(|action| allow_all(caller, *action, kind, namespace).is_ok())
        }),
    };
    let verbs = kind.verbs().iter().copied();
    verbs.filter(|verb| may(verb)).collect()
}

/// Whose a token is. Asking it is for who may see tokens.
fn token(call: &Call, spec: &Value) -> Result<Value, Failure> {
    call.caller.allow(Action::Read, Resource::Access)?;
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Failure::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let found = call
        .app
        .authenticator
        .as_ref()
        .and_then(|authenticator| owner(authenticator, &call.caller, token));
    Ok(match found {
        Some(principal) if principal.name().is_some() => {
            let mut status = json!({"authenticated": true, "user": user(&principal)});
            if spec["audiences"].is_array() {
                status["audiences"] = spec["audiences"].clone();
            }
            status
        }
        _ => json!({"user": {}, "error": "invalid bearer token"}),
    })
}

fn owner(
    authenticator: &Arc<dyn Authenticator>,
    caller: &Caller,
    token: &str,
) -> Option<Principal> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    headers.insert(AUTHORIZATION, value);
    let credentials = Credentials {
        peer: caller.peer(),
        connection: &Principal::Anonymous,
        headers: Some(&headers),
        uri: None,
    };
    authenticator.authenticate(&credentials).ok()
}
