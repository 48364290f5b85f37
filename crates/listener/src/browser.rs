//! Keeps web pages out: a page in a developer's browser must not reach a registry on loopback.
//!
//! Two attacks, two checks, before any handler runs:
//!
//! 1. **DNS rebinding** (the class of CVE-2018-5702). A page's own domain is made to resolve to 127.0.0.1; to the browser that is
//!    still the page's origin, so it may read and write. The browser cannot hide the name it used: on a loopback port a `Host`
//!    (HTTP/2: `:authority`) that the page's owner could have registered is refused with 403.
//! 2. **Cross-site writes.** Any page may send a form or a simple `fetch` to any address. Browsers add `Origin`: a request other than
//!    GET or HEAD whose `Origin` is not the `Host` it is sent to, nor an allowed name, is refused with 403, on every port.
//!    So is one with `Sec-Fetch-Site: cross-site`.
//!
//! The rule for `Host` must not meet programs. Only a name that somebody else can register in public DNS is a danger; so these pass:
//! - what no browser can have looked up: IP literals in every spelling, an absent or empty `Host`, and anything that a URL parser
//!   (WHATWG URL, section 3.5) refuses as a name, such as percent-encoded socket paths or `#initially=[...]` (over HTTP/2 those arrive
//!   as zeros, see [`authority`](crate::authority)). A name whose last label is a number counts as an address;
//! - names of one label, such as a proxy's `consul_backend` or a container's name;
//! - names below (or equal to) a domain that public DNS never delegates: `localhost`, `internal`, `local`, `test`, `home.arpa`;
//! - names in the zones that this server itself answers ([`Settings::zones`](crate::Settings::zones));
//! - the node's name, allowed names, and names that the machine's own hosts file gives to itself
//!   ([`Settings::local_names`](crate::Settings::local_names)).
//!
//! gRPC is not asked at all: it comes over HTTP/2 in the clear, which no browser speaks.

use std::fmt;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::uri::Uri;
use http::{HeaderMap, HeaderName, Method};

/// The header in which newer browsers say how a request's page relates to its target.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Domains that public DNS does not delegate (RFC 6761, RFC 6762, RFC 8375, and ICANN's reservation of `internal`).
const PRIVATE: [&str; 5] = ["localhost", "internal", "local", "test", "home.arpa"];

/// Says whether a host name, in lower case without port and final dot, is one of this machine's own. Asked last, before a refusal.
pub type LocalNames = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The names under which this server may be reached on a loopback port. Lower case, without port and final dot.
#[derive(Clone, Default)]
pub struct Names {
    /// The node's name and allowed ones.
    own: Vec<String>,
    /// Domains in which every name passes.
    domains: Vec<String>,
    local: Option<LocalNames>,
}

impl Names {
    /// The node's name and further allowed ones; empty names are ignored.
    pub fn new(node_name: &str, allowed: &[String]) -> Names {
        let names = allowed.iter().map(String::as_str).chain([node_name]);
        Names {
            own: folded(names),
            domains: PRIVATE.map(str::to_owned).to_vec(),
            local: None,
        }
    }

    /// Lets every name in `zones` pass as well.
    #[must_use]
    pub fn with_zones(mut self, zones: &[String]) -> Names {
        self.domains.extend(folded(
            zones.iter().map(|zone| zone.trim_start_matches('.')),
        ));
        self
    }

    /// Lets the names pass that `local` knows.
    #[must_use]
    pub fn with_local(mut self, local: Option<LocalNames>) -> Names {
        self.local = local;
        self
    }

