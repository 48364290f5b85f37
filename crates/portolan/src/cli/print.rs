//! Tables for people, JSON for programs.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::Fault;

/// Writes to stdout; a closed pipe ends the command quietly.
pub(super) fn out(bytes: &[u8]) -> Result<(), Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::Failed(format!("cannot write: {error}"))),
    }
}

/// One line.
pub(super) fn line(text: &str) -> Result<(), Fault> {
    out(format!("{text}\n").as_bytes())
}

/// The server's JSON, indented.
pub(super) fn json(bytes: &[u8]) -> Result<(), Fault> {
    let value: serde_json::Value = super::client::read(bytes)?;
    let text =
        serde_json::to_string_pretty(&value).map_err(|error| Fault::Failed(error.to_string()))?;
    line(&text)
}

/// Rows under a head.
pub(super) fn table(
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), Fault> {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(plain).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    line(&text.join("\n"))
}

/// Text from others must not move the cursor.
pub(super) fn plain(text: impl AsRef<str>) -> String {
    text.as_ref()
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// `2026-01-31T03:12:00.123Z` as `2026-01-31 03:12:00`.
pub(super) fn time(text: &str) -> String {
    let short = text.split('.').next().unwrap_or(text).trim_end_matches('Z');
    short.replacen('T', " ", 1)
}
