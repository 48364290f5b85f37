//! Login and logout: a token that another authority gave for one of ours.

use super::binding_rules::SELECTED;
use super::{fresh_id, methods, object, open, shapes, write};
use crate::error::Failure;
use crate::filter::Filter;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use http::StatusCode;
use portolan_access::login::{AuthMethod, BindingRule, Claimed};
use portolan_access::rows::{
    Grants, NodeIdentity, ServiceIdentity, TemplateVariables, TemplatedPolicy, Token,
};
use portolan_access::store::{self, Changes, RULES};
use portolan_access::{AccessControl, Directory, builtin};
use portolan_catalog::State;
use portolan_listener::{Action, Resource};
use serde_json::json;
use std::sync::Arc;

/// Pairs of metadata that a login may give.
const META: usize = 64;

fn denied(why: &str) -> Failure {
    let text = match why {
        "" => "Permission denied".to_owned(),
        why => format!("Permission denied: {why}"),
    };
    Failure::new(StatusCode::FORBIDDEN, text)
}

/// POST /v1/acl/login: whoever shows a token that is believed; it takes no token of ours.
pub(crate) async fn login(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = open(&server, &request)?.clone();
    request.allow(Action::Read, Resource::Public)?;
    let body = object(&mut request, "Login").await?;
    let fields = Fields::of(&body, "login")?;
    let (name, bearer) = (fields.text("authmethod")?, fields.text("bearertoken")?);
    let meta = fields.strings_of("meta")?;
    if meta.len() > META {
        return Err(Failure::bad(format!("more than {META} pairs of metadata")));
    }
    if name.is_empty() || bearer.is_empty() {
        return Err(Failure::bad("AuthMethod and BearerToken are required"));
    }
    let state = server.state_with(|_| false).await?;
    let method = methods::find(&state, &name).ok_or_else(|| {
        let text = format!("ACL not found: auth method {name:?} not found");
        Failure::new(StatusCode::FORBIDDEN, text)
    })?;
    let method = method.row;
    let now = server.now_ms();
    let claimed = method
        .claimed(&bearer, now)
        .map_err(|why| denied(&why.to_string()))?;
    let directory = access.directory_of(&state);
    let (grants, roles) = bound(&server, &state, &directory, &method, &claimed)?;
    drop(state);
    // Nobody is let in who would get nothing.
    if grants == Grants::default() && roles.is_empty() {
        return Err(denied(""));
    }
    let token = Token {
        accessor: fresh_id(),
        secret: fresh_id(),
        description: match meta.is_empty() {
            true => "token created via login".to_owned(),
            false => format!("token created via login: {}", json!(meta)),
        },
        roles,
        grants,
        local: method.token_locality != "global",
        created_ms: now,
        expires_ms: match method.max_token_ttl_ms {
            0 => 0,
            ttl => now.saturating_add(ttl),
        },
        auth_method: method.name,
    };
    let mut changes = Changes::default();
    changes.token(&token, None);
    write(&server, &request, changes, String::new).await?;
    let directory = access.directory();
    let known = directory.token(&token.accessor);
    let known = known.ok_or_else(|| Failure::server("the token was removed at once"))?;
    Reply::json(&shapes::token(&known.token, &directory, true))
}

/// What the rules of a method give for what is claimed. A role or policy that is not there is not given.
fn bound(
    server: &Server,
    state: &State,
    directory: &Directory,
    method: &AuthMethod,
    claimed: &Claimed,
) -> Result<(Grants, Vec<String>), Failure> {
    let (mut grants, mut roles) = (Grants::default(), Vec::new());
    for kept in store::rows::<BindingRule>(state, RULES) {
        let rule = kept.row;
        if rule.auth_method != method.name || !selects(&rule, claimed) {
            continue;
        }
        let filled = |text: &str| {
            let filled = claimed.filled(text);
            filled.map_err(|why| Failure::server(format!("cannot compute {text:?}: {why}")))
        };
        let name = filled(&rule.bind_name)?;
        match &*rule.bind_type {
            "service" | "node" => {
                let name = name.to_ascii_lowercase();
                // What is claimed may be no name; then it speaks for nobody.
                if !builtin::speakable(&name) {
                    return Err(denied(&format!(
                        "what is claimed makes the invalid bind name {name:?}"
                    )));
                }
                match &*rule.bind_type {
                    "service" => grants.service_identities.push(ServiceIdentity {
                        service_name: name,
                        datacenters: Vec::new(),
                    }),
                    _ => grants.node_identities.push(NodeIdentity {
                        node_name: name,
                        datacenter: server.info.datacenter.to_string(),
                    }),
                }
            }
            "role" => roles.extend(directory.role_named(&name).map(|kept| kept.row.id.clone())),
            "policy" => {
                let policy = directory.policy_named(&name);
                grants
                    .policies
                    .extend(policy.map(|kept| kept.row.id.clone()));
            }
            _ => grants
                .templated_policies
                .extend(templated(&name, &filled(&rule.bind_variable)?)?),
        }
    }
    Ok((grants, roles))
}

fn selects(rule: &BindingRule, claimed: &Claimed) -> bool {
    // A rule that cannot be read selects nobody; it was judged when it was written.
    rule.selector.is_empty()
        || Filter::parse(&rule.selector, &SELECTED)
            .and_then(|filter| filter.matches(&claimed.row()))
            .unwrap_or(false)
}

fn templated(name: &str, variable: &str) -> Result<Option<TemplatedPolicy>, Failure> {
    let Some(template) = builtin::template(name) else {
        return Ok(None);
    };
    shapes::named(template, variable).map_err(|why| denied(&why.text))?;
    Ok(Some(TemplatedPolicy {
        template_id: template.id.to_owned(),
        template_name: template.name.to_owned(),
        template_variables: template.named.then(|| TemplateVariables {
            name: variable.to_owned(),
        }),
        datacenters: Vec::new(),
    }))
}

/// POST /v1/acl/logout: the token that is shown is given up, if a login made it.
pub(crate) async fn logout(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access: AccessControl = open(&server, &request)?.clone();
    request.listed()?;
    let known = access.known(request.caller.principal());
    let token = known.ok_or_else(|| Failure::new(StatusCode::FORBIDDEN, "ACL not found"))?;
    let token = &token.token.row;
    if token.auth_method.is_empty() {
        return Err(denied("token was not created via login"));
    }
    let mut changes = Changes::default();
    changes.drop_token(token);
    write(&server, &request, changes, String::new).await?;
    Ok(Reply::truth(true))
}
