//! Counting: what passed, failed and was skipped, per suite, and the closing line.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The figures of one suite.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Figures {
    /// Adds the `test result:` lines that a Rust test program printed. An ignored test counts as skipped.
    pub(crate) fn add_output(&mut self, output: &str) {
        for line in output
            .lines()
            .filter(|line| line.starts_with("test result:"))
        {
            let number = |word: &str| {
                line.split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
                    .unwrap_or(0)
            };
            self.passed += number("passed");
            self.failed += number("failed");
            self.skipped += number("ignored");
        }
    }
}

/// One line that a test wrote to the file named by `PORTOLAN_TALLY`.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    /// One cell of a table: a question of its own inside a test.
    Cell {
        suite: String,
        name: String,
        passed: bool,
        #[serde(default)]
        detail: String,
    },
    /// A test that could not run, and the cells it would have filled.
    Skip {
        suite: String,
        reason: String,
        cells: u64,
        /// The test did nothing else: it is not to count as passed.
        #[serde(default)]
        whole_test: bool,
    },
}

/// All suites of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    suites: Vec<(String, Figures)>,
    reasons: Vec<String>,
    failures: Vec<String>,
    unsteady: Vec<String>,
}

impl Tally {
    /// Enters a suite.
    pub(crate) fn add(&mut self, suite: impl Into<String>, figures: Figures) {
        self.suites.push((suite.into(), figures));
    }

    /// Enters one failed thing that has no figures of its own, with its reason.
    pub(crate) fn fail(&mut self, suite: impl Into<String>, reason: impl Into<String>) {
        let suite = suite.into();
        self.failures.push(format!("{suite}: {}", reason.into()));
        self.add(
            suite,
            Figures {
                failed: 1,
                ..Figures::default()
            },
        );
    }

    /// Names a failure that is already in the figures.
    pub(crate) fn name_failure(&mut self, failure: impl Into<String>) {
        self.failures.push(failure.into());
    }

    /// Names a test that failed and then passed when it was run again alone. It is in the figures as passed.
    pub(crate) fn name_unsteady(&mut self, test: impl Into<String>) {
        self.unsteady.push(test.into());
    }

    /// Takes the cells that the tests wrote to `file` into `figures`. A test that says it was skipped was counted as passed by the
    /// test program, which knows no third word: it is moved.
    pub(crate) fn take_cells(&mut self, file: &Path, figures: &mut Figures) -> Result<()> {
        let Ok(text) = std::fs::read_to_string(file) else {
            return Ok(());
        };
        for line in text.lines() {
            match serde_json::from_str(line)
                .with_context(|| format!("{}: not a tally line: {line}", file.display()))?
            {
                Line::Cell { passed: true, .. } => figures.passed += 1,
                Line::Cell {
                    suite,
                    name,
                    detail,
                    ..
                } => {
                    figures.failed += 1;
                    self.failures.push(format!("{suite}: {name}: {detail}"));
                }
                Line::Skip {
                    suite,
                    reason,
                    cells,
                    whole_test,
                } => {
                    figures.passed = figures.passed.saturating_sub(u64::from(whole_test));
                    figures.skipped += cells.max(1);
                    self.reasons
                        .push(format!("skipped: {reason} ({suite}, {})", cells.max(1)));
                }
            }
        }
        std::fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))
    }

    /// The sum over all suites.
    pub(crate) fn total(&self) -> Figures {
        self.suites
            .iter()
            .fold(Figures::default(), |sum, (_, one)| Figures {
                passed: sum.passed + one.passed,
                failed: sum.failed + one.failed,
                skipped: sum.skipped + one.skipped,
            })
    }

    /// The closing table; its last line is `N passed, N failed, N skipped`.
    pub(crate) fn report(&self) -> String {
        let width = self
            .suites
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0)
            .max(10);
        let mut text = format!("\n{:width$}  passed  failed  skipped\n", "suite");
        for (name, f) in &self.suites {
            let _ = writeln!(
                text,
                "{name:width$}  {:>6}  {:>6}  {:>7}",
                f.passed, f.failed, f.skipped
            );
        }
        for (heading, lines) in [
            ("failures", &self.failures),
            ("skipped", &self.reasons),
            (
                "unsteady (failed once, passed when run again alone)",
                &self.unsteady,
            ),
        ] {
            if !lines.is_empty() {
                let _ = write!(text, "\n{heading}:\n  {}\n", lines.join("\n  "));
            }
        }
        let total = self.total();
        let _ = write!(
            text,
            "\n{} passed, {} failed, {} skipped",
            total.passed, total.failed, total.skipped
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_s_closing_line_is_read() {
        let mut figures = Figures::default();
        figures.add_output("running 3 tests\ntest result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 40 filtered out; finished in 0.01s\n");
        figures.add_output("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!(
            (figures.passed, figures.failed, figures.skipped),
            (17, 3, 2)
        );
    }

    #[test]
    fn the_last_line_is_the_count() {
        let mut tally = Tally::default();
        tally.add(
            "a",
            Figures {
                passed: 2,
                failed: 0,
                skipped: 0,
            },
        );
        tally.add(
            "b",
            Figures {
                passed: 0,
                failed: 0,
                skipped: 7,
            },
        );
        tally.fail("c", "did not build");
        assert_eq!(
            tally.report().lines().last(),
            Some("2 passed, 1 failed, 7 skipped")
        );
    }
}
