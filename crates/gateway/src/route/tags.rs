//! Routes in tags, as Traefik and fabio read them: `traefik.http.routers.X.rule=...` and `urlprefix-host/path`.
//!
//! What a tag asks for and is not done here makes the whole route one that is not served, and `why` tells: a route without the middleware that
//! guards it would be worse than none.

use http::{HeaderName, HeaderValue, Method};
use portolan_catalog::ServiceKey;

use super::rule::{HostMatch, PathMatch, Rule};

mod expression;

/// The rules in the tags of a service, and what of them is not served.
pub(crate) fn rules<'a>(
    service: &ServiceKey,
    tags: impl Iterator<Item = &'a str> + Clone,
) -> (Vec<Rule>, Vec<String>) {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    let enabled = !tags
        .clone()
        .any(|tag| tag.eq_ignore_ascii_case("traefik.enable=false"));
    for tag in tags.clone() {
        let read = if let Some(route) = tag.strip_prefix("urlprefix-") {
            fabio(service, route).map(|rule| vec![rule])
        } else if let Some((router, rule)) = router(tag).filter(|_| enabled) {
            traefik(service, router, rule, tags.clone())
        } else {
            continue;
        };
        match read {
            Ok(rules) => found.extend(rules),
            Err(why) => wrong.push(format!("the route in the tag {tag:?} is not served: {why}")),
        }
    }
    (found, wrong)
}

/// `traefik.http.routers.X.rule=...`.
fn router(tag: &str) -> Option<(&str, &str)> {
    let (key, rule) = tag.split_once('=')?;
    let router = key.strip_prefix("traefik.http.routers.")?;
    Some((router.strip_suffix(".rule")?, rule))
}

/// What other tags say of a router or a middleware.
fn option<'a>(mut tags: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    tags.find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='))
}

fn traefik<'a>(
    service: &ServiceKey,
    router: &str,
    text: &str,
    tags: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<Rule>, String> {
    let of = |what: &str| {
        option(
            tags.clone(),
            &format!("traefik.http.routers.{router}.{what}"),
        )
    };
    let mut prefixes: Vec<&str> = Vec::new();
    for name in of("middlewares").unwrap_or_default().split(',') {
        let name = name.trim().split('@').next().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let key = format!("traefik.http.middlewares.{name}.stripprefix.prefixes");
        match option(tags.clone(), &key) {
            Some(list) => prefixes.extend(list.split(',').map(str::trim)),
            None => {
                return Err(format!(
                    "middleware {name:?} is not a stripprefix in the tags of this service"
                ));
            }
        }
    }
    let priority = of("priority").map(|text| text.trim().parse());
    let priority = priority
        .transpose()
        .map_err(|_| "the priority is not a number")?;
    let mut rules = Vec::new();
    for terms in expression::read(text)? {
        let mut rule = Rule::new(service.clone());
        rule.priority = priority.unwrap_or(0);
        for term in terms {
            apply(&mut rule, &term)?;
        }
        let (PathMatch::Begins(path) | PathMatch::Exact(path)) = &rule.path else {
            rules.push(rule);
            continue;
        };
        let strip = prefixes.iter().find(|prefix| path.starts_with(**prefix));
        rule.strip = strip.map(|prefix| (*prefix).to_owned());
        rules.push(rule);
    }
    Ok(rules)
}

/// Adds one condition to a rule.
fn apply(rule: &mut Rule, term: &expression::Term) -> Result<(), String> {
    let [first, rest @ ..] = &*term.values else {
        return Err(format!("{} has no value", term.name));
    };
    match (&*term.name, rest) {
        ("Host", []) if rule.host == HostMatch::Any => {
            rule.host = HostMatch::Exact(first.to_ascii_lowercase());
        }
        ("Path", []) if rule.path == PathMatch::Any => {
            rule.path = PathMatch::Exact(first.clone());
        }
        ("PathPrefix", []) if rule.path == PathMatch::Any => {
            rule.path = PathMatch::Begins(first.clone());
        }
        ("Method", []) if rule.methods.is_empty() => {
            let method = Method::from_bytes(first.to_ascii_uppercase().as_bytes());
            rule.methods = vec![method.map_err(|_| format!("{first:?} is not a method"))?];
        }
        ("Header" | "Headers", [value]) => {
            let name = HeaderName::from_bytes(first.as_bytes());
            let value = HeaderValue::from_str(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(format!("{first:?} is not the name of a field"));
            };
            rule.headers.push((name, value));
        }
        ("Host" | "Path" | "PathPrefix" | "Method", []) => {
            return Err(format!("{} stands twice and can match once", term.name));
        }
        (name, _) => {
            return Err(format!(
                "{name} with {} values is not known here; there is Host, Path, PathPrefix, Method and Header",
                term.values.len()
            ));
        }
    }
    Ok(())
}

