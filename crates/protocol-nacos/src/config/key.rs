//! Keys of configurations.
//!
//! `tenant/group/dataId` is the record that everybody gets. Releases to some clients only, and what is said about a configuration beside
//! its content, stand right behind it, after a zero byte that no name has.

use portolan_catalog::{Key, KeyRange};

use crate::error::Problem;
use crate::names::PUBLIC;

/// Longest data id.
const DATA_ID: usize = 256;
/// Longest group, tenant and tag.
const SHORT: usize = 128;

/// A configuration's name. Its parts are told apart by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConfigKey {
    /// The namespace, `public` for none.
    pub(crate) tenant: String,
    pub(crate) group: String,
    pub(crate) data_id: String,
}

/// Whom a record is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Everybody.
    Formal,
    /// Clients at some addresses.
    Beta,
    /// Clients with a tag.
    Tag(String),
    /// Nobody: what is said about the configuration.
    About,
}

/// The namespace of a configuration; nothing and null are `public`.
pub(crate) fn tenant(text: &str) -> &str {
    match text.trim() {
        "" => PUBLIC,
        tenant => tenant,
    }
}

/// Whether a name has none but the characters that Nacos allows.
fn is_valid(text: &str, most: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    !text.is_empty() && text.len() <= most && text.bytes().all(plain)
}

impl ConfigKey {
    /// From what a client sends.
    ///
    /// # Errors
    /// When a part is empty, too long, or has other characters than letters, digits and `_-.:`.
    pub(crate) fn new(tenant_id: &str, group: &str, data_id: &str) -> Result<ConfigKey, Problem> {
        let key = ConfigKey {
            tenant: tenant(tenant_id).to_owned(),
            group: group.trim().to_owned(),
            data_id: data_id.trim().to_owned(),
        };
        if !is_valid(&key.data_id, DATA_ID) {
            return Err(Problem::invalid(format!("invalid dataId : {data_id}")));
        }
        if !is_valid(&key.group, SHORT) {
            return Err(Problem::invalid(format!("invalid group : {group}")));
        }
        if !is_valid(&key.tenant, SHORT) {
            return Err(Problem::invalid("invalid tenant"));
        }
        Ok(key)
    }

    /// The tenant as answers have it: nothing for `public`.
    pub(crate) fn shown_tenant(&self) -> &str {
        match &*self.tenant {
            PUBLIC => "",
            tenant => tenant,
        }
    }

    fn text(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.group, self.data_id)
    }

    /// The key of the record that everybody gets.
    pub(crate) fn record(&self) -> Key {
        Key::from(&*self.text())
    }

    /// The key of a release.
    pub(crate) fn release(&self, release: &Release) -> Key {
        let text = self.text();
        let text = match release {
            Release::Formal => text,
            Release::Beta => format!("{text}\0beta"),
            Release::Tag(tag) => format!("{text}\0tag/{tag}"),
            Release::About => format!("{text}\0about"),
        };
        Key::from(&*text)
    }

    /// All records of the configuration.
    pub(crate) fn range(&self) -> KeyRange {
        let text = self.text();
        KeyRange::Between(Key::from(&*text), Key::from(&*format!("{text}\u{1}")))
    }

    /// What a key stands for.
    pub(crate) fn parse(key: &Key) -> Option<(ConfigKey, Release)> {
        let text = key.as_text()?;
        let (name, release) = match text.split_once('\0') {
            None => (text, Release::Formal),
            Some((name, "beta")) => (name, Release::Beta),
            Some((name, "about")) => (name, Release::About),
            Some((name, rest)) => (name, Release::Tag(rest.strip_prefix("tag/")?.to_owned())),
        };
        let mut parts = name.splitn(3, '/');
        let key = ConfigKey {
            tenant: parts.next()?.to_owned(),
            group: parts.next()?.to_owned(),
            data_id: parts.next()?.to_owned(),
        };
        Some((key, release))
    }

    /// The configuration whose record for everybody this is.
    pub(crate) fn formal(key: &Key) -> Option<ConfigKey> {
        ConfigKey::parse(key).and_then(|(key, release)| (release == Release::Formal).then_some(key))
    }

    /// The key of the record for everybody, of any record of the configuration.
    pub(crate) fn base(key: &Key) -> Option<Key> {
        let text = key.as_text()?;
        Some(
            text.split_once('\0')
                .map_or_else(|| key.clone(), |(name, _)| Key::from(name)),
        )
    }

    /// `dataId+group+tenant`, as 3.x names it in fuzzy watches.
    pub(crate) fn group_key(&self) -> String {
        format!("{}+{}+{}", self.data_id, self.group, self.tenant)
    }
}

/// A tag that a release may have.
pub(crate) fn valid_tag(tag: &str) -> Result<&str, Problem> {
    match is_valid(tag.trim(), SHORT) {
        true => Ok(tag.trim()),
        false => Err(Problem::invalid(format!("invalid tag : {tag}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_back() {
        let key = ConfigKey::new("", "DEFAULT_GROUP", "app.yaml").unwrap();
        for release in [
            Release::Formal,
            Release::Beta,
            Release::Tag("blue".into()),
            Release::About,
        ] {
            let record = key.release(&release);
            assert_eq!(ConfigKey::parse(&record), Some((key.clone(), release)));
            assert_eq!(ConfigKey::base(&record), Some(key.record()));
            assert!(key.range().contains(&record));
        }
        let next = ConfigKey::new("public", "DEFAULT_GROUP", "app.yaml-2").unwrap();
        assert!(!key.range().contains(&next.record()));
        assert_eq!(key.shown_tenant(), "");
        for (group, data_id) in [
            ("g", ""),
            ("", "d"),
            ("g", "a/b"),
            ("g", "a\0b"),
            ("g g", "d"),
            ("g", "日本"),
        ] {
            assert!(
                ConfigKey::new("", group, data_id).is_err(),
                "{group:?} {data_id:?}"
            );
        }
    }
}
