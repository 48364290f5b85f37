//! Cells: the questions of a table, counted one by one by `cargo xtask test`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use serde_json::json;

/// A table of one registrant or subject: rows are the stages, columns the ways to look.
#[derive(Debug)]
pub struct Table {
    suite: String,
    cells: Vec<(String, String, Result<(), String>)>,
}

impl Table {
    /// An empty table.
    pub fn new(suite: impl Into<String>) -> Self {
        Table {
            suite: suite.into(),
            cells: Vec::new(),
        }
    }

    /// Fills one cell.
    pub fn cell(&mut self, row: &str, column: &str, outcome: Result<(), String>) {
        self.cells
            .push((row.to_owned(), column.to_owned(), outcome));
    }

    /// Says that a cell could not be filled.
    pub fn skipped(&mut self, row: &str, column: &str, reason: &str) {
        skip(
            &format!("{} {row} / {column}", self.suite),
            reason,
            1,
            false,
        );
    }

    /// Prints the table, counts its cells, and fails the test when one of them did.
    pub fn finish(self) {
        let mut rows: BTreeMap<usize, (&str, Vec<String>)> = BTreeMap::new();
        let mut order: Vec<&str> = Vec::new();
        for (row, column, outcome) in &self.cells {
            let at = order
                .iter()
                .position(|known| known == row)
                .unwrap_or_else(|| {
                    order.push(row);
                    order.len() - 1
                });
            let mark = if outcome.is_ok() { "+" } else { "FAILED" };
            rows.entry(at)
                .or_insert_with(|| (row, Vec::new()))
                .1
                .push(format!("{column} {mark}"));
        }
        let mut text = format!("table {}\n", self.suite);
        for (row, cells) in rows.values() {
            text.push_str(&format!("  {row}: {}\n", cells.join(", ")));
        }
        let failures: Vec<String> = self
            .cells
            .iter()
            .filter_map(|(row, column, outcome)| {
                outcome
                    .as_ref()
                    .err()
                    .map(|why| format!("{row} / {column}: {why}"))
            })
            .collect();
        for (row, column, outcome) in &self.cells {
            record(json!({
                "kind": "cell", "suite": self.suite, "name": format!("{row} / {column}"),
                "passed": outcome.is_ok(), "detail": outcome.as_ref().err().cloned().unwrap_or_default(),
            }));
        }
        println!("{text}");
        assert!(
            failures.is_empty(),
            "{} of {} cells failed:\n  {}",
            failures.len(),
            self.cells.len(),
            failures.join("\n  ")
        );
    }
}

/// Says that a test did not run, and how many cells it would have filled (at least itself).
pub fn skip_test(suite: &str, reason: &str, cells: usize) {
    skip(suite, reason, cells, true);
}

fn skip(suite: &str, reason: &str, cells: usize, whole_test: bool) {
    println!("skipped: {reason} ({suite})");
    record(
        json!({ "kind": "skip", "suite": suite, "reason": reason, "cells": cells.max(1), "whole_test": whole_test }),
    );
}

fn record(line: serde_json::Value) {
    let Some(file) = std::env::var_os("PORTOLAN_TALLY") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .expect("the tally file");
    // One write per line: tests run side by side.
    file.write_all(format!("{line}\n").as_bytes())
        .expect("the tally file");
}
