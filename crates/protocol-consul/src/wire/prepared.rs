//! Prepared queries as clients define them and as they are kept: JSON under `query/<id>` of the Consul objects.
//!
//! A definition is kept as the client sent it (keys in Consul's spelling, unset lists null), because clients compare what
//! they read with what they wrote.

use super::duration::parse_duration;
use super::fields::{Fields, Malformed};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The kinds of template there are.
const TEMPLATE: &str = "name_prefix_match";

/// What Consul shows instead of a token, and so never takes for one.
const REDACTED: &str = "<hidden>";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PreparedQuery {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) session: String,
    pub(crate) token: String,
    pub(crate) template: Template,
    pub(crate) service: QueryService,
    #[serde(rename = "DNS")]
    pub(crate) dns: QueryDns,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Template {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) regexp: String,
    pub(crate) remove_empty_tags: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueryService {
    pub(crate) service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sameness_group: String,
    pub(crate) failover: Failover,
    pub(crate) only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    pub(crate) ignore_check_ids: Option<Vec<String>>,
    pub(crate) near: String,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) node_meta: Option<BTreeMap<String, String>>,
    pub(crate) service_meta: Option<BTreeMap<String, String>>,
    pub(crate) connect: bool,
    pub(crate) peer: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Failover {
    pub(crate) nearest_n: i64,
    pub(crate) datacenters: Option<Vec<String>>,
    pub(crate) targets: Option<Vec<Target>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) peer: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct QueryDns {
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
}

impl PreparedQuery {
    /// Reads a definition, the client's or the stored one.
    pub(crate) fn of(value: &Value) -> Result<Self, Malformed> {
        let fields = Fields::of(value, "query")?;
        let service = fields.object("service")?.unwrap_or_default();
        let maybe_map = |key: &str| -> Result<Option<BTreeMap<String, String>>, Malformed> {
            Ok(if service.get(key).is_some() {
                Some(service.strings_of(key)?)
            } else {
                None
            })
        };
        let failover = match service.object("failover")? {
            None => Failover::default(),
            Some(failover) => {
                let mut targets = Vec::new();
                for target in failover.list("targets")? {
                    let target = Fields::of(target, "Targets")?;
                    targets.push(Target {
                        datacenter: target.text("datacenter")?,
                        peer: target.text("peer")?,
                    });
                }
                Failover {
                    nearest_n: failover.integer("nearestn")?,
                    datacenters: failover.maybe_texts("datacenters")?,
                    targets: failover.get("targets").map(|_| targets),
                }
            }
        };
        let template = match fields.object("template")? {
            None => Template::default(),
            Some(template) => Template {
                kind: template.text("type")?,
                regexp: template.text("regexp")?,
                remove_empty_tags: template.flag("removeemptytags")?,
            },
        };
        let dns = match fields.object("dns")? {
            None => QueryDns::default(),
            Some(dns) => QueryDns {
                ttl: dns.text("ttl")?,
            },
        };
        Ok(Self {
            id: fields.text("id")?,
            name: fields.text("name")?,
            session: fields.text("session")?,
            token: fields.text("token")?,
            template,
            service: QueryService {
                service: service.text("service")?,
                sameness_group: service.text("samenessgroup")?,
                failover,
                only_passing: service.flag("onlypassing")?,
                ignore_check_ids: service.maybe_texts("ignorecheckids")?,
                near: service.text("near")?,
                tags: service.maybe_texts("tags")?,
                node_meta: maybe_map("nodemeta")?,
                service_meta: maybe_map("servicemeta")?,
                connect: service.flag("connect")?,
                peer: service.text("peer")?,
            },
            dns,
        })
    }

    /// What is wrong with a definition, in Consul's words, if anything is.
    pub(crate) fn refused(&self) -> Option<String> {
        if self.template.kind.is_empty() {
            if !self.template.regexp.is_empty() {
                return Some("Template must have a Type".to_owned());
            }
        } else if self.template.kind != TEMPLATE {
            return Some(format!("Bad Template.Type '{}'", self.template.kind));
        } else if let Err(error) = regex::RegexBuilder::new(&self.template.regexp)
            .size_limit(1 << 18)
            .build()
        {
            return Some(format!("Bad Template: invalid Regexp: {error}"));
        }
        if self.name.is_empty() && self.template.kind.is_empty() && self.session.is_empty() {
            return Some("Must be bound to a session".to_owned());
        }
        if self.service.service.is_empty() {
            return Some("Must provide a Service name to query".to_owned());
        }
        if self.service.failover.nearest_n < 0 {
            return Some(format!(
                "Bad NearestN '{}', must be >= 0",
                self.service.failover.nearest_n
            ));
        }
        let failover = &self.service.failover;
        let by_place = failover.nearest_n != 0 || failover.datacenters.iter().flatten().count() > 0;
        if by_place && failover.targets.iter().flatten().count() > 0 {
            return Some("Targets cannot be populated with NearestN or Datacenters".to_owned());
        }
        if self.token == REDACTED {
            return Some(format!(
                "Bad Token '{REDACTED}', it looks like a query definition with a redacted token was submitted"
            ));
        }
        if !self.dns.ttl.is_empty() {
            match parse_duration(&self.dns.ttl) {
                Err(error) => return Some(format!("Bad DNS TTL '{}': {error}", self.dns.ttl)),
                Ok(nanos) if nanos < 0 => {
                    return Some(format!("DNS TTL '{nanos}', must be >=0"));
                }
                Ok(_) => {}
            }
        }
        None
    }