    fn contain(&self, host: &str) -> bool {
        self.own.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether `host` is no name that a stranger could own.
    fn serve(&self, host: &str) -> bool {
        !host.contains('.')
            || self.contain(host)
            || self.domains.iter().any(|domain| within(host, domain))
            || (self.local.as_ref()).is_some_and(|local| local(&host.to_ascii_lowercase()))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("own", &self.own)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

fn folded<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names
        .map(|name| host_of(name.trim()).to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Whether `host` is `domain` or below it. `domain` is in lower case.
fn within(host: &str, domain: &str) -> bool {
    let Some(at) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    let (above, tail) = host.as_bytes().split_at(at);
    tail.eq_ignore_ascii_case(domain.as_bytes()) && (above.is_empty() || above.ends_with(b"."))
}

/// Why a request was not let in. `Display` is the plain text of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Answer 400.
    #[error("a request must have one host header")]
    ManyHosts,
    /// Answer 403.
    #[error(
        "host {0:?} is a public name and not one of this server's; start the server with --allowed-host {1} to allow it, or use an IP address or localhost"
    )]
    Host(String, String),
    /// Answer 403.
    #[error("requests from the web page {0:?} may not change anything here")]
    Origin(String),
    /// Answer 403.
    #[error("requests from other web pages may not change anything here")]
    CrossSite,
}

/// Checks one request. `loopback` says whether its port is one that only this machine reaches.
pub fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    loopback: bool,
    names: &Names,
) -> Result<(), Foreign> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Foreign::ManyHosts);
    }
    // Bytes outside ASCII come from no browser.
    let header = header.and_then(|value| value.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str());
    if loopback {
        for host in [authority, header].into_iter().flatten() {
            if !serves(host, names) {
                let name = host_of(host).to_ascii_lowercase();
                return Err(Foreign::Host(host.to_owned(), name));
            }
        }
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        return match same_site(&origin, authority.or(header).unwrap_or(""), names) {
            true => Ok(()),
            false => Err(Foreign::Origin(origin.into_owned())),
        };
    }
    match headers.get(SEC_FETCH_SITE) {
        Some(site) if site == "cross-site" => Err(Foreign::CrossSite),
        _ => Ok(()),
    }
}

/// Whether `authority` may be asked for on a loopback port.
fn serves(authority: &str, names: &Names) -> bool {
    let host = host_of(authority);
    !from_a_browser(authority, host) || names.serve(host)
}

/// The name in `name:port`, without a final dot. Anything else is left as it is.
fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether a browser could have resolved `host` by DNS.
fn from_a_browser(authority: &str, host: &str) -> bool {
    let forbidden = |byte: u8| byte <= b' ' || byte >= 0x7f || b"#/<>?@[\\]^|%:".contains(&byte);
    // User information is no part of the host; a browser does not send it, and whoever does must not slip through by it.
    if let Some((_, rest)) = authority.rsplit_once('@') {
        return from_a_browser(rest, host_of(rest));
    }
    let numeric = || host.rsplit('.').next().is_some_and(is_number);
    !host.is_empty() && !numeric() && !host.bytes().any(forbidden)
}

