//! What a login gives to whom: made, changed, removed, listed.

use super::{allowed, fresh_id, methods, not_there, object, watched, write};
use crate::error::Failure;
use crate::filter::Filter;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use portolan_access::builtin;
use portolan_access::login::BindingRule;
use portolan_access::rows::Kept;
use portolan_access::store::{self, Changes, RULES};
use portolan_catalog::State;
use portolan_listener::Action;
use serde_json::{Value, json};
use std::sync::Arc;

/// What selectors speak of.
pub(super) const SELECTED: [&str; 2] = ["value", "list"];

fn find(state: &State, id: &str) -> Option<Kept<BindingRule>> {
    let mut all = store::rows::<BindingRule>(state, RULES).into_iter();
    all.find(|kept| kept.row.id == id)
}

fn shown(kept: &Kept<BindingRule>) -> Value {
    let row = &kept.row;
    let mut shown = json!({
        "ID": row.id,
        "Description": row.description,
        "AuthMethod": row.auth_method,
        "Selector": row.selector,
        "BindType": row.bind_type,
        "BindName": row.bind_name,
        "CreateIndex": kept.created.max(1),
        "ModifyIndex": kept.modified.max(1),
    });
    if !row.bind_variable.is_empty() {
        shown["BindVars"] = json!({"Name": row.bind_variable});
    }
    shown
}

fn read_body(body: &Value, id: String) -> Result<BindingRule, Failure> {
    let fields = Fields::of(body, "binding rule")?;
    let variables = fields.object("bindvars")?;
    Ok(BindingRule {
        id,
        description: fields.text("description")?,
        auth_method: fields.text("authmethod")?,
        selector: fields.text("selector")?,
        bind_type: fields.text("bindtype")?,
        bind_name: fields.text("bindname")?,
        bind_variable: variables.map_or(Ok(String::new()), |fields| fields.text("name"))?,
    })
}

fn judge(state: &State, rule: &BindingRule) -> Result<(), Failure> {
    let invalid = |why: String| Failure::server(format!("Invalid Binding Rule: {why}"));
    if rule.auth_method.is_empty() {
        return Err(invalid("no AuthMethod is set".to_owned()));
    }
    let method = methods::find(state, &rule.auth_method).ok_or_else(|| {
        Failure::server(format!(
            "cannot find auth method with name {:?}",
            rule.auth_method
        ))
    })?;
    let names = method.row.names().map_err(|why| invalid(why.to_string()))?;
    if !matches!(
        &*rule.bind_type,
        "service" | "node" | "role" | "policy" | "templated-policy"
    ) {
        return Err(invalid(format!("unknown BindType {:?}", rule.bind_type)));
    }
    if rule.bind_name.is_empty() {
        return Err(invalid("no BindName is set".to_owned()));
    }
    for text in [&rule.bind_name, &rule.bind_variable] {
        names
            .filled(text)
            .map_err(|why| invalid(format!("invalid BindName: {why}")))?;
    }
    let templated = rule.bind_type == "templated-policy";
    if templated && builtin::template(&rule.bind_name).is_none() {
        return Err(invalid(format!(
            "templated policy {:?} does not exist",
            rule.bind_name
        )));
    }
    if !templated && !rule.bind_variable.is_empty() {
        return Err(invalid(
            "BindVars cannot be set when bind type is not templated-policy.".to_owned(),
        ));
    }
    if !rule.selector.is_empty() {
        Filter::parse(&rule.selector, &SELECTED)
            .and_then(|filter| filter.matches(&names.row()))
            .map_err(|why| invalid(format!("Selector is invalid: {why}")))?;
    }
    Ok(())
}

async fn put(
    server: &Server,
    request: &Request,
    rule: BindingRule,
    old: Option<Kept<BindingRule>>,
) -> Result<Reply, Failure> {
    judge(&server.snapshot(), &rule)?;
    let mut changes = Changes::default();
    changes.rule(&rule, old.as_ref());
    write(server, request, changes, String::new).await?;
    let kept = find(&server.snapshot(), &rule.id).ok_or_else(not_there)?;
    Reply::json(&shown(&kept))
}

/// PUT /v1/acl/binding-rule
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    let body = object(&mut request, "BindingRule").await?;
    if !Fields::of(&body, "binding rule")?.text("id")?.is_empty() {
        return Err(Failure::bad(
            "Cannot specify the ID when creating a new binding rule",
        ));
    }
    // Not for want of a method that was made at another server.
    server.state_with(|_| false).await?;
    put(&server, &request, read_body(&body, fresh_id())?, None).await
}

/// PUT /v1/acl/binding-rule/:id
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    let id = request.named("id", "Missing binding rule ID")?;
    let body = object(&mut request, "BindingRule").await?;
    let given = Fields::of(&body, "binding rule")?.text("id")?;
    if !given.is_empty() && given != id {
        return Err(Failure::bad(
            "Binding rule ID in URL and payload do not match",
        ));
    }
    let latest = server.state_with(|_| false).await?;
    let old = find(&latest, &id)
        .ok_or_else(|| Failure::server(format!("cannot find binding rule {id}")))?;
    drop(latest);
    let mut rule = read_body(&body, id)?;
    if rule.auth_method.is_empty() {
        rule.auth_method.clone_from(&old.row.auth_method);
    } else if rule.auth_method != old.row.auth_method {
        return Err(Failure::server(
            "the AuthMethod field of an Binding Rule is immutable",
        ));
    }
    put(&server, &request, rule, Some(old)).await
}

/// DELETE /v1/acl/binding-rule/:id
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    let id = request.named("id", "Missing binding rule ID")?;
    let latest = server.state_with(|_| false).await?;
    if let Some(kept) = find(&latest, &id) {
        let mut changes = Changes::default();
        changes.drop_rule(&kept.row);
        write(&server, &request, changes, String::new).await?;
    }
    Ok(Reply::truth(true))
}

/// GET /v1/acl/binding-rule/:id
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let id = request.named("id", "Missing binding rule ID")?;
    watched(&server, &request, access, RULES, |_, state| {
        let kept = find(state, &id).ok_or_else(not_there)?;
        Reply::json(&shown(&kept))
    })
    .await
}

/// GET /v1/acl/binding-rules
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let method = request.params().get("authmethod").to_owned();
    watched(&server, &request, access, RULES, |_, state| {
        let all = store::rows::<BindingRule>(state, RULES);
        let wanted =
            |kept: &&Kept<BindingRule>| method.is_empty() || kept.row.auth_method == method;
        let rows: Vec<Value> = all.iter().filter(wanted).map(shown).collect();
        Reply::json(&rows)
    })
    .await
}
