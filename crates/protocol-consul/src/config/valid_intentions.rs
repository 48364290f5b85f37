//! What entries of intentions may say: who may call a service.

use super::valid_chain::{capitals, check_methods, said};
use super::value::{META_VALUE, items, text};
use serde_json::Value;

/// How exact a pair is: the more exact, the earlier it is looked at.
pub(crate) fn precedence(source: &str, destination: &str) -> i64 {
    let most = if destination == "*" { 6 } else { 9 };
    most - i64::from(source == "*")
}

/// Sources have a type and a precedence, and stand in its order.
pub(super) fn settle(entry: &mut Value) {
    let destination = text(entry, "Name").to_owned();
    let Some(sources) = entry.get_mut("Sources").and_then(Value::as_array_mut) else {
        return;
    };
    for source in sources.iter_mut() {
        if text(source, "Type").is_empty() {
            source["Type"] = "consul".into();
        }
        source["Precedence"] = precedence(text(source, "Name"), &destination).into();
        let permissions = source.get_mut("Permissions").and_then(Value::as_array_mut);
        for permission in permissions.into_iter().flatten() {
            if let Some(methods) = permission.pointer_mut("/HTTP/Methods") {
                capitals(methods);
            }
        }
    }
    sources.sort_by_key(|source| std::cmp::Reverse(source["Precedence"].as_i64()));
}

fn check_name(name: &str) -> Result<(), String> {
    match name != "*" && name.contains('*') {
        true => Err("Name: wildcard character '*' cannot be used with partial values".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn check(entry: &Value) -> Result<(), String> {
    let name = text(entry, "Name");
    check_name(name)?;
    check_rule(&entry["JWT"])?;
    let sources = items(entry, "Sources");
    if sources.is_empty() {
        return Err("At least one source is required".to_owned());
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        check_source(source, name == "*", at)?;
        let name = text(source, "Name");
        if seen.contains(&name) {
            return Err(format!("Sources[{at}] defines {name:?} more than once"));
        }
        seen.push(name);
    }
    Ok(())
}

/// What is wrong with requirements for tokens.
fn check_rule(rule: &Value) -> Result<(), String> {
    match items(rule, "Providers")
        .iter()
        .any(|one| text(one, "Name").is_empty())
    {
        true => Err("JWT provider name is required".to_owned()),
        false => Ok(()),
    }
}

fn check_source(source: &Value, wild: bool, at: usize) -> Result<(), String> {
    let bad = |why: &str| Err(format!("Sources[{at}]{why}"));
    let name = text(source, "Name");
    if name.is_empty() {
        return bad(".Name is required");
    }
    check_name(name).map_err(|why| format!("Sources[{at}].{why}"))?;
    if text(source, "Description").len() > META_VALUE {
        return bad(&format!(".Description exceeds maximum length {META_VALUE}"));
    }
    let permissions = items(source, "Permissions");
    let action = text(source, "Action");
    if permissions.is_empty() && !matches!(action, "allow" | "deny") {
        return bad(".Action must be set to 'allow' or 'deny'");
    }
    if !permissions.is_empty() && !action.is_empty() {
        return bad(".Action must be omitted if Permissions are specified");
    }
    if wild && !permissions.is_empty() {
        return bad(".Permissions cannot be specified on intentions with wildcarded destinations");
    }
    if text(source, "Type") != "consul" {
        return bad(".Type must be set to 'consul'");
    }
    for (place, permission) in permissions.iter().enumerate() {
        let within = |why: &str| format!("Sources[{at}].Permissions[{place}]{why}");
        if !matches!(text(permission, "Action"), "allow" | "deny") {
            return Err(within(".Action must be set to 'allow' or 'deny'"));
        }
        let http = &permission["HTTP"];
        if http.is_null() {
            return Err(within(".HTTP is required"));
        }
        check_http(http).map_err(|why| within(&format!(".HTTP{why}")))?;
        check_rule(&permission["JWT"])?;
    }
    Ok(())
}

fn check_http(http: &Value) -> Result<(), String> {
    for key in ["PathExact", "PathPrefix"] {
        let path = text(http, key);
        if !path.is_empty() && !path.starts_with('/') {
            return Err(format!(".{key} doesn't start with '/': {path:?}"));
        }
    }
    let paths = said(http, &["PathExact", "PathPrefix", "PathRegex"]);
    if paths > 1 {
        return Err(
            " should only contain at most one of PathExact, PathPrefix, or PathRegex".to_owned(),
        );
    }
    let headers = items(http, "Header");
    for (at, header) in headers.iter().enumerate() {
        if text(header, "Name").is_empty() {
            return Err(format!(".Header[{at}] missing required Name field"));
        }
        let kinds = ["Present", "Exact", "Prefix", "Suffix", "Contains", "Regex"];
        if said(header, &kinds) != 1 {
            return Err(format!(
                ".Header[{at}] should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex"
            ));
        }
    }
    if let Some(why) = check_methods(http) {
        return Err(format!(".{why}"));
    }
    match paths + headers.len() + items(http, "Methods").len() {
        0 => Err(" should not be empty".to_owned()),
        _ => Ok(()),
    }
}

/// Ids and times are given by the older calls, and are lost when an entry is written as a whole.
///
/// # Errors
/// When metadata of an older intention would be lost.
pub(super) fn forget_ids(entry: &mut Value) -> Result<(), String> {
    let sources = entry.get_mut("Sources").and_then(Value::as_array_mut);
    for (at, source) in sources.into_iter().flatten().enumerate() {
        let Some(map) = source.as_object_mut() else {
            continue;
        };
        for key in ["LegacyID", "LegacyCreateTime", "LegacyUpdateTime"] {
            map.remove(key);
        }
        if let Some(Value::Object(meta)) = map.remove("LegacyMeta")
            && !meta.is_empty()
        {
            return Err(format!("Sources[{at}].LegacyMeta must be omitted"));
        }
    }
    Ok(())
}
