//! Request -> Command: publishing and removing configurations.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{
    Command, Expect, Extension, KeyRange, Keyspace, NacosConfig, Op, Put, Refusal, State, Write,
};
use portolan_listener::Caller;

use super::key::{ConfigKey, Release, valid_tag};
use super::read::{self, About};
use crate::app::App;
use crate::error::{Code, Problem};

/// How often a publication over an expected content is tried again.
const ATTEMPTS: usize = 16;
/// Content types; others become `text`.
const KINDS: [&str; 7] = ["properties", "xml", "json", "text", "html", "yaml", "toml"];

/// What to publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Publish {
    pub(crate) content: Bytes,
    pub(crate) kind: String,
    pub(crate) app: String,
    /// Comma separated.
    pub(crate) tags: String,
    pub(crate) about: About,
    /// Only over content of this MD5.
    pub(crate) cas_md5: String,
    /// Only for clients at these addresses, comma separated.
    pub(crate) beta_ips: String,
    /// Only for clients with this tag.
    pub(crate) tag: String,
}

/// The content type that is kept.
pub(crate) fn kind(sent: &str) -> &'static str {
    let sent = sent.trim().to_ascii_lowercase();
    let known = KINDS.into_iter().find(|kind| *kind == sent);
    known.unwrap_or(match sent.as_str() {
        "yml" => "yaml",
        "htm" => "html",
        _ => "text",
    })
}

/// Publishes one release of a configuration.
pub(crate) async fn publish(
    app: &App,
    caller: &Caller,
    key: &ConfigKey,
    publish: Publish,
) -> Result<(), Problem> {
    if publish.content.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::invalid("content is blank : "));
    }
    if publish.content.len() > app.settings.content_bytes {
        return Err(Problem::invalid(format!(
            "invalid content, over {}",
            app.settings.content_bytes
        )));
    }
    let release = match (&*publish.beta_ips, &*publish.tag) {
        ("", "") => Release::Formal,
        ("", tag) => Release::Tag(valid_tag(tag)?.to_owned()),
        _ => Release::Beta,
    };
    let config = NacosConfig {
        md5: read::md5_of(&publish.content).into(),
        kind: kind(&publish.kind).into(),
        app: publish.app.as_str().into(),
        // Of a release to some, whom it is for.
        tags: match &release {
            Release::Formal | Release::About => publish.tags.as_str().into(),
            Release::Beta => publish.beta_ips.as_str().into(),
            Release::Tag(tag) => tag.as_str().into(),
        },
    };
    for _ in 0..ATTEMPTS {
        let expect = match &*publish.cas_md5 {
            "" => Expect::Any,
            md5 => expected(app, key, &release, md5).await?,
        };
        let put = Put {
            extension: Some(Extension::Nacos(Arc::new(config.clone()))),
            expect,
            ..Put::new(
                Keyspace::NacosConfig,
                key.release(&release),
                publish.content.clone(),
            )
        };
        let mut then = vec![Op::Put(Box::new(put))];
        if release == Release::Formal {
            then.push(about(key, &publish.about));
        }
        let write = Write {
            then,
            ..Write::default()
        };
        match app.settle(caller, Command::Write(write)).await {
            Ok(_) => return Ok(()),
            Err(Problem::Refused(refusal)) if is_moved(&refusal) => {}
            Err(other) => return Err(other),
        }
    }
    Err(stale())
}

fn about(key: &ConfigKey, about: &About) -> Op {
    let key = key.release(&Release::About);
    if *about == About::default() {
        return Op::Delete {
            space: Keyspace::NacosConfig,
            range: KeyRange::One(key),
            expect: Expect::Any,
        };
    }
    // Text can always be written.
    let value = serde_json::to_vec(about).unwrap_or_default();
    Op::Put(Box::new(Put {
        quiet: true,
        ..Put::new(Keyspace::NacosConfig, key, value.into())
    }))
}

fn is_moved(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Changed(_) | Refusal::Exists | Refusal::NoKey => true,
        Refusal::Ops(failed) => failed.iter().any(|(_, refusal)| is_moved(refusal)),
        _ => false,
    }
}

fn stale() -> Problem {
    Problem::coded(
        Code::Conflict,
        "Cas publish fail, server md5 may have changed.",
    )
}

/// What a publication over content of that MD5 expects. A configuration that is not there may be created, as in the real server.
async fn expected(
    app: &App,
    key: &ConfigKey,
    release: &Release,
    md5: &str,
) -> Result<Expect, Problem> {
    let expect = |state: &State| match read::exactly(state, key, release.clone()) {
        None => Some(Expect::Absent),
        Some(found) if *found.extension().md5 == *md5 => {
            Some(Expect::Modified(found.record.modified))
        }
        Some(_) => None,
    };
    let known = |state: &State| expect(state).is_some();
    expect(&*app.registry.latest_unless(known).await?).ok_or_else(stale)
}

/// Removes a release; that for everybody with what is said about it. Nothing there is fine.
pub(crate) async fn remove(
    app: &App,
    caller: &Caller,
    key: &ConfigKey,
    release: &Release,
) -> Result<(), Problem> {
    let gone = |release: &Release| Op::Delete {
        space: Keyspace::NacosConfig,
        range: KeyRange::One(key.release(release)),
        expect: Expect::Any,
    };
    let mut then = vec![gone(release)];
    if *release == Release::Formal {
        then.push(gone(&Release::About));
    }
    let write = Write {
        then,
        ..Write::default()
    };
    app.settle(caller, Command::Write(write)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let rows = [
            ("yaml", "yaml"),
            ("YML", "yaml"),
            ("", "text"),
            ("unset", "text"),
            ("JSON", "json"),
        ];
        for (sent, kept) in rows {
            assert_eq!(kind(sent), kept);
        }
    }
}