    /// The definition for a concrete name: a template with its `${name.full}`, `${name.prefix}`, `${name.suffix}` and
    /// `${match(N)}` filled in; a plain query as it is.
    pub(crate) fn filled_for(&self, name: &str) -> Self {
        let mut filled = self.clone();
        if self.template.kind.is_empty() {
            return filled;
        }
        let captures: Vec<String> = regex::RegexBuilder::new(&self.template.regexp)
            .size_limit(1 << 18)
            .build()
            .ok()
            .filter(|regex| !regex.as_str().is_empty())
            .and_then(|regex| {
                regex.captures(name).map(|found| {
                    found
                        .iter()
                        .map(|group| {
                            group.map_or_else(String::new, |text| text.as_str().to_owned())
                        })
                        .collect()
                })
            })
            .unwrap_or_default();
        let suffix = name.get(self.name.len()..).unwrap_or_default();
        let fill = |text: &str| interpolate(text, name, &self.name, suffix, &captures);
        let service = &mut filled.service;
        service.service = fill(&service.service);
        service.near = fill(&service.near);
        for tag in service.tags.iter_mut().flatten() {
            *tag = fill(tag);
        }
        if self.template.remove_empty_tags
            && let Some(tags) = &mut service.tags
        {
            tags.retain(|tag| !tag.is_empty());
        }
        for map in [&mut service.node_meta, &mut service.service_meta]
            .into_iter()
            .flatten()
        {
            for value in map.values_mut() {
                *value = fill(value);
            }
        }
        filled
    }
}

/// Replaces each `${...}`; what is not known becomes nothing.
fn interpolate(text: &str, full: &str, prefix: &str, suffix: &str, captures: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            rest = &rest[start..];
            out.push_str(rest);
            return out;
        };
        match rest[start + 2..start + end].trim() {
            "name.full" => out.push_str(full),
            "name.prefix" => out.push_str(prefix),
            "name.suffix" => out.push_str(suffix),
            expression => {
                let number = expression
                    .strip_prefix("match(")
                    .and_then(|inner| inner.strip_suffix(')'));
                if let Some(found) = number
                    .and_then(|n| n.trim().parse::<usize>().ok())
                    .and_then(|n| captures.get(n))
                {
                    out.push_str(found);
                }
            }
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        let sent = json!({"Name": "q", "Service": {"Service": "web", "Tags": ["a", "!b"], "OnlyPassing": true,
            "Failover": {"NearestN": 2, "Datacenters": ["dc2"]}, "NodeMeta": {"k": "v"}}, "DNS": {"TTL": "10s"}});
        let query = PreparedQuery::of(&sent).unwrap();
        let again = PreparedQuery::of(&serde_json::to_value(&query).unwrap()).unwrap();
        assert_eq!(query, again);
        assert_eq!(query.refused(), None);
        let shown = serde_json::to_value(&query).unwrap();
        assert_eq!(shown["Service"]["IgnoreCheckIDs"], Value::Null);
        assert_eq!(shown["Service"]["Failover"]["Datacenters"], json!(["dc2"]));
    }

    #[test]
    fn definitions_that_cannot_work_are_refused() {
        for (sent, text) in [
            (
                json!({"Service": {"Service": "web"}}),
                "Must be bound to a session",
            ),
            (json!({"Name": "q"}), "Must provide a Service name to query"),
            (
                json!({"Name": "q", "Service": {"Service": "x"}, "DNS": {"TTL": "nope"}}),
                "Bad DNS TTL 'nope'",
            ),
            (
                json!({"Name": "q", "Service": {"Service": "x"}, "Template": {"Type": "x"}}),
                "Bad Template.Type 'x'",
            ),
            (
                json!({"Name": "q", "Service": {"Service": "x"}, "DNS": {"TTL": "-1s"}}),
                "DNS TTL '-1000000000', must be >=0",
            ),
            (
                json!({"Name": "q", "Token": "<hidden>", "Service": {"Service": "x"}}),
                "Bad Token '<hidden>', it looks like",
            ),
            (
                json!({"Name": "q", "Service": {"Service": "x",
                    "Failover": {"NearestN": 1, "Targets": [{"Datacenter": "dc2"}]}}}),
                "Targets cannot be populated with NearestN or Datacenters",
            ),
            (
                json!({"Name": "q", "Service": {"Service": "x"}, "Template": {"Type": "name_prefix_match", "Regexp": "("}}),
                "Bad Template: invalid Regexp",
            ),
        ] {
            let refused = PreparedQuery::of(&sent).unwrap().refused().unwrap();
            assert!(refused.starts_with(text), "{refused}");
        }
    }

    #[test]
    fn templates_are_filled() {
        let query = PreparedQuery::of(&json!({"Name": "geo-", "Template": {"Type": "name_prefix_match",
            "Regexp": "^geo-(.*?)-([^-]+)$", "RemoveEmptyTags": true},
            "Service": {"Service": "${match(1)}", "Tags": ["${match(2)}", "${match(9)}", "x-${name.suffix}"]}}))
        .unwrap();
        let filled = query.filled_for("geo-db-primary");
        assert_eq!(filled.service.service, "db");
        assert_eq!(
            filled.service.tags,
            Some(vec!["primary".to_owned(), "x-db-primary".to_owned()])
        );
    }
}
