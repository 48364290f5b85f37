//! A second run for tests that failed: each once, alone.
//!
//! The end-to-end suites start hundreds of real processes on two cores, and a machine that stands still for seconds can fail a test that
//! waits for one of them. A test that then passes by itself counts as passed, and its name stands in the closing table as `unsteady`, so
//! that nobody overlooks it. Where more than [`AT_MOST`] tests of a program fail, something is broken, and nothing is run again.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::place;
use crate::tally::{Figures, Tally};
use crate::tools;

/// Failures of one test program that may be a busy machine's.
const AT_MOST: usize = 3;

/// The tests that a Rust test program names at its end as failed.
pub(crate) fn failed(output: &str) -> Vec<String> {
    let Some((_, last)) = output.rsplit_once("\nfailures:\n") else {
        return Vec::new();
    };
    let names = last.lines().take_while(|line| line.starts_with("    "));
    names.map(|line| line.trim().to_owned()).collect()
}

/// Runs each of `names` alone; gives back those that fail again. `make` gives the command that runs one test.
pub(crate) fn run(
    suite: &str,
    names: &[String],
    limit: Duration,
    make: &dyn Fn(&str) -> Command,
    tally: &mut Tally,
) -> Result<Vec<String>> {
    if names.len() > AT_MOST {
        return Ok(names.to_vec());
    }
    let cells = place::cache("logs")?.join(format!("{suite}-again.cells"));
    let mut still = Vec::new();
    for name in names {
        let _gone = std::fs::remove_file(&cells);
        let mut command = make(name);
        command.env("PORTOLAN_TALLY", &cells);
        let ended = tools::run_logged(&mut command, &format!("{suite}-again"), limit)?;
        let (mut tests, mut of_cells) = (Figures::default(), Figures::default());
        tests.add_output(&ended.output());
        tally.take_cells(&cells, &mut of_cells)?;
        let passes = ended.success && tests.passed == 1 && of_cells.failed == 0;
        match passes && of_cells.skipped == 0 {
            true => tally.name_unsteady(format!("{suite}: {name}")),
            false => still.push(name.clone()),
        }
    }
    Ok(still)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_list_has_the_names() {
        let output = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nit said\nfailures:\n    in its text\n\n\nfailures:\n    a::b\n    c\n\ntest result: FAILED. 3 passed; 2 failed";
        assert_eq!(failed(output), ["a::b", "c"]);
        assert!(failed("test result: ok. 3 passed").is_empty());
    }
}
