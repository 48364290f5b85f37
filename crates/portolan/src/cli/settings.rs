//! `guard`, `layouts`, `version`.

use clap::{Args, ValueEnum};
use http::Method;
use portolan_api as api;
use serde_json::json;

use super::client::{Path, read};
use super::{Common, Fault, print};

/// What to do with the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Word {
    /// Say what it does
    #[default]
    Status,
    /// Let go of what it holds back, and hold nothing back until `auto`
    Release,
    /// Let its numbers decide
    Auto,
    /// Hold every removal of a silent instance back
    Hold,
}

/// `guard`.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// What to do
    #[arg(value_enum, default_value_t)]
    word: Word,
    #[command(flatten)]
    common: Common,
}

impl Guard {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let client = self.common.client()?;
        let path = Path::new("/v1/guard");
        let mode = match self.word {
            Word::Status => None,
            Word::Release => Some(api::GuardMode::Off),
            Word::Auto => Some(api::GuardMode::Auto),
            Word::Hold => Some(api::GuardMode::On),
        };
        let bytes = match mode {
            None => client.get(&path).await?,
            Some(mode) => {
                let body = api::Guard {
                    mode,
                    ..api::Guard::default()
                };
                client.with_body(Method::PUT, &path, &body).await?
            }
        };
        if self.common.json() {
            return print::json(&bytes);
        }
        let guard: api::Guard = read(&bytes)?;
        let mode = match guard.mode {
            api::GuardMode::Auto => "auto",
            api::GuardMode::Off => "off",
            api::GuardMode::On => "on",
        };
        print::line(&format!("mode {mode}"))?;
        if !guard.active {
            return print::line("nothing is held back");
        }
        let since = guard.since.as_deref().map(print::time).unwrap_or_default();
        let services = if guard.services.is_empty() {
            "all services".to_owned()
        } else {
            guard.services.join(", ")
        };
        let counts = [
            (guard.silent, "fell silent"),
            (guard.critical, "stayed critical"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} instances {what}"))
            .collect();
        print::line(&format!(
            "removals are held back since {since}: {} at once, of {services}",
            told.join(" and ")
        ))
    }
}

/// `layouts`.
#[derive(Debug, Args)]
pub(crate) struct Layouts {
    #[command(flatten)]
    common: Common,
}

impl Layouts {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let bytes = self.common.client()?.get(&Path::new("/v1/layouts")).await?;
        if self.common.json() {
            return print::json(&bytes);
        }
        let rows: Vec<api::Layout> = read(&bytes)?;
        print::table(
            &["LAYOUT", "FORM", "KEYSPACE", "ROOT", "MODE", "RECORDS"],
            rows.into_iter().map(|row| {
                vec![
                    row.name,
                    row.form,
                    row.keyspace,
                    row.root,
                    row.mode,
                    row.records.to_string(),
                ]
            }),
        )
    }
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    common: Common,
}

impl Version {
    pub(super) async fn run(self) -> Result<(), Fault> {
        // Without a server the version of this program is the whole answer.
        let server = self.common.client()?.get(&Path::new("/v1/version")).await;
        let server = server.and_then(|bytes| read::<api::Version>(&bytes));
        if self.common.json() {
            let body = json!({ "version": crate::version(), "server": server.ok() });
            return print::json(body.to_string().as_bytes());
        }
        print::line(&format!("portolan {}", crate::version()))?;
        match server {
            Ok(server) => print::line(&format!(
                "server   {} on node {}, revision {}",
                server.version, server.node, server.revision
            )),
            Err(fault) => print::line(&format!("no server: {fault}")),
        }
    }
}
