//! What a token claims, under the names that rules have for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::method::{Config, Refused, refused};

/// What is claimed. Rules speak of it as `value.NAME` and `list.NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    values: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Claimed {
    /// As selectors see it.
    pub fn row(&self) -> Value {
        json!({"value": self.values, "list": self.lists})
    }

    /// A text with what is claimed in the places of `${value.NAME}`.
    ///
    /// # Errors
    /// When it names what is not mapped, or cannot be read.
    pub fn filled(&self, text: &str) -> Result<String, Refused> {
        let mut made = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            made.push_str(&rest[..at]);
            let Some((name, after)) = rest[at + 2..].split_once('}') else {
                return Err(refused(format!("{text:?} is not closed by }}")));
            };
            let value = name
                .trim()
                .strip_prefix("value.")
                .and_then(|name| self.values.get(name));
            made.push_str(
                value.ok_or_else(|| {
                    refused(format!("unknown variable accessed: {}", name.trim()))
                })?,
            );
            rest = after;
        }
        made.push_str(rest);
        Ok(made)
    }
}

/// The claim that a mapping names: by its key, or by the way to it, as `/a/b`.
fn find<'a>(token: &'a Value, claim: &str) -> Option<&'a Value> {
    let found = match claim.starts_with('/') {
        true => token.pointer(claim),
        false => token.get(claim),
    };
    found.filter(|value| !value.is_null())
}

fn text(claim: &str, value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(refused(format!(
            "error converting claim '{claim}' to string from unknown type"
        ))),
    }
}

/// All names, with nothing claimed.
pub(super) fn nothing(config: &Config) -> Claimed {
    let values = config.values.values();
    let lists = config.lists.values();
    Claimed {
        values: values.map(|name| (name.clone(), String::new())).collect(),
        lists: lists.map(|name| (name.clone(), Vec::new())).collect(),
    }
}

/// What `token` claims.
pub(super) fn claimed(token: &Value, config: &Config) -> Result<Claimed, Refused> {
    let mut made = nothing(config);
    for (claim, name) in &config.values {
        if let Some(value) = find(token, claim) {
            made.values.insert(name.clone(), text(claim, value)?);
        }
    }
    for (claim, name) in &config.lists {
        let items = match find(token, claim) {
            None => continue,
            Some(Value::Array(items)) => items.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let items = items.iter().map(|item| text(claim, item));
        made.lists
            .insert(name.clone(), items.collect::<Result<_, _>>()?);
    }
    Ok(made)
}
