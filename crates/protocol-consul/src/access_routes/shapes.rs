//! Rows to Consul's JSON, and bodies to what they grant.

use crate::error::Failure;
use crate::wire::{Fields, Malformed};
use portolan_access::Directory;
use portolan_access::builtin;
use portolan_access::rows::{
    Grants, Kept, NodeIdentity, Policy, Role, ServiceIdentity, TemplateVariables, TemplatedPolicy,
    Token, hash,
};
use serde_json::{Map, Value, json};

/// What Consul shows instead of a secret.
pub(super) const HIDDEN: &str = "<hidden>";

/// A time as Go prints it.
fn time(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(0));
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Milliseconds of a time in RFC 3339.
pub(super) fn read_time(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

fn put_grants(row: &mut Map<String, Value>, grants: &Grants, directory: &Directory) {
    let mut put = |name: &str, list: Vec<Value>| {
        if !list.is_empty() {
            row.insert(name.to_owned(), list.into());
        }
    };
    // What is gone is not shown.
    let policies = grants.policies.iter().filter_map(|id| directory.policy(id));
    put(
        "Policies",
        policies
            .map(|kept| json!({"ID": kept.row.id, "Name": kept.row.name}))
            .collect(),
    );
    put(
        "ServiceIdentities",
        grants
            .service_identities
            .iter()
            .map(|one| json!(one))
            .collect(),
    );
    put(
        "NodeIdentities",
        grants
            .node_identities
            .iter()
            .map(|one| json!(one))
            .collect(),
    );
    put(
        "TemplatedPolicies",
        grants
            .templated_policies
            .iter()
            .map(|one| json!(one))
            .collect(),
    );
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A token; without its secret for whoever may not manage access.
pub(super) fn token(kept: &Kept<Token>, directory: &Directory, secret: bool) -> Value {
    let row = &kept.row;
    let mut shown = object(json!({
        "AccessorID": row.accessor,
        "SecretID": if secret { &row.secret } else { HIDDEN },
        "Description": row.description,
        "Local": row.local,
        "CreateTime": time(row.created_ms),
        "Hash": hash(&(&row.description, &row.roles, &row.grants)),
        "CreateIndex": kept.created.max(1),
        "ModifyIndex": kept.modified.max(1),
    }));
    put_grants(&mut shown, &row.grants, directory);
    let roles: Vec<Value> = row
        .roles
        .iter()
        .filter_map(|id| directory.role(id))
        .map(|kept| json!({"ID": kept.row.id, "Name": kept.row.name}))
        .collect();
    if !roles.is_empty() {
        shown.insert("Roles".to_owned(), roles.into());
    }
    if !row.auth_method.is_empty() {
        shown.insert("AuthMethod".to_owned(), row.auth_method.clone().into());
    }
    if row.expires_ms != 0 {
        shown.insert("ExpirationTime".to_owned(), time(row.expires_ms).into());
    }
    shown.into()
}

/// A policy; lists show no rules.
pub(super) fn policy(kept: &Kept<Policy>, rules: bool) -> Value {
    let row = &kept.row;
    let mut shown = object(json!({
        "ID": row.id,
        "Name": row.name,
        "Description": row.description,
        "Hash": hash(row),
        "CreateIndex": kept.created.max(1),
        "ModifyIndex": kept.modified.max(1),
    }));
    if rules {
        shown.insert("Rules".to_owned(), row.rules.clone().into());
    }
    if !row.datacenters.is_empty() {
        shown.insert("Datacenters".to_owned(), row.datacenters.clone().into());
    }
    shown.into()
}

/// A role.
pub(super) fn role(kept: &Kept<Role>, directory: &Directory) -> Value {
    let row = &kept.row;
    let mut shown = object(json!({
        "ID": row.id,
        "Name": row.name,
        "Description": row.description,
        "Hash": hash(row),
        "CreateIndex": kept.created.max(1),
        "ModifyIndex": kept.modified.max(1),
    }));
    put_grants(&mut shown, &row.grants, directory);
    shown.into()
}

/// Reads links by id or by name; `find` gives the id.
pub(super) fn links(
    fields: &Fields<'_>,
    key: &str,
    kind: &str,
    find: impl Fn(&str, &str) -> Option<String>,
) -> Result<Vec<String>, Failure> {
    let mut ids: Vec<String> = Vec::new();
    for link in fields.list(key)? {
        let link = Fields::of(link, key)?;
        let (id, name) = (link.text("id")?, link.text("name")?);
        let found = find(&id, &name).ok_or_else(|| {
            let (by, which) = match id.is_empty() {
                true => ("name", &name),
                false => ("ID", &id),
            };
            Failure::server(format!("No such ACL {kind} with {by} {which:?}"))
        })?;
        if !ids.contains(&found) {
            ids.push(found);
        }
    }
    Ok(ids)
}

/// Reads what a token or a role stands for.
pub(super) fn grants(fields: &Fields<'_>, directory: &Directory) -> Result<Grants, Failure> {
    let policies = links(fields, "policies", "policy", |id, name| {
        let kept = match id.is_empty() {
            true => directory.policy_named(name),
            false => directory.policy(id),
        };
        kept.map(|kept| kept.row.id.clone())
    })?;
    let each = |key: &str| -> Result<Vec<Fields<'_>>, Malformed> {
        let list = fields.list(key)?;
        list.iter().map(|one| Fields::of(one, key)).collect()
    };
    let mut made = Grants {
        policies,
        ..Grants::default()
    };
    for one in each("serviceidentities")? {
        let identity = ServiceIdentity {
            service_name: one.text("servicename")?,
            datacenters: one.texts("datacenters")?,
        };
        speakable("Service", "service", &identity.service_name)?;
        made.service_identities.push(identity);
    }
    for one in each("nodeidentities")? {
        let identity = NodeIdentity {
            node_name: one.text("nodename")?,
            datacenter: one.text("datacenter")?,
        };
        speakable("Node", "node", &identity.node_name)?;
        if identity.datacenter.is_empty() {
            return Err(Failure::server(
                "Node identity is missing the datacenter field on this token",
            ));
        }
        made.node_identities.push(identity);
    }
    for one in each("templatedpolicies")? {
        made.templated_policies.push(templated(&one)?);
    }
    Ok(made)
}

fn templated(fields: &Fields<'_>) -> Result<TemplatedPolicy, Failure> {
    let name = fields.text("templatename")?;
    let template = builtin::template(&name)
        .or_else(|| builtin::template(&fields.text("templateid").ok()?))
        .ok_or_else(|| {
            Failure::server(format!("no such ACL templated policy with Name {name:?}"))
        })?;
    let variables = fields.object("templatevariables")?;
    let value = variables.map_or(Ok(String::new()), |variables| variables.text("name"))?;
    named(template, &value)?;
    Ok(TemplatedPolicy {
        template_id: template.id.to_owned(),
        template_name: template.name.to_owned(),
        template_variables: template.named.then_some(TemplateVariables { name: value }),
        datacenters: fields.texts("datacenters")?,
    })
}

/// Whether a template may be filled with a name.
pub(super) fn named(template: &builtin::Template, name: &str) -> Result<(), Failure> {
    if template.named && !builtin::speakable(name) {
        return Err(Failure::server(format!(
            "validation error for templated policy: {} needs a Name of lower-case letters, digits, '-' and '_', got {name:?}",
            template.name
        )));
    }
    Ok(())
}

fn speakable(kind: &str, field: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::server(format!(
            "{kind} identity is missing the {field} name field on this token"
        )));
    }
    if builtin::speakable(name) {
        return Ok(());
    }
    Err(Failure::server(format!(
        "{kind} identity {name:?} has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed"
    )))
}
