//! Keeps web pages out: a page in a developer's browser must not reach a registry on loopback.
//!
//! Two attacks, two checks, before any handler runs:
//!
//! 1. **DNS rebinding** (the class of CVE-2018-5702). A page's own domain is made to resolve to 127.0.0.1; to the browser that is
//!    still the page's origin, so it may read and write. The browser cannot hide the name it used: on a loopback port a `Host`
//!    (HTTP/2: `:authority`) that names a domain is refused with 403, unless it is `localhost` (also `*.localhost`), the node's name or
//!    an allowed name.
//! 2. **Cross-site writes.** Any page may send a form or a simple `fetch` to any address. Browsers add `Origin`: a request other than
//!    GET or HEAD whose `Origin` is not the `Host` it is sent to, nor an allowed name, is refused with 403, on every port.
//!    So is one with `Sec-Fetch-Site: cross-site`.
//!
//! The rule for `Host` is lenient where no browser can be behind it. Refused is only what a browser could have sent, which after
//! its URL parser (WHATWG URL, section 3.5) is a name without any of `# / < > ? @ [ \ ] ^ | %`, space or control characters, and whose last
//! label is not a number. So IP literals in every spelling pass, and so do an absent or empty `Host`, percent-encoded socket paths
//! and what old gRPC clients of etcd call themselves (`#initially=[...]`).
//! (Over HTTP/2 those arrive as zeros, see [`authority`](crate::authority), and pass as numbers do.)
//! gRPC is not asked at all: it comes over HTTP/2 in the clear, which no browser speaks.

use http::header::{HOST, ORIGIN};
use http::uri::Uri;
use http::{HeaderMap, HeaderName, Method};

/// The header in which newer browsers say how a request's page relates to its target.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which browsers may reach this server. Lower case, without port and final dot.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// The node's name and further allowed ones; empty names are ignored.
    pub fn new(node_name: &str, allowed: &[String]) -> Names {
        let names = allowed.iter().map(String::as_str).chain([node_name]);
        Names(
            names
                .map(|name| host_of(name.trim()).to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        )
    }

    fn contain(&self, host: &str) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Why a request was not let in. `Display` is the plain text of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Answer 400.
    #[error("a request must have one host header")]
    ManyHosts,
    /// Answer 403.
    #[error(
        "host {0:?} is not served here; use an IP address or localhost, or start the server with --allowed-host"
    )]
    Host(String),
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
                return Err(Foreign::Host(host.to_owned()));
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
    !from_a_browser(authority, host) || is_localhost(host) || names.contain(host)
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

fn is_localhost(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    last.eq_ignore_ascii_case("localhost")
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
            ("evil.example", false),
            ("evil.example:8500", false),
            ("EVIL.example.", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1.nip.io:8500", false),
            ("evillocalhost", false),
            ("node-1.evil.example", false),
            ("x.registry.corp.example", false),
            ("consul", false),
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
            Err(Foreign::Host(_)) => "host",
            Err(Foreign::Origin(_)) => "origin",
            Err(Foreign::CrossSite) => "site",
        }
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