/// Whether a URL parser takes a name ending in this label for an IPv4 address.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn same_site(origin: &str, host: &str, names: &Names) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false; // `null`: a sandboxed frame, a file, a redirect
    };
    let standard = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let authority = authority.strip_suffix(standard).unwrap_or(authority);
    let host = host.strip_suffix(standard).unwrap_or(host);
    authority.eq_ignore_ascii_case(host) || names.contain(host_of(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("Node-1", &["registry.corp.example.".to_owned()])
            .with_zones(&["Consul.".to_owned(), "svc.corp.example".to_owned()])
            .with_local(Some(Arc::new(|name| name == "vm.lab.example")))
    }

    #[test]
    fn loopback_ports_serve_only_names_of_theirs() {
        let rows = [
            ("127.0.0.1:8500", true),
            ("127.0.0.1", true),
            ("[::1]:8500", true),
            ("[::1]", true),
            ("10.1.2.3:8500", true),
            ("127.1", true),
            ("0x7f000001:80", true),
            ("localhost", true),
            ("LocalHost:8500", true),
            ("localhost.:8500", true),
            ("app.localhost", true),
            ("node-1", true),
            ("NODE-1:8500", true),
            ("node-1.:2379", true),
            ("registry.corp.example:443", true),
            ("Registry.Corp.Example", true),
            ("", true),
            ("#initially=[http://127.0.0.1:2379]", true),
            ("#initially=[etcd.example:2379]", true),
            ("%2Ftmp%2Fetcd.sock", true),
            ("/tmp/etcd.sock", true),
            ("unix:///tmp/etcd.sock", true),
            // One label: a proxy's upstream, a container, a machine of the same network.
            ("consul_backend", true),
            ("consul_backend:8500", true),
            ("etcd", true),
            ("evillocalhost", true),
            // Private domains, and what only looks like them.
            ("registry.internal", true),
            ("my_service.Internal.:80", true),
            ("printer.local", true),
            ("a.b.test", true),
            ("router.home.arpa", true),
            ("home.arpa", true),
            ("evil.arpa", false),
            ("evilhome.arpa", false),
            ("evil.mytest", false),
            ("internal.evil.example", false),
            ("my_service.evil.example", false),
            // Zones of this server.
            ("consul", true),
            ("web.service.consul", true),
            ("web.service.dc1.CONSUL.:8500", true),
            ("svc.corp.example", true),
            ("web.svc.corp.example", true),
            ("websvc.corp.example", false),
            ("notconsul.example", false),
            // The hosts file.
            ("vm.lab.example", true),
            ("VM.lab.example.:2379", true),
            ("x.vm.lab.example", false),
            ("evil.example", false),
            ("evil.example:8500", false),
            ("EVIL.example.", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1.nip.io:8500", false),
            ("node-1.evil.example", false),
            ("x.registry.corp.example", false),
            ("a_b.evil.example", false),
            ("a~b=c.evil.example", false),
            ("xn--bcher-kva.example", false),
            ("user@evil.example", false),
            ("127.0.0.1@evil.example:80", false),
            ("user@127.0.0.1", true),
        ];
        for (host, served) in rows {
            assert_eq!(serves(host, &names()), served, "{host}");
        }
    }

    fn ask(method: Method, uri: &str, headers: &[(&str, &str)], loopback: bool) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        match check(&method, &uri.parse().unwrap(), &map, loopback, &names()) {
            Ok(()) => "in",
            Err(Foreign::ManyHosts) => "hosts",
            Err(Foreign::Host(..)) => "host",
            Err(Foreign::Origin(_)) => "origin",
            Err(Foreign::CrossSite) => "site",
        }
    }

    #[test]
    fn a_refusal_names_the_flag_with_its_value() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "Registry.Example.com:8500".parse().unwrap());
        let refused = check(
            &Method::GET,
            &Uri::from_static("/"),
            &headers,
            true,
            &names(),
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "host \"Registry.Example.com:8500\" is a public name and not one of this server's; \
             start the server with --allowed-host registry.example.com to allow it, or use an IP address or localhost"
        );
    }

    #[test]
    fn pages_of_other_sites_may_not_write() {
        let here = ("host", "127.0.0.1:8500");
        let put = |headers: &[(&str, &str)]| ask(Method::PUT, "/", headers, true);
        assert_eq!(put(&[here]), "in");
        assert_eq!(put(&[here, ("origin", "http://127.0.0.1:8500")]), "in");
        assert_eq!(put(&[here, ("origin", "http://evil.example")]), "origin");
        assert_eq!(
            put(&[here, ("origin", "http://127.0.0.1:3000")]),
            "origin",
            "another port is another site"
        );
        assert_eq!(put(&[here, ("origin", "null")]), "origin");
        assert_eq!(put(&[here, ("origin", "chrome-extension://abc")]), "origin");
        assert_eq!(
            put(&[here, ("origin", "https://registry.corp.example")]),
            "in"
        );
        assert_eq!(put(&[here, ("sec-fetch-site", "cross-site")]), "site");
        assert_eq!(put(&[here, ("sec-fetch-site", "same-origin")]), "in");
        assert_eq!(
            put(&[("host", "localhost"), ("origin", "http://localhost:80")]),
            "in"
        );
        assert_eq!(
            put(&[("origin", "http://evil.example")]),
            "origin",
            "no host is nobody's site"
        );
        for (method, answer) in [
            (Method::GET, "in"),
            (Method::HEAD, "in"),
            (Method::POST, "origin"),
            (Method::DELETE, "origin"),
            (Method::OPTIONS, "origin"),
        ] {
            let headers = [here, ("origin", "http://evil.example")];
            assert_eq!(ask(method.clone(), "/", &headers, true), answer, "{method}");
        }
    }

    #[test]
    fn the_host_check_is_for_loopback_and_for_both_places_a_name_can_stand() {
        let evil = [("host", "evil.example")];
        assert_eq!(ask(Method::GET, "/", &evil, true), "host");
        assert_eq!(ask(Method::GET, "/", &evil, false), "in");
        assert_eq!(ask(Method::GET, "/", &[], true), "in");
        assert_eq!(
            ask(
                Method::GET,
                "http://evil.example/",
                &[("host", "localhost")],
                true
            ),
            "host"
        );
        assert_eq!(
            ask(
                Method::POST,
                "http://localhost:2379/etcdserverpb.KV/Range",
                &[],
                true
            ),
            "in"
        );
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(ask(Method::GET, "/", &two, false), "hosts");
        assert_eq!(
            ask(
                Method::PUT,
                "/",
                &[("host", "evil.example"), ("origin", "http://other.example")],
                false
            ),
            "origin",
            "cross-site writes are refused on every port"
        );
    }
}
