//! `watch`.

use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use portolan_api::{ChangeKind, Line};

use super::client::{Path, read};
use super::{Common, Fault, print};

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only this service
    service: Option<String>,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only this node and what is on it
    #[arg(long, conflicts_with_all = ["service", "keyspace"])]
    node: Option<String>,
    /// Only the keys of this keyspace
    #[arg(long, conflicts_with = "service")]
    keyspace: Option<String>,
    /// Only keys that begin so
    #[arg(long, requires = "keyspace")]
    prefix: Option<String>,
    /// Also what happened after this revision
    #[arg(long)]
    after: Option<u64>,
    #[command(flatten)]
    common: Common,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let after = self.after.map(|revision| revision.to_string());
        let path = Path::new("/v1/watch")
            .query("service", self.service.as_deref())
            .query("namespace", self.namespace.as_deref())
            .query("node", self.node.as_deref())
            .query("keyspace", self.keyspace.as_deref())
            .query("prefix", self.prefix.as_deref())
            .query("after", after.as_deref());
        let response = self
            .common
            .client()?
            .send(Method::GET, &path, bytes::Bytes::new())
            .await?;
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Fault::Failed(format!("the watch was cut: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                show(&line, self.common.json())?;
            }
        }
        Err(Fault::Failed("the server ended the watch".into()))
    }
}

fn show(bytes: &[u8], json: bool) -> Result<(), Fault> {
    if json {
        return print::out(bytes);
    }
    match read(bytes)? {
        Line::Start { revision } => print::line(&format!("watching after revision {revision}")),
        Line::Idle { .. } => Ok(()),
        Line::End { error, .. } => Err(Fault::Failed(error)),
        Line::Event {
            revision,
            at,
            cause,
            changes,
        } => {
            for change in changes {
                let kind = match change.kind {
                    ChangeKind::Created => "+",
                    ChangeKind::Changed => "~",
                    ChangeKind::Removed => "-",
                };
                let side = change.after.as_ref().or(change.before.as_ref());
                let health = ["health", "status"]
                    .iter()
                    .find_map(|name| side?.get(*name)?.as_str());
                let health = health
                    .map(|health| format!(" {health}"))
                    .unwrap_or_default();
                print::line(&format!(
                    "{} r{revision} {kind} {} {}{health}  {}",
                    print::time(&at),
                    change.table,
                    print::plain(&change.row),
                    print::plain(&cause.text),
                ))?;
            }
            Ok(())
        }
    }
}
