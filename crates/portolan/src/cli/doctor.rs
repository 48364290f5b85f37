//! `doctor`: what is the matter with a server that runs, or with a data directory in which none does.

mod live;

use std::path::PathBuf;

use clap::Args;
use portolan_catalog::stored::LEVEL;
use portolan_replica::doctor::{self, BadBytes, Diagnosis, DoctorError, Finding, Lost, Unreadable};
use serde_json::{Value, json};

use super::{Common, Fault, print};

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A data directory; no server may be running in it. Without one, the server that `--server` names is looked at
    directory: Option<PathBuf>,
    /// The node that is to be started in it, to see whether the directory is that node's
    #[arg(long, requires = "directory")]
    node_name: Option<String>,
    /// Set aside what cannot be read of the log: it is kept in a file, and the server starts without it. For a single server only
    #[arg(long, requires = "directory")]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Fault> {
        match &self.directory {
            Some(directory) => self.look_into(directory),
            None => live::look_at(&self.common).await,
        }
    }

    fn look_into(&self, directory: &std::path::Path) -> Result<(), Fault> {
        let aside = if self.yes {
            doctor::set_aside(directory).map_err(|error| fault(&error))?
        } else {
            Vec::new()
        };
        let found =
            doctor::examine(directory, self.node_name.as_deref()).map_err(|error| fault(&error))?;
        if self.common.json() {
            print::line(&as_json(&found, &aside).to_string())?;
        } else {
            for line in said(&found, &aside) {
                print::line(&line)?;
            }
        }
        match found.findings.len() {
            0 => Ok(()),
            1 => Err(Fault::Failed(
                "something is wrong with this directory, see above".to_owned(),
            )),
            many => Err(Fault::Failed(format!(
                "{many} things are wrong with this directory, see above"
            ))),
        }
    }
}

fn fault(error: &DoctorError) -> Fault {
    match error {
        DoctorError::NoDirectory(_) => Fault::NotFound(error.to_string()),
        _ => Fault::Failed(error.to_string()),
    }
}

