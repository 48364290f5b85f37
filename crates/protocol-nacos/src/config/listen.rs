//! Listening: what a client has, against what it would get now.

use std::time::Duration;

use portolan_catalog::Keyspace;
use portolan_listener::Caller;
use portolan_registry::Selector;
use tokio::time::{Instant, timeout_at};

use super::key::ConfigKey;
use super::read::{self, Reader};
use crate::app::App;
use crate::error::Problem;

/// Between the fields of one configuration in `Listening-Configs`.
const WORD: char = '\u{2}';
/// After each configuration there.
const LINE: char = '\u{1}';
/// Configurations that one poll may listen to.
const MOST: usize = 10_000;

/// A configuration that a gRPC connection listens to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listen {
    pub(crate) key: ConfigKey,
    /// The client says where it is, and says nothing for `public`.
    pub(crate) tenant: String,
    /// What the client has, or was told of.
    pub(crate) md5: String,
    /// A notification is on its way.
    pub(crate) under_way: bool,
}

/// One configuration of a poll.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Polled {
    pub(crate) key: ConfigKey,
    /// As the client wrote it.
    pub(crate) tenant: String,
    pub(crate) md5: String,
}

/// Reads `Listening-Configs`.
///
/// # Errors
/// When it is not of the form, names something that cannot be, or too many.
pub(crate) fn parse(text: &str) -> Result<Vec<Polled>, Problem> {
    let mut all = Vec::new();
    for line in text.split(LINE).filter(|line| !line.is_empty()) {
        let mut words = line.split(WORD);
        let (Some(data_id), Some(group)) = (words.next(), words.next()) else {
            return Err(Problem::invalid("invalid probeModify"));
        };
        let md5 = words.next().unwrap_or_default();
        let tenant = words.next().unwrap_or_default();
        all.push(Polled {
            key: ConfigKey::new(tenant, group, data_id)?,
            tenant: tenant.to_owned(),
            md5: md5.to_owned(),
        });
        if all.len() > MOST {
            return Err(Problem::invalid("too many configurations in one poll"));
        }
    }
    if all.is_empty() {
        return Err(Problem::invalid("invalid probeModify"));
    }
    Ok(all)
}

/// Those of which a reader would get something else now.
pub(crate) fn changed<'a>(app: &App, polled: &'a [Polled], reader: Reader<'_>) -> Vec<&'a Polled> {
    let state = app.registry.snapshot();
    polled
        .iter()
        .filter(|it| read::md5_for(&state, &it.key, reader) != it.md5)
        .collect()
}

/// Waits until something differs, or until the time is over.
pub(crate) async fn poll<'a>(
    app: &App,
    caller: &Caller,
    polled: &'a [Polled],
    reader: Reader<'_>,
    wait: Duration,
) -> Vec<&'a Polled> {
    let until = Instant::now() + wait;
    let ranges = polled
        .iter()
        .map(|it| Selector::Range(Keyspace::NacosConfig, it.key.range()));
    let selectors: Vec<Selector> = ranges.collect();
    loop {
        let after = app.registry.read(|state| state.revision());
        let feed = app.registry.follow(selectors.clone(), after);
        let differs = changed(app, polled, reader);
        if !differs.is_empty() {
            return differs;
        }
        let Ok(mut feed) = feed else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::select! {
            next = timeout_at(until, feed.next()) => {
                if next.is_err() {
                    return Vec::new();
                }
            }
            () = caller.draining() => return Vec::new(),
        }
    }
}

/// The answer to a poll: one line each, percent-encoded as a whole.
pub(crate) fn encode(changed: &[&Polled]) -> String {
    let mut text = String::new();
    for it in changed {
        let mut words = vec![&*it.key.data_id, &*it.key.group];
        if !it.tenant.is_empty() && it.key.shown_tenant() != "" {
            words.push(&it.tenant);
        }
        text.push_str(&words.join(&WORD.to_string()));
        text.push(LINE);
    }
    let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
    // Java's form of it leaves these as they are.
    ["-", ".", "_", "*"]
        .iter()
        .fold(encoded.to_string(), |text, plain| {
            let code = format!("%{:02X}", plain.as_bytes()[0]);
            text.replace(&code, plain)
        })
}

/// The answer in the headers of clients that do not wait: `dataId:group;` and the newer form.
pub(crate) fn old_form(changed: &[&Polled]) -> String {
    let lines = changed
        .iter()
        .map(|it| format!("{}:{};", it.key.data_id, it.key.group));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_as_clients_write_them() {
        let all = parse("d1\u{2}g1\u{2}abc\u{1}d2\u{2}g2\u{2}\u{2}prod\u{1}").unwrap();
        assert_eq!((&*all[0].md5, &*all[0].key.tenant), ("abc", "public"));
        assert_eq!((&*all[1].md5, &*all[1].key.tenant), ("", "prod"));
        let both: Vec<&Polled> = all.iter().collect();
        assert_eq!(encode(&both), "d1%02g1%01d2%02g2%02prod%01");
        assert_eq!(old_form(&both), "d1:g1;d2:g2;");
        for text in ["", "\u{1}", "d1", "d/1\u{2}g\u{2}\u{1}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
