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

/// One line, whatever stands in it.
pub(super) fn line(text: &str) -> Result<(), Fault> {
    out(format!("{}\n", plain(text)).as_bytes())
}

/// A line on stderr, with this program's name in front.
pub(super) fn problem(text: &str) {
    eprintln!("portolan: {}", plain(text));
}

/// An empty line.
pub(super) fn gap() -> Result<(), Fault> {
    out(b"\n")
}

/// The server's JSON, indented.
pub(super) fn json(bytes: &[u8]) -> Result<(), Fault> {
    let value: serde_json::Value = super::client::read(bytes)?;
    let text =
        serde_json::to_string_pretty(&value).map_err(|error| Fault::Failed(error.to_string()))?;
    out(format!("{text}\n").as_bytes())
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
    out(format!("{}\n", text.join("\n")).as_bytes())
}

/// Text from others must neither move the cursor nor begin a line of its own.
pub(super) fn plain(text: impl AsRef<str>) -> String {
    let seen = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.as_ref().chars().map(seen).collect()
}

/// `2026-01-31T03:12:00.123Z` as `2026-01-31 03:12:00Z`: whole seconds, and that it is UTC.
pub(super) fn time(text: &str) -> String {
    let short = text.split('.').next().unwrap_or(text).trim_end_matches('Z');
    if short.is_empty() {
        return String::new();
    }
    format!("{}Z", short.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_s_text_begins_a_line_or_moves_the_cursor() {
        assert_eq!(plain("a\nb\tc\x1b[31m\r"), "a b c\u{fffd}[31m\u{fffd}");
        assert_eq!(time("2026-01-31T03:12:00.123Z"), "2026-01-31 03:12:00Z");
        assert_eq!(time("2026-01-31T03:12:00Z"), "2026-01-31 03:12:00Z");
        assert_eq!(time(""), "");
    }
}
