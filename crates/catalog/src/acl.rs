//! Access lists of single records: ZooKeeper's ACLs.

use std::net::IpAddr;
use std::sync::Arc;

/// What an entry allows, as ZooKeeper's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See data and children.
    Read = 1,
    /// Change the data.
    Write = 2,
    /// Create children.
    Create = 4,
    /// Remove children.
    Delete = 8,
    /// Change the list.
    Admin = 16,
}

/// Somebody a caller is, by a scheme's own spelling: (`digest`, `ann:hash`), (`ip`, `10.0.0.1`), (`x509`, subject).
///
/// The scheme `super` may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How it is known.
    pub scheme: Arc<str>,
    /// Who.
    pub id: Arc<str>,
}

/// One entry of an [`Acl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Bits of [`Permission`]; others are kept and mean nothing.
    pub permissions: i32,
    /// The scheme; `world` is everybody, `ip` may have `/bits` behind the address.
    pub scheme: Arc<str>,
    /// Whom.
    pub id: Arc<str>,
}

impl AclEntry {
    fn is_of(&self, who: &Identity) -> bool {
        if self.scheme != who.scheme {
            return false;
        }
        match &*self.scheme {
            "ip" => within(&self.id, &who.id),
            _ => self.id == who.id,
        }
    }
}

/// Who may do what with a record. Without entries it is open to all: what ZooKeeper's clients call `world:anyone:cdrwa`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Option<Arc<[AclEntry]>>);

impl Acl {
    /// Every bit of [`Permission`].
    pub const ALL: i32 = 31;

    /// A list; the one that is open to all costs nothing.
    pub fn new(entries: Vec<AclEntry>) -> Acl {
        let open = |entry: &AclEntry| {
            entry.permissions == Acl::ALL && &*entry.scheme == "world" && &*entry.id == "anyone"
        };
        match &entries[..] {
            [] => Acl(None),
            [one] if open(one) => Acl(None),
            _ => Acl(Some(entries.into())),
        }
    }

    /// The entries; none when it is open to all.
    pub fn entries(&self) -> &[AclEntry] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether one of `who` has `permission`.
    pub fn allows(&self, permission: Permission, who: &[Identity]) -> bool {
        let Some(entries) = &self.0 else { return true };
        let mut able = entries
            .iter()
            .filter(|entry| entry.permissions & permission as i32 != 0);
        who.iter().any(|id| &*id.scheme == "super")
            || able.any(|entry| &*entry.scheme == "world" || who.iter().any(|id| entry.is_of(id)))
    }
}

/// Whether `address` is in the block `address[/bits]`.
fn within(block: &str, address: &str) -> bool {
    let (base, bits) = match block.split_once('/') {
        Some((base, bits)) => (base, Some(bits)),
        None => (block, None),
    };
    let (Ok(base), Ok(address)) = (base.parse::<IpAddr>(), address.parse::<IpAddr>()) else {
        return false;
    };
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let bits = match bits.map(str::parse::<u32>) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return false,
    };
    (base ^ address).checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(permissions: i32, scheme: &str, id: &str) -> AclEntry {
        AclEntry {
            permissions,
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    #[test]
    fn an_entry_allows_its_bits_to_its_scheme() {
        let ann = Identity {
            scheme: "digest".into(),
            id: "ann:x".into(),
        };
        let host = Identity {
            scheme: "ip".into(),
            id: "10.1.2.3".into(),
        };
        let rows = [
            (vec![], true),
            (vec![entry(31, "world", "anyone")], true),
            (vec![entry(30, "world", "anyone")], false),
            (vec![entry(1, "digest", "ann:x")], true),
            (vec![entry(2, "digest", "ann:x")], false),
            (vec![entry(31, "digest", "bob:x")], false),
            (vec![entry(1, "ip", "10.1.2.3")], true),
            (vec![entry(1, "ip", "10.1.0.0/16")], true),
            (vec![entry(1, "ip", "10.2.0.0/16")], false),
            (vec![entry(1, "ip", "0.0.0.0/0")], true),
            (vec![entry(1, "ip", "::/0")], false),
            (vec![entry(1, "ip", "10.1.2.3/33")], false),
        ];
        for (entries, allowed) in rows {
            let acl = Acl::new(entries);
            let who = [host.clone(), ann.clone()];
            assert_eq!(acl.allows(Permission::Read, &who), allowed, "{acl:?}");
        }
        let operator = Identity {
            scheme: "super".into(),
            id: "".into(),
        };
        assert!(Acl::new(vec![entry(0, "world", "anyone")]).allows(Permission::Admin, &[operator]));
    }
}
