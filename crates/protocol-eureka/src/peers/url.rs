//! Where a peer is: its service URL, as clients have it in their `defaultZone`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The service URL of a peer: `http://10.0.0.1:8761/eureka/`, with `user:password@` where it asks for them.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerUrl {
    /// `HOST:PORT`.
    pub(crate) authority: String,
    /// The path with a final slash.
    pub(crate) path: String,
    /// The `Authorization` header.
    pub(crate) credentials: Option<String>,
}

impl fmt::Debug for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerUrl({self})")
    }
}

/// Without the credentials.
impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl FromStr for PeerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "{text:?} is no Eureka server's URL: {why}; write it as clients have it, such as http://10.0.0.1:8761/eureka/"
            )
        };
        let text = text.trim();
        let Some(rest) = text.strip_prefix("http://") else {
            let why = match text.starts_with("https://") {
                true => "peers over TLS are not built yet",
                false => "it does not begin with http://",
            };
            return Err(wrong(why));
        };
        let (place, path) = rest.split_once('/').unwrap_or((rest, "eureka/"));
        let (credentials, host) = match place.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, place),
        };
        let authority = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
                host.to_owned()
            }
            _ if host.ends_with(']') || (!host.contains(':') && !host.is_empty()) => {
                format!("{host}:80")
            }
            _ => return Err(wrong("it names no host")),
        };
        let good = |c: char| c.is_ascii_graphic() && !"?#\"<>\\".contains(c);
        if !authority.chars().all(good) || !path.chars().all(good) {
            return Err(wrong("it has characters that no such URL has"));
        }
        let path = path.trim_matches('/');
        let decoded = credentials.map(|user| {
            let user = percent_encoding::percent_decode_str(user);
            format!("Basic {}", STANDARD.encode(user.collect::<Vec<u8>>()))
        });
        Ok(PeerUrl {
            authority,
            path: match path {
                "" => "/".to_owned(),
                path => format!("/{path}/"),
            },
            credentials: decoded,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_clients() {
        for (text, shown) in [
            ("http://h:8761/eureka/", "http://h:8761/eureka/"),
            ("http://h:8761/eureka", "http://h:8761/eureka/"),
            ("http://h:8761", "http://h:8761/eureka/"),
            ("http://h/eureka/v2/", "http://h:80/eureka/v2/"),
            ("http://[::1]:8761/eureka/", "http://[::1]:8761/eureka/"),
        ] {
            let url: PeerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.credentials, None);
        }
        let url: PeerUrl = "http://user:p%40ss@h:1/eureka/".parse().unwrap();
        assert_eq!(url.credentials.as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert!(!format!("{url:?}").contains("ss"), "{url:?}");
        for wrong in [
            "h:8761",
            "https://h/eureka/",
            "http://",
            "http://h:x/",
            "http://h/a b",
        ] {
            assert!(wrong.parse::<PeerUrl>().is_err(), "{wrong}");
        }
    }
}
