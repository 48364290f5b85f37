//! All rules, ordered so that the first one that matches is the right one.

use std::collections::HashMap;

use http::{HeaderMap, Method};
use portolan_catalog::ServiceKey;

use super::rule::{HostMatch, Rule};

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: ServiceKey,
    /// Bytes to be taken from the front of the path.
    pub(crate) strip: usize,
}

/// Rules of one origin.
#[derive(Clone, Debug, Default)]
struct Rules {
    exact: HashMap<String, Vec<Rule>>,
    /// The longest first.
    below: Vec<(String, Vec<Rule>)>,
    any: Vec<Rule>,
    count: usize,
}

impl Rules {
    fn new(rules: impl Iterator<Item = Rule>) -> Rules {
        let mut all = Rules::default();
        for rule in rules {
            all.count += 1;
            match &rule.host {
                HostMatch::Any => all.any.push(rule),
                HostMatch::Exact(host) => {
                    let host = host.clone();
                    all.exact.entry(host).or_default().push(rule);
                }
                HostMatch::Below(suffix) => {
                    match all.below.iter_mut().find(|(known, _)| known == suffix) {
                        Some((_, rules)) => rules.push(rule),
                        None => all.below.push((suffix.clone(), vec![rule])),
                    }
                }
            }
        }
        let sort = |rules: &mut Vec<Rule>| {
            // Of equals the service that comes first by name: the order must not depend on who registered when.
            rules.sort_by(|a, b| {
                b.rank()
                    .cmp(&a.rank())
                    .then_with(|| a.service.cmp(&b.service))
            });
        };
        all.exact.values_mut().for_each(sort);
        all.below.iter_mut().for_each(|(_, rules)| sort(rules));
        sort(&mut all.any);
        all.below
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        all
    }

    fn find(&self, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Option<&Rule> {
        let first = |rules: &'_ [Rule]| {
            rules
                .iter()
                .position(|rule| rule.matches(path, method, headers))
        };
        if let Some(rules) = self.exact.get(host)
            && let Some(at) = first(rules)
        {
            return rules.get(at);
        }
        for (suffix, rules) in &self.below {
            if host.len() > suffix.len()
                && host.ends_with(suffix.as_str())
                && let Some(at) = first(rules)
            {
                return rules.get(at);
            }
        }
        self.any.get(first(&self.any)?)
    }
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    explicit: Rules,
    tags: Rules,
}

impl Table {
    /// Explicit routes come before those of tags.
    pub(crate) fn new(
        explicit: impl Iterator<Item = Rule>,
        tags: impl Iterator<Item = Rule>,
    ) -> Table {
        Table {
            explicit: Rules::new(explicit),
            tags: Rules::new(tags),
        }
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.explicit.count + self.tags.count
    }

    /// What a request is for by a rule. The host is in small letters and without a port.
    pub(crate) fn find(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Target> {
        if self.len() == 0 {
            return None;
        }
        let found = self.explicit.find(host, path, method, headers);
        let rule = found.or_else(|| self.tags.find(host, path, method, headers))?;
        let stripped = rule
            .strip
            .as_deref()
            .map(|strip| strip.trim_end_matches('/'));
        Some(Target {
            service: rule.service.clone(),
            strip: stripped
                .filter(|strip| path.starts_with(strip))
                .map_or(0, str::len),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tags::rules;
    use super::*;
    use portolan_api as api;

    fn route(host: &str, path: &str, service: &str) -> api::Route {
        api::Route {
            host: host.into(),
            path: path.into(),
            service: service.into(),
            ..api::Route::default()
        }
    }

    #[test]
    fn the_nearest_rule_comes_first() {
        let mut routes = vec![
            route("a.example.com", "", "exact"),
            route("a.example.com", "/api", "exact-api"),
            route("a.example.com", "/api/v2", "exact-api-2"),
            route("a.example.com", "/api/only$", "one"),
            route("*.example.com", "", "wild"),
            route("*.b.example.com", "", "wilder"),
            route("", "/shared", "shared"),
        ];
        routes.push(api::Route {
            methods: vec!["POST".into()],
            headers: vec![("x-beta".into(), "1".into())],
            strip: true,
            ..route("a.example.com", "/api", "beta")
        });
        let tag = "traefik.http.routers.x.rule=Host(`a.example.com`) && PathPrefix(`/api`)";
        let (tagged, _) = rules(&ServiceKey::plain("tagged"), [tag].into_iter());
        let other = "urlprefix-tags.example.com/";
        let (other, _) = rules(&ServiceKey::plain("fabio"), [other].into_iter());
        let table = Table::new(
            routes.iter().filter_map(Rule::explicit),
            tagged.into_iter().chain(other),
        );
        let rows = [
            ("a.example.com", "/", "exact", 0),
            ("a.example.com", "/api", "exact-api", 0),
            ("a.example.com", "/apis", "exact", 0),
            ("a.example.com", "/api/v2/x", "exact-api-2", 0),
            ("a.example.com", "/api/only", "one", 0),
            ("a.example.com", "/api/only/x", "exact-api", 0),
            ("z.example.com", "/", "wild", 0),
            ("a.b.example.com", "/", "wilder", 0),
            ("other", "/shared/x", "shared", 0),
            // An explicit route, and be it a wild one, comes before a tag.
            ("tags.example.com", "/", "wild", 0),
        ];
        let plain = HeaderMap::new();
        for (host, path, service, strip) in rows {
            let found = table.find(host, path, &Method::GET, &plain);
            let service = ServiceKey::plain(service);
            assert_eq!(found, Some(Target { service, strip }), "{host}{path}");
        }
        assert_eq!(table.find("example.com", "/", &Method::GET, &plain), None);
        let mut beta = HeaderMap::new();
        beta.insert("x-beta", http::HeaderValue::from_static("1"));
        let found = table.find("a.example.com", "/api/x", &Method::POST, &beta);
        let service = ServiceKey::plain("beta");
        assert_eq!(found, Some(Target { service, strip: 4 }));
    }
}
