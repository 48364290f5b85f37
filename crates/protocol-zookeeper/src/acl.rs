//! ACLs and identities: what clients say, checked and in the catalog's words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portolan_catalog::{Acl, AclEntry, Identity, Permission};
use sha1::{Digest, Sha1};

use crate::error::Code;
use crate::wire::{self, Writer};

/// Who everybody is from the first message on: their address.
pub(crate) fn of_peer(peer: SocketAddr) -> Identity {
    Identity {
        scheme: "ip".into(),
        id: peer.ip().to_canonical().to_string().into(),
    }
}

/// Who the client of a TLS port is: the subject of its certificate.
pub(crate) fn of_certificate(der: &[u8]) -> Option<Identity> {
    Some(Identity {
        scheme: "x509".into(),
        id: crate::certificate::subject(der)?.into(),
    })
}

/// Who a client says it is with an auth packet. Digest believes everybody: the password makes another identity, not a wrong one.
/// `certificate` is whom the connection's certificate names: the scheme `x509` says it again.
pub(crate) fn authenticate(
    scheme: &str,
    credentials: &[u8],
    peer: SocketAddr,
    certificate: Option<&Identity>,
) -> Option<Identity> {
    match scheme {
        "digest" => {
            let credentials = String::from_utf8_lossy(credentials);
            let user = credentials.split(':').next().unwrap_or_default();
            let hash = STANDARD.encode(Sha1::digest(credentials.as_bytes()));
            Some(Identity {
                scheme: scheme.into(),
                id: format!("{user}:{hash}").into(),
            })
        }
        "ip" => Some(of_peer(peer)),
        "x509" => certificate.cloned(),
        _ => None,
    }
}

/// The name that `whoAmI` shows.
pub(crate) fn user(identity: &Identity) -> &str {
    match &*identity.scheme {
        "digest" => identity.id.split(':').next().unwrap_or_default(),
        _ => &identity.id,
    }
}

/// A list as a client sends it, checked; `auth` stands for everybody that the client has said it is.
pub(crate) fn checked(list: Option<&[wire::Acl]>, who: &[Identity]) -> Result<Acl, Code> {
    let mut entries: Vec<AclEntry> = Vec::new();
    let mut add = |permissions: i32, scheme: Arc<str>, id: Arc<str>| {
        let entry = AclEntry {
            permissions,
            scheme,
            id,
        };
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    };
    for entry in list.unwrap_or_default() {
        match &*entry.scheme {
            "auth" => {
                let mut claimed = who.iter().filter(|who| &*who.scheme != "ip").peekable();
                claimed.peek().ok_or(Code::InvalidAcl)?;
                for who in claimed {
                    add(entry.permissions, who.scheme.clone(), who.id.clone());
                }
            }
            scheme if is_id(scheme, &entry.id) => {
                add(entry.permissions, scheme.into(), entry.id.as_str().into());
            }
            _ => return Err(Code::InvalidAcl),
        }
    }
    if entries.is_empty() {
        return Err(Code::InvalidAcl);
    }
    Ok(Acl::new(entries))
}

/// Whether an id is one of its scheme.
fn is_id(scheme: &str, id: &str) -> bool {
    match scheme {
        "world" => id == "anyone",
        // A name as in certificates: pairs of keyword and value.
        "x509" => id.split_once('=').is_some_and(|(keyword, _)| {
            !keyword.is_empty()
                && keyword
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.')
        }),
        "digest" => id
            .split_once(':')
            .is_some_and(|(_, hash)| !hash.is_empty() && !hash.contains(':')),
        "ip" => {
            let (address, bits) = match id.split_once('/') {
                Some((address, bits)) => (address, Some(bits)),
                None => (id, None),
            };
            let Ok(address) = address.parse::<IpAddr>() else {
                return false;
            };
            let most = if address.is_ipv4() { 32 } else { 128 };
            bits.is_none_or(|bits| bits.parse::<u32>().is_ok_and(|bits| bits <= most))
        }
        _ => false,
    }
}

/// Writes a node's list. Who may not change it does not see the hashes of passwords.
pub(crate) fn write(acl: &Acl, who: &[Identity], writer: &mut Writer) {
    let open = [AclEntry {
        permissions: Acl::ALL,
        scheme: "world".into(),
        id: "anyone".into(),
    }];
    let entries = match acl.entries() {
        [] => &open[..],
        entries => entries,
    };
    let may_see = acl.allows(Permission::Admin, who);
    writer.length(entries.len());
    for entry in entries {
        writer.int(entry.permissions).text(&entry.scheme);
        match entry.id.split_once(':') {
            Some((user, _)) if !may_see && &*entry.scheme == "digest" => {
                writer.text(&format!("{user}:x"));
            }
            _ => {
                writer.text(&entry.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scheme: &str, id: &str) -> wire::Acl {
        wire::Acl {
            permissions: 31,
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    #[test]
    fn a_digest_is_the_one_that_zookeeper_makes() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let ann = authenticate("digest", b"ann:pw", peer, None).unwrap();
        assert_eq!(&*ann.id, "ann:RYbu6l5aZwqon8VWmkcGvezdzfc=");
        assert_eq!(user(&ann), "ann");
        assert_eq!(authenticate("sasl", b"", peer, None), None);
        assert_eq!(authenticate("x509", b"", peer, None), None);
        let shown = Identity {
            scheme: "x509".into(),
            id: "CN=a".into(),
        };
        let found = authenticate("x509", b"", peer, Some(&shown));
        assert_eq!(found, Some(shown));
    }

    #[test]
    fn lists_are_checked_entry_by_entry() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let who = [
            of_peer(peer),
            authenticate("digest", b"ann:pw", peer, None).unwrap(),
        ];
        let rows = [
            (entry("world", "anyone"), true),
            (entry("world", "somebody"), false),
            (entry("digest", "a:b"), true),
            (entry("digest", "a"), false),
            (entry("digest", "a:"), false),
            (entry("digest", "a:b:c"), false),
            (entry("ip", "10.0.0.1"), true),
            (entry("ip", "10.0.0.1/24"), true),
            (entry("ip", "10.0.0.1/33"), false),
            (entry("ip", "::1/128"), true),
            (entry("ip", "host"), false),
            (entry("x509", "CN=a,O=b"), true),
            (entry("x509", "somebody"), false),
            (entry("sasl", "a"), false),
            (entry("", ""), false),
            (entry("auth", "whatever"), true),
        ];
        for (entry, good) in rows {
            let list = [entry.clone()];
            assert_eq!(checked(Some(&list), &who).is_ok(), good, "{entry:?}");
        }
        assert_eq!(checked(None, &who), Err(Code::InvalidAcl));
        assert_eq!(checked(Some(&[]), &who), Err(Code::InvalidAcl));
        assert_eq!(
            checked(Some(&[entry("auth", "")]), &who[..1]),
            Err(Code::InvalidAcl)
        );
        let twice = [
            entry("auth", ""),
            entry("auth", "x"),
            entry("world", "anyone"),
        ];
        assert_eq!(checked(Some(&twice), &who).unwrap().entries().len(), 2);
    }
}
