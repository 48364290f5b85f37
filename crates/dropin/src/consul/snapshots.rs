//! `snapshot save`, `restore` and `inspect`: Consul's archives, checked before anything is done with them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;
use portolan_archive::{Metadata, unpack};
use serde_json::json;

use super::plain_calls::read_file;
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, value};

pub(super) const SAVE: &[Flag] = &[value("append-filename")];
pub(super) const INSPECT: &[Flag] = &[value("format")];

/// What a state may have for this command to check it.
const MOST: u64 = 8 << 30;

/// `snapshot save FILE`. The file appears whole or not at all.
pub(super) async fn save(command: &Command<'_>) -> Done {
    let file = named(command, command.one("FILE")?).await?;
    let saved = command
        .client()?
        .good(Method::GET, "/v1/snapshot", Bytes::new())
        .await;
    let saved = saved.map_err(|why| Failure::new(format!("Error saving snapshot: {why}")))?;
    unpack(&saved.body, MOST)
        .map_err(|damaged| Failure::new(format!("Error verifying snapshot file: {damaged}")))?;
    write_whole(&file, &saved.body).map_err(|error| {
        Failure::new(format!(
            "Error writing snapshot file {}: {error}",
            file.display()
        ))
    })?;
    say!("Saved and verified snapshot to index {}", saved.index());
    Ok(0)
}

/// Writes a file whole or not at all. Secrets are in it: only its owner may read it.
pub(super) fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut unverified = file.as_os_str().to_owned();
    unverified.push(".unverified");
    let unverified = PathBuf::from(unverified);
    let mut to = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unverified)?;
    to.write_all(bytes)?;
    to.sync_all()?;
    std::fs::rename(&unverified, file)
}

/// The file's name with what `-append-filename` adds before its ending.
async fn named(command: &Command<'_>, file: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(file);
    let Some(wanted) = command.typed.get("append-filename") else {
        return Ok(path.to_owned());
    };
    let client = command.client()?;
    let own = client.get("/v1/agent/self").await?;
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    for part in wanted.split(',').map(str::trim) {
        let text = match part {
            "version" => text_of(&own["Config"], "Version"),
            "dc" => text_of(&own["Config"], "Datacenter"),
            "node" => text_of(&own["Config"], "NodeName"),
            "status" if own["Stats"]["consul"]["leader"] == "true" => "leader".to_owned(),
            "status" => "follower".to_owned(),
            other => {
                return Err(Failure::new(format!(
                    "Invalid value {other:?} of -append-filename: version, dc, node and status are known"
                )));
            }
        };
        name.push("-");
        name.push(text);
    }
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    Ok(path.with_file_name(name))
}

/// `snapshot restore FILE`.
pub(super) async fn restore(command: &Command<'_>) -> Done {
    let bytes = read_file(command.one("FILE")?)?;
    unpack(&bytes, MOST)
        .map_err(|damaged| Failure::new(format!("Error restoring snapshot: {damaged}")))?;
    let done = command.client()?.put("/v1/snapshot", bytes).await;
    done.map_err(|why| Failure::new(format!("Error restoring snapshot: {why}")))?;
    say!("Restored snapshot");
    Ok(0)
}

/// `snapshot inspect FILE`.
pub(super) async fn inspect(command: &Command<'_>) -> Done {
    let bytes = read_file(command.one("FILE")?)?;
    let (head, _) = unpack(&bytes, MOST)
        .map_err(|damaged| Failure::new(format!("Error reading snapshot: {damaged}")))?;
    say!(
        "{}",
        shown(&head, command.typed.get("format") == Some("json"))
    );
    Ok(0)
}

fn shown(head: &Metadata, as_json: bool) -> String {
    if as_json {
        let meta = json!({
            "ID": head.id, "Size": head.size, "Index": head.index, "Term": head.term, "Version": head.version,
        });
        return serde_json::to_string_pretty(&json!({ "Meta": meta })).unwrap_or_default();
    }
    let rows = [
        ("ID", head.id.clone()),
        ("Size", head.size.to_string()),
        ("Index", head.index.to_string()),
        ("Term", head.term.to_string()),
        ("Version", head.version.to_string()),
    ];
    let lines = rows
        .iter()
        .map(|(name, value)| format!(" {name:<12} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_shown_as_consul_shows_it() {
        let head = Metadata {
            version: 1,
            id: "2-13-1603221729747".to_owned(),
            index: 13,
            term: 2,
            size: 5141,
            ..Metadata::default()
        };
        let table = " ID           2-13-1603221729747\n Size         5141\n Index        13\n Term         2\n Version      1";
        assert_eq!(shown(&head, false), table);
        let read: serde_json::Value = serde_json::from_str(&shown(&head, true)).unwrap();
        assert_eq!(read["Meta"]["Index"], 13);
    }
}
