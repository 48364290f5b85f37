//! The filter language of `?filter=`: a boolean expression over the rows of one answer.
//!
//! ```text
//! expr  := and ("or" and)*          and := not ("and" not)*          not := "not" not | "(" expr ")" | match
//! match := selector ("==" | "!=") value | selector "is" ["not"] "empty" | value ["not"] "in" selector
//!        | selector ["not"] ("contains" | "matches") value
//! ```
//!
//! Rows are judged as JSON, so a selector is spelled exactly as the answer spells it. Expressions come from the network:
//! their length and their nesting are bounded, and a regular expression runs in linear time.

mod eval;
mod parse;

use serde::Serialize;
use serde_json::Value;

/// The longest expression that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// The deepest nesting of parentheses that is read.
const DEEPEST: usize = 64;

/// A parsed expression, ready to judge rows.
#[derive(Debug)]
pub(crate) struct Filter {
    expression: parse::Expression,
}

impl Filter {
    /// Reads an expression. `known` are the names a selector may begin with; empty means any.
    ///
    /// # Errors
    /// The sentence for the client when the text is no expression or names an unknown field.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let fail = |why: String| format!("Failed to create boolean expression evaluator: {why}");
        if text.len() > LONGEST {
            return Err(fail(format!(
                "the expression is longer than {LONGEST} bytes"
            )));
        }
        if text.bytes().filter(|byte| *byte == b'(').count() > DEEPEST {
            return Err(fail(format!(
                "the expression has more than {DEEPEST} parentheses"
            )));
        }
        let expression = parse::expression(text).map_err(fail)?;
        if !known.is_empty() {
            for selector in expression.selectors() {
                if !known.contains(&selector) {
                    return Err(fail(format!("Selector {selector:?} is not valid")));
                }
            }
        }
        Ok(Self { expression })
    }

    /// Whether the expression holds for `row`.
    ///
    /// # Errors
    /// The sentence for the client when a value cannot be compared with the field (`ServicePort == abc`).
    pub(crate) fn matches(&self, row: &Value) -> Result<bool, String> {
        eval::holds(&self.expression, row)
    }

    /// Keeps the rows for which the expression holds.
    ///
    /// # Errors
    /// As [`Filter::matches`].
    pub(crate) fn retain<T: Serialize>(&self, rows: &mut Vec<T>) -> Result<(), String> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows.drain(..) {
            let seen = serde_json::to_value(&row).map_err(|error| error.to_string())?;
            if self.matches(&seen)? {
                kept.push(row);
            }
        }
        *rows = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Value {
        json!({
            "Node": {"Node": "n1", "Meta": {"os": "linux", "a-b": "x"}},
            "Service": {"Service": "web", "Tags": ["v1", "Primary"], "Port": 80, "EnableTagOverride": false,
                        "Meta": {"version": "2", "env": "qa", "n": "-1"}},
            "Checks": [{"Status": "passing", "CheckID": "serfHealth"}, {"Status": "critical", "CheckID": "c"}],
        })
    }

    #[test]
    fn expressions_hold_or_not() {
        let table = [
            (r#"Service.Service == "web""#, true),
            ("Service.Service == web", true),
            ("Service.Service != web", false),
            ("Service.Meta.version == 2", true),
            ("Service.Meta.n == -1", true),
            ("Service.Port == 80", true),
            ("Service.Port != 80", false),
            ("Service.EnableTagOverride == false", true),
            ("Service.EnableTagOverride == F", true),
            (r#"Node.Meta["a-b"] == x"#, true),
            ("Node.Meta[ `a-b` ] == x", true),
            ("v1 in Service.Tags", true),
            ("primary in Service.Tags", false),
            ("v1 not in Service.Tags", false),
            (r#"Service.Tags contains "v1""#, true),
            ("Service.Tags not contains v2", true),
            ("env in Service.Meta", true),
            ("Service.Meta contains nope", false),
            (r#""we" in Service.Service"#, true),
            ("Service.Meta.absent == x", false),
            ("Service.Meta.absent != x", true),
            ("Service.Meta.absent is empty", true),
            ("Service.Meta.absent is not empty", false),
            ("Service.Tags is empty", false),
            (r#"Service.Service matches "^w.b$""#, true),
            ("Service.Service matches `eb`", true),
            ("Service.Service not matches `^eb`", true),
            (r#"Checks.Status == "critical""#, true),
            (r#"Checks.Status == "warning""#, false),
            (
                "Service.Port == 1 or Node.Node == n1 and v1 in Service.Tags",
                true,
            ),
            ("not Service.Port == 1 and Node.Node == n1", true),
            ("not (Service.Port == 80 and Node.Node == n1)", false),
            ("not not Node.Node == n1", true),
            ("  ( Node.Node==n1 )  ", true),
            (r#"Service.Meta.env == "q\u0061""#, true),
        ];
        for (text, expected) in table {
            let filter = Filter::parse(text, &["Node", "Service", "Checks"])
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filter.matches(&row()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_words_clients_look_for() {
        for text in [
            "",
            "Service",
            "Service ==",
            "Service.Service == foo-bar",
            "Nope.x == 1",
            "Service.Service matches `(`",
            "(Node.Node == n1",
            "Node.Node == \"n1",
            "Node.Node === n1",
            &"(".repeat(5000),
            &"x".repeat(20_000),
        ] {
            let error = Filter::parse(text, &["Node", "Service", "Checks"]).expect_err(text);
            assert!(
                error.starts_with("Failed to create boolean expression evaluator: "),
                "{error}"
            );
        }
        let filter = Filter::parse("Service.Port == abc", &[]).unwrap();
        assert!(filter.matches(&row()).unwrap_err().contains("abc"));
    }

    #[test]
    fn long_chains_do_not_exhaust_the_stack() {
        let text = format!("{}Node.Node == n1", "not ".repeat(3000));
        assert_eq!(Filter::parse(&text, &[]).unwrap().matches(&row()), Ok(true));
    }
}
