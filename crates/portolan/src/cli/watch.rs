//! `watch`: lines as they come, also across a server that is restarted.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::Method;
use http_body_util::BodyExt;
use portolan_api::{Change, ChangeKind, Line};
use tokio::time::timeout;

use super::client::{Client, Path, innermost, read};
use super::{Common, Fault, print};

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only this service
    #[arg(value_parser = NonEmptyStringValueParser::new())]
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

/// Pause before a server that went away is asked again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The server sends a line at least every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How a watch ended.
struct Ended {
    /// Whether it had begun.
    began: bool,
    /// The server went or is going: it may be asked again.
    away: bool,
    fault: Fault,
}

impl Watch {
    /// Goes on where it was when the server comes back: nothing is missed, nothing is told twice. The first connection must succeed.
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let client = self.common.client()?;
        let mut known = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = self.follow(&client, known).await;
            known |= ended.began;
            if !known || !ended.away {
                return Err(ended.fault);
            }
            if ended.began {
                pause = FIRST_PAUSE;
                print::problem(&format!("{}; trying again", ended.fault));
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// One connection; `again` when it is not the first.
    async fn follow(&mut self, client: &Client, again: bool) -> Ended {
        let after = self.after.map(|revision| revision.to_string());
        let path = Path::new("/v1/watch")
            .query("service", self.service.as_deref())
            .query("namespace", self.namespace.as_deref())
            .query("node", self.node.as_deref())
            .query("keyspace", self.keyspace.as_deref())
            .query("prefix", self.prefix.as_deref())
            .query("after", after.as_deref());
        let mut body = match client.send(Method::GET, &path, bytes::Bytes::new()).await {
            Ok(response) => response.into_body(),
            Err(fault) => {
                return Ended {
                    began: false,
                    away: matches!(fault, Fault::Unreachable(_) | Fault::Unavailable(_)),
                    fault,
                };
            }
        };
        let away = |why: String| Ended {
            began: true,
            away: true,
            fault: Fault::Failed(why),
        };
        let mut text = Vec::new();
        loop {
            let data = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    return away(format!("the watch was cut: {}", innermost(&error)));
                }
                Ok(None) => return away("the server ended the watch".into()),
                Err(_) => {
                    return away(format!(
                        "nothing was heard from the server for {} s",
                        SILENCE.as_secs()
                    ));
                }
            };
            text.extend_from_slice(&data);
            // What is cut off in the middle of a line was not seen, and comes again.
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if let Err(ended) = self.take(&line, again) {
                    return ended;
                }
            }
        }
    }

    /// Shows one line, and notes how far it went.
    fn take(&mut self, bytes: &[u8], again: bool) -> Result<(), Ended> {
        let over = |fault| Ended {
            began: true,
            away: false,
            fault,
        };
        let json = self.common.json();
        let line: Line = read(bytes).map_err(over)?;
        let (revision, shown) = match line {
            // Readers see one stream, however many connections it took.
            Line::Start { revision } if again => (revision, Ok(())),
            Line::End { revision, code, .. } if code == "stopping" => {
                self.after = Some(revision);
                return Err(Ended {
                    began: true,
                    away: true,
                    fault: Fault::Unavailable("the server is stopping".into()),
                });
            }
            Line::End { error, .. } => {
                let shown = if json { print::out(bytes) } else { Ok(()) };
                return Err(over(shown.err().unwrap_or(Fault::Failed(error))));
            }
            Line::Start { revision } | Line::Idle { revision } | Line::Event { revision, .. }
                if json =>
            {
                (revision, print::out(bytes))
            }
            Line::Start { revision } => {
                let text = format!("watching after revision {revision}");
                (revision, print::line(&text))
            }
            Line::Idle { revision } => (revision, Ok(())),
            Line::Event {
                revision,
                at,
                cause,
                changes,
            } => {
                let mut each = changes.iter();
                let shown = each.try_for_each(|change| show(revision, &at, &cause.text, change));
                (revision, shown)
            }
        };
        self.after = Some(revision);
        shown.map_err(over)
    }
}

/// `TIME rREVISION +|~|- TABLE ROW [HEALTH]  CAUSE`.
fn show(revision: u64, at: &str, cause: &str, change: &Change) -> Result<(), Fault> {
    let kind = match change.kind {
        ChangeKind::Created => "+",
        ChangeKind::Changed => "~",
        ChangeKind::Removed => "-",
    };
    let side = change.after.as_ref().or(change.before.as_ref());
    let health = ["health", "status"]
        .iter()
        .find_map(|name| side?.get(*name)?.as_str())
        .map(|health| format!(" {health}"))
        .unwrap_or_default();
    print::line(&format!(
        "{} r{revision} {kind} {} {}{health}  {cause}",
        print::time(at),
        change.table,
        change.row,
    ))
}