/// `host/path strip=/path`.
fn fabio(service: &ServiceKey, text: &str) -> Result<Rule, String> {
    let mut words = text.split_ascii_whitespace();
    let source = words.next().unwrap_or_default();
    let (host, path) = source
        .find('/')
        .map(|at| source.split_at(at))
        .ok_or("there is no path; TCP is not served by tags")?;
    let mut rule = Rule::new(service.clone());
    rule.host = HostMatch::read(host);
    rule.path = match path {
        "/" => PathMatch::Any,
        path => PathMatch::Begins(path.to_owned()),
    };
    for word in words {
        match word.split_once('=') {
            Some(("strip", prefix)) if path.starts_with(prefix) => {
                rule.strip = Some(prefix.to_owned());
            }
            Some(("proto", "http" | "grpc")) => {}
            _ => return Err(format!("the option {word:?} is not known here")),
        }
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tags: &[&str]) -> (Vec<Rule>, Vec<String>) {
        rules(&ServiceKey::plain("web"), tags.iter().copied())
    }

    #[test]
    fn what_traefik_and_fabio_read_is_read() {
        let host = |text: &str| HostMatch::Exact(text.into());
        let begins = |text: &str| PathMatch::Begins(text.into());
        let (found, wrong) = of(&[
            "primary",
            "traefik.enable=true",
            "traefik.http.routers.web.rule=Host(`A.example.com`, `b.example.com`) && (PathPrefix(`/x`) || Path(`/y`))",
            "urlprefix-c.example.com/z strip=/z",
            "urlprefix-/all",
            "urlprefix-*.d.example.com/",
        ]);
        assert_eq!(wrong, [""; 0]);
        let seen: Vec<_> = found
            .iter()
            .map(|r| (r.host.clone(), r.path.clone()))
            .collect();
        let exact = PathMatch::Exact("/y".into());
        assert_eq!(
            seen,
            [
                (host("a.example.com"), begins("/x")),
                (host("a.example.com"), exact.clone()),
                (host("b.example.com"), begins("/x")),
                (host("b.example.com"), exact),
                (host("c.example.com"), begins("/z")),
                (HostMatch::Any, begins("/all")),
                (HostMatch::Below(".d.example.com".into()), PathMatch::Any),
            ]
        );
        assert_eq!(found[4].strip.as_deref(), Some("/z"));
        let (found, wrong) = of(&[
            "traefik.http.routers.a.rule=PathPrefix(`/a`)",
            "traefik.http.routers.a.middlewares=cut@consulcatalog",
            "traefik.http.middlewares.cut.stripprefix.prefixes=/a",
            "traefik.http.routers.a.priority=9",
        ]);
        assert_eq!(
            (found[0].strip.as_deref(), found[0].priority),
            (Some("/a"), 9)
        );
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn what_is_not_done_is_not_served_at_all() {
        for tags in [
            &["traefik.http.routers.a.rule=HostRegexp(`.*`)"][..],
            &["traefik.http.routers.a.rule=Host(`a`) && !Path(`/x`)"],
            &["traefik.http.routers.a.rule=Host(`a`"],
            &["traefik.http.routers.a.rule=Host(`a`) Path(`/x`)"],
            &["traefik.http.routers.a.rule="],
            &["traefik.http.routers.a.rule=Host(`a`) && Host(`b`)"],
            &[
                "traefik.http.routers.a.rule=Host(`a`)",
                "traefik.http.routers.a.middlewares=auth",
                "traefik.http.middlewares.auth.basicauth.users=u:p",
            ],
            &["urlprefix-:3306 proto=tcp"],
            &["urlprefix-a/ redirect=301,https://b/"],
        ] {
            let (found, wrong) = of(tags);
            assert_eq!((found.len(), wrong.len()), (0, 1), "{tags:?}");
        }
        let off = [
            "traefik.enable=false",
            "traefik.http.routers.a.rule=Host(`a`)",
        ];
        assert_eq!(of(&off), (Vec::new(), Vec::new()));
        let deep = format!("traefik.http.routers.a.rule={}", "(".repeat(10_000));
        assert_eq!(of(&[&deep]).1.len(), 1);
        let wide = vec!["Host(`a`,`b`)"; 20].join(" && ");
        assert_eq!(
            of(&[&format!("traefik.http.routers.a.rule={wide}")])
                .1
                .len(),
            1
        );
    }
}
