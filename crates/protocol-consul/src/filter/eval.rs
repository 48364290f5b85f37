//! Expression and row to verdict.

use super::parse::{Expression, Request, Test};
use crate::wire::parse_bool;
use serde_json::Value;

/// Whether `expression` holds for `row`.
pub(super) fn holds(expression: &Expression, row: &Value) -> Result<bool, String> {
    match expression {
        Expression::Any(parts) => {
            for part in parts {
                if holds(part, row)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expression::All(parts) => {
            for part in parts {
                if !holds(part, row)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expression::Not(inner) => Ok(!holds(inner, row)?),
        Expression::Test(test) => walk(test, Some(row), &test.path),
    }
}

/// Follows the path; through a list, one element that passes is enough.
fn walk(test: &Test, at: Option<&Value>, path: &[String]) -> Result<bool, String> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(judge(&test.request, at)? != test.negated);
    };
    match at {
        Some(Value::Array(items)) => {
            for item in items {
                if walk(test, Some(item), path)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Some(Value::Object(fields)) => walk(test, fields.get(name), rest),
        _ => walk(test, None, rest),
    }
}

fn judge(request: &Request, field: Option<&Value>) -> Result<bool, String> {
    let field = field.unwrap_or(&Value::Null);
    match request {
        Request::IsEmpty => Ok(match field {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }),
        Request::Equals(literal) => equals(field, literal),
        Request::Contains(literal) => match field {
            Value::Null => Ok(false),
            Value::String(text) => Ok(text.contains(literal.as_str())),
            Value::Object(fields) => Ok(fields.contains_key(literal)),
            Value::Array(items) => {
                for item in items {
                    if equals(item, literal)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Bool(_) | Value::Number(_) => Err(format!(
                "cannot look for {literal:?} in a field that is neither text nor a list"
            )),
        },
        Request::Matches(regex) => match field {
            Value::Null => Ok(false),
            Value::String(text) => Ok(regex.is_match(text)),
            _ => {
                Err("cannot match a regular expression against a field that is not text".to_owned())
            }
        },
    }
}

fn equals(field: &Value, literal: &str) -> Result<bool, String> {
    match field {
        Value::Null => Ok(false),
        Value::String(text) => Ok(text == literal),
        Value::Bool(flag) => parse_bool(literal)
            .map(|wanted| wanted == *flag)
            .ok_or_else(|| format!("error coercing value {literal:?} to a boolean")),
        Value::Number(number) => {
            if let (Some(have), Ok(wanted)) = (number.as_i64(), literal.parse::<i64>()) {
                return Ok(have == wanted);
            }
            match (number.as_f64(), literal.parse::<f64>()) {
                (Some(have), Ok(wanted)) => Ok((have - wanted).abs() < f64::EPSILON),
                _ => Err(format!("error coercing value {literal:?} to a number")),
            }
        }
        Value::Array(_) | Value::Object(_) => {
            Err(format!("cannot compare a list or a map with {literal:?}"))
        }
    }
}
