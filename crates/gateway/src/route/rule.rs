//! One rule: what a request must be like, and which service it is for then.

use http::{HeaderName, HeaderValue, Method};
use portolan_api as api;
use portolan_catalog::ServiceKey;

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostMatch {
    Any,
    /// Lower case, without a port.
    Exact(String),
    /// What begins with any label: `.example.com`.
    Below(String),
}

/// Which paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathMatch {
    Any,
    Exact(String),
    /// `/a`, `/a/` and what is below it, but not `/ab`.
    Below(String),
    /// Whatever begins so.
    Begins(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Of two rules that match, the one with more comes first, whatever they match.
    pub(crate) priority: i64,
    pub(crate) host: HostMatch,
    pub(crate) path: PathMatch,
    /// None: all.
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) service: ServiceKey,
    /// What is taken from the front of the path.
    pub(crate) strip: Option<String>,
}

impl HostMatch {
    /// Reads `example.com`, `*.example.com` or nothing.
    pub(crate) fn read(text: &str) -> HostMatch {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some("") => HostMatch::Any,
            Some(rest) => HostMatch::Below(rest.to_owned()),
            None if text.is_empty() => HostMatch::Any,
            None => HostMatch::Exact(text),
        }
    }
}

impl PathMatch {
    fn length(&self) -> usize {
        match self {
            PathMatch::Any => 0,
            PathMatch::Exact(path) | PathMatch::Below(path) | PathMatch::Begins(path) => path.len(),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Begins(start) => path.starts_with(start.as_str()),
            PathMatch::Below(start) => path
                .strip_prefix(start.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

impl Rule {
    /// One that matches everything.
    pub(crate) fn new(service: ServiceKey) -> Rule {
        Rule {
            priority: 0,
            host: HostMatch::Any,
            path: PathMatch::Any,
            methods: Vec::new(),
            headers: Vec::new(),
            service,
            strip: None,
        }
    }

    /// An explicit route.
    pub(crate) fn explicit(route: &api::Route) -> Option<Rule> {
        let mut rule = Rule::new(ServiceKey::new(
            &route.namespace,
            &route.group,
            &route.service,
        ));
        rule.host = HostMatch::read(&route.host);
        rule.path = match route.path.strip_suffix('$') {
            Some(exact) => PathMatch::Exact(exact.to_owned()),
            None if route.path.is_empty() || route.path == "/" => PathMatch::Any,
            None => PathMatch::Below(route.path.clone()),
        };
        for method in &route.methods {
            rule.methods
                .push(Method::from_bytes(method.as_bytes()).ok()?);
        }
        for (name, value) in &route.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            rule.headers
                .push((name, HeaderValue::from_str(value).ok()?));
        }
        let path = route.path.strip_suffix('$').unwrap_or(&route.path);
        rule.strip = route.strip.then(|| path.to_owned());
        Some(rule)
    }

    /// What decides which of two comes first: higher first.
    pub(crate) fn rank(&self) -> (i64, bool, usize, usize) {
        let exact = matches!(self.path, PathMatch::Exact(_));
        let conditions = usize::from(!self.methods.is_empty()) + self.headers.len();
        (self.priority, exact, self.path.length(), conditions)
    }

    /// Whether a request is for it, its host apart.
    pub(crate) fn matches(&self, path: &str, method: &Method, headers: &http::HeaderMap) -> bool {
        self.path.matches(path)
            && (self.methods.is_empty() || self.methods.contains(method))
            && self
                .headers
                .iter()
                .all(|(name, value)| headers.get_all(name).iter().any(|found| found == value))
    }
}