fn said(found: &Diagnosis, aside: &[(Lost, String)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (lost, file) in aside {
        lines.push(match lost {
            Lost::Entry(entry) => format!(
                "set aside: entry {} is now in \"{file}\" ({} bytes)",
                entry.position.index, entry.length
            ),
            Lost::Bytes(bytes) => format!(
                "set aside: {} bytes at byte {} of \"{}\" are now in \"{file}\"",
                bytes.length, bytes.at, bytes.file
            ),
            Lost::History { .. } => format!("set aside: \"{file}\""),
        });
        lines.push(format!("  lost: {}", affected(lost)));
    }
    match &found.identity {
        Some(identity) => lines.push(format!(
            "data directory \"{}\" of node \"{}\" ({:016x}) in cluster {:016x}",
            found.place, identity.node_name, identity.node_id, identity.cluster_id
        )),
        None => lines.push(format!("data directory \"{}\"", found.place)),
    }
    if found.left {
        lines.push("it has left its cluster: a start needs --join or --rejoin".to_owned());
    }
    lines.push(format!(
        "last opened by version {}; feature level {}, this version ({}) knows {LEVEL}",
        found.version.as_deref().unwrap_or("0.1.0"),
        found.level,
        crate::version(),
    ));
    if let Some((name, head)) = &found.snapshot {
        lines.push(format!(
            "snapshot \"{name}\": revision {}, entries up to {}",
            head.revision,
            head.last.map_or(0, |last| last.index)
        ));
    }
    if let Some((first, last)) = found.entries {
        lines.push(format!("log: entries {} to {}", first.index, last.index));
    }
    let readable = if found.findings.is_empty() {
        ""
    } else {
        " before what is wrong"
    };
    lines.push(match found.reached.0 {
        0 => "the revision it reached is not known".to_owned(),
        reached => format!("revision {reached}{readable}"),
    });
    let (after, through) = found.history;
    if after < through {
        lines.push(format!("history: revisions {} to {through}", after + 1));
    }
    for name in &found.aside {
        lines.push(format!("set aside earlier: \"{name}\""));
    }
    for finding in &found.findings {
        lines.push(String::new());
        lines.push(format!("\"{}\": {}", finding.file, finding.what));
        if let Some(lost) = &finding.lost {
            lines.push(format!("  affected: {}", affected(lost)));
        }
        if !finding.advice.is_empty() {
            lines.push(format!("  what to do: {}", finding.advice));
        }
    }
    if found.findings.is_empty() {
        lines.push("nothing is wrong with it".to_owned());
    }
    lines
}

/// Which revisions and keys are lost.
fn affected(lost: &Lost) -> String {
    match lost {
        Lost::Entry(entry) => of_entry(entry),
        Lost::Bytes(bytes) => of_bytes(bytes),
        Lost::History { reached, through } => format!(
            "revisions {} to {through}, of which only the history is left; reads at them would be of another past than the one that begins now",
            reached + 1
        ),
    }
}

fn of_bytes(bytes: &BadBytes) -> String {
    if bytes.in_snapshot {
        return "nothing: the snapshot has these entries".to_owned();
    }
    let entries = match (bytes.entries, bytes.is_last) {
        (0, true) => "what stood there cannot be told".to_owned(),
        (count, true) => format!("entries from {} on, {count} can be told", bytes.first),
        (0, false) => "no entry stood there".to_owned(),
        (1, false) => format!("entry {}", bytes.first),
        (count, false) => format!("entries {} to {}", bytes.first, bytes.first + count - 1),
    };
    let commands = match bytes.commands {
        0 => "no command in it can be told".to_owned(),
        1 => "1 command in it can be told".to_owned(),
        count => format!("{count} commands in it can be told"),
    };
    let revision = match bytes.revision {
        None => "revisions that are not known, since an earlier entry cannot be read".to_owned(),
        Some(first) => format!(
            "revisions from {first} on, one for each command that changed something ({commands})"
        ),
    };
    let names = match bytes.names.is_empty() {
        true => "no name in it can be told, so its keys are unknown".to_owned(),
        false => format!("in it stand, unproven: {}", bytes.names.join(", ")),
    };
    let later = match bytes.later {
        0 => "nothing good comes after it".to_owned(),
        later => {
            format!("{later} entries come after it, whose revisions are counted anew without it")
        }
    };
    format!("{entries}; {revision}; {names}; {later}")
}

/// Which revision and keys an entry is about.
fn of_entry(entry: &Unreadable) -> String {
    let revision = entry.revision.map_or(
        "a revision that is not known, since an earlier entry cannot be read".to_owned(),
        |revision| {
            format!("revision {revision}, and the next ones if it holds more than one command")
        },
    );
    let names = if entry.names.is_empty() {
        "no name in it can be told".to_owned()
    } else {
        format!("in it stand: {}", entry.names.join(", "))
    };
    let later = match entry.later {
        0 => "it is the last entry".to_owned(),
        later => {
            format!("{later} entries come after it, whose revisions are counted anew without it")
        }
    };
    format!("{revision}; {names}; {later}")
}

fn as_json(found: &Diagnosis, aside: &[(Lost, String)]) -> Value {
    let entry = |entry: &Unreadable| {
        json!({ "index": entry.position.index, "term": entry.position.term, "bytes": entry.length, "newer_level": entry.newer,
            "revision": entry.revision, "later_entries": entry.later, "names": entry.names })
    };
    let lost = |lost: &Lost| match lost {
        Lost::Entry(unreadable) => json!({ "entry": entry(unreadable) }),
        Lost::Bytes(bytes) => json!({ "bytes": {
            "file": bytes.file, "at": bytes.at, "bytes": bytes.length, "first_entry": bytes.first, "entries": bytes.entries,
            "in_snapshot": bytes.in_snapshot, "revision": bytes.revision, "commands": bytes.commands, "later_entries": bytes.later,
            "names": bytes.names } }),
        Lost::History { reached, through } => {
            json!({ "history": { "after": reached, "through": through } })
        }
    };
    let finding = |finding: &Finding| {
        json!({ "file": finding.file, "what": finding.what, "advice": finding.advice,
        "entry": finding.entry().map(entry), "lost": finding.lost.as_ref().map(lost) })
    };
    let aside: Vec<Value> = aside
        .iter()
        .map(|(what, file)| {
            let entry = match what {
                Lost::Entry(unreadable) => Some(entry(unreadable)),
                _ => None,
            };
            json!({ "file": file, "entry": entry, "lost": lost(what) })
        })
        .collect();
    json!({
        "directory": found.place,
        "node": found.identity.as_ref().map(|identity| &identity.node_name),
        "version": found.version,
        "level": found.level,
        "members": found.members,
        "left": found.left,
        "revision": Some(found.reached.0).filter(|reached| *reached > 0),
        "snapshot": found.snapshot.as_ref().map(|(name, _)| name),
        "set_aside": aside,
        "set_aside_earlier": found.aside,
        "findings": found.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
