//! State -> configurations: which release a client gets, and lists of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use portolan_catalog::{Extension, KeyRange, Keyspace, NacosConfig, Record, State};
use serde::{Deserialize, Serialize};

use super::key::{ConfigKey, Release};
use crate::names;

/// The MD5 of a content, in small hexadecimal digits.
pub(crate) fn md5_of(content: &[u8]) -> String {
    let digest = Md5::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who asks, as far as releases look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reader<'a> {
    /// Its address.
    pub(crate) ip: &'a str,
    /// Its tag, from `Vipserver-Tag`.
    pub(crate) tag: &'a str,
}

/// A configuration as a client gets it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) record: Arc<Record>,
    pub(crate) release: Release,
}

/// What a configuration's record says beside its content.
pub(crate) fn extension(record: &Record) -> Arc<NacosConfig> {
    match &record.extension {
        Extension::Nacos(config) => config.clone(),
        // Written by something that is not Nacos' protocol.
        Extension::None | Extension::Znode(_) => Arc::new(NacosConfig {
            md5: md5_of(&record.bytes()).into(),
            ..NacosConfig::default()
        }),
    }
}

impl Found {
    pub(crate) fn content(&self) -> Bytes {
        self.record.bytes()
    }

    pub(crate) fn extension(&self) -> Arc<NacosConfig> {
        extension(&self.record)
    }

    /// The content's type, `text` when nobody said.
    pub(crate) fn kind(&self) -> String {
        match &*self.extension().kind {
            "" => "text".to_owned(),
            kind => kind.to_owned(),
        }
    }
}

/// The release that a reader gets: beta by its address, one by its tag, or what everybody gets.
pub(crate) fn find(state: &State, key: &ConfigKey, reader: Reader<'_>) -> Option<Found> {
    let at = |release: Release| {
        let record = state.record(Keyspace::NacosConfig, &key.release(&release))?;
        Some(Found {
            record: record.clone(),
            release,
        })
    };
    let beta = at(Release::Beta).filter(|found| {
        let ips = found.extension().tags.clone();
        ips.split(',').any(|ip| ip.trim() == reader.ip)
    });
    let tagged = || match reader.tag {
        "" => None,
        tag => at(Release::Tag(tag.to_owned())),
    };
    beta.or_else(tagged).or_else(|| at(Release::Formal))
}

/// One release, by its name.
pub(crate) fn exactly(state: &State, key: &ConfigKey, release: Release) -> Option<Found> {
    let record = state.record(Keyspace::NacosConfig, &key.release(&release))?;
    Some(Found {
        record: record.clone(),
        release,
    })
}

/// The MD5 of what a reader gets; nothing for a configuration that is not there.
pub(crate) fn md5_for(state: &State, key: &ConfigKey, reader: Reader<'_>) -> String {
    find(state, key, reader).map_or_else(String::new, |found| found.extension().md5.to_string())
}

/// What people say about a configuration, and what its readers need to unseal it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desc: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encrypted_data_key: Option<String>,
}

impl About {
    /// That of a configuration.
    pub(crate) fn of(state: &State, key: &ConfigKey) -> About {
        let record = state.record(Keyspace::NacosConfig, &key.release(&Release::About));
        record
            .and_then(|record| serde_json::from_slice(&record.bytes()).ok())
            .unwrap_or_default()
    }
}

/// What a search page asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Search {
    pub(crate) tenant: String,
    pub(crate) group: String,
    pub(crate) data_id: String,
    pub(crate) app: String,
    pub(crate) tags: String,
    pub(crate) kinds: String,
    /// What the content has in it.
    pub(crate) detail: String,
    /// `*` stands for anything, and names without one may stand anywhere.
    pub(crate) blur: bool,
}

impl Search {
    fn name(&self, pattern: &str, text: &str) -> bool {
        match (pattern, self.blur) {
            ("", _) => true,
            (pattern, false) => pattern == text,
            (pattern, true) if pattern.contains('*') => names::matches(pattern, text),
            (pattern, true) => text.contains(pattern),
        }
    }

    /// The configurations it finds, by key.
    pub(crate) fn find(&self, state: &State) -> Vec<(ConfigKey, Arc<Record>)> {
        let prefix = format!("{}/", super::key::tenant(&self.tenant));
        let range = KeyRange::prefix(prefix.as_bytes());
        let mut found = Vec::new();
        for (key, record) in state.range(Keyspace::NacosConfig, &range) {
            let Some(key) = ConfigKey::formal(key) else {
                continue;
            };
            let extension = extension(record);
            let any = |wanted: &str, has: &str| {
                let has: Vec<&str> = has.split(',').map(str::trim).collect();
                let mut wanted = wanted
                    .split(',')
                    .map(str::trim)
                    .filter(|it| !it.is_empty())
                    .peekable();
                wanted.peek().is_none() || wanted.any(|tag| has.contains(&tag))
            };
            let fits = self.name(&self.group, &key.group)
                && self.name(&self.data_id, &key.data_id)
                && (self.app.is_empty() || *extension.app == *self.app)
                && any(&self.tags, &extension.tags)
                && any(&self.kinds, &extension.kind)
                && (self.detail.is_empty()
                    || String::from_utf8_lossy(&record.bytes()).contains(&self.detail));
            if fits {
                found.push((key, record.clone()));
            }
        }
        found
    }
}

/// How many configurations each namespace has.
pub(crate) fn counts(state: &State) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (key, _) in state.range(Keyspace::NacosConfig, &KeyRange::all()) {
        if let Some(key) = ConfigKey::formal(key) {
            *counts.entry(key.tenant).or_insert(0) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_the_bytes() {
        assert_eq!(md5_of(b"v1"), "6654c734ccab8f440ff0825eb443dc7f");
        assert_eq!(
            md5_of("中文".as_bytes()),
            "a7bac2239fcdcb3a067903d8077c4a07"
        );
    }
}
