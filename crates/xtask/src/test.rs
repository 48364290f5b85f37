//! `cargo xtask test`: the one test command.
//!
//! In this order: the tests of the workspace; the binary, built with the `ci` profile; the pinned clients, from their package
//! registries; the end-to-end suites against the binary. The last line is `N passed, N failed, N skipped`. In continuous
//! integration a skip is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::again;
use crate::artifacts::{self, TestProgram};
use crate::clients;
use crate::place;
use crate::suites;
use crate::tally::{Figures, Tally};
use crate::tools::{self, Ended};

/// The name of the end-to-end test program, which runs last and suite by suite.
pub(crate) const END_TO_END: &str = "portolan it";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs only these suites: a crate (`catalog`), an end-to-end module (`crosswise`), `workspace` or `end-to-end`.
    #[arg(long, value_name = "SUITE")]
    pub(crate) only: Vec<String>,
    /// Tests a binary that is already there instead of building one.
    #[arg(long, value_name = "FILE")]
    pub(crate) bin: Option<PathBuf>,
}

/// Groups of suites, and the suite that is no test program.
const OTHERS: [&str; 3] = ["workspace", "end-to-end", "documentation"];

impl Options {
    /// What was asked for and is not there: a slip of the pen must not pass for a run without failures.
    fn unknown(&self, known: &[String]) -> Vec<&str> {
        let there = |name: &&str| known.iter().any(|one| one == name) || OTHERS.contains(name);
        let asked = self.only.iter().map(String::as_str);
        asked.filter(|name| !there(name)).collect()
    }

    fn wants(&self, group: &str, suite: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == group || one == suite)
    }
}

/// Runs it; `false` when something failed, or in continuous integration was skipped.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut tally = Tally::default();
    // Whatever goes wrong on the way is a failure among others: the last line is always the count.
    if let Err(error) = run_all(options, &mut tally) {
        tally.fail("cargo xtask test", format!("{error:#}"));
    }
    println!("{}", tally.report());
    let total = tally.total();
    Ok(total.failed == 0 && total.passed > 0 && (total.skipped == 0 || !place::in_ci()))
}

fn run_all(options: &Options, tally: &mut Tally) -> Result<()> {
    let programs = artifacts::test_programs()?;
    let mut known: Vec<String> = programs.iter().map(|one| one.name.clone()).collect();
    if let Some(program) = programs.iter().find(|one| one.name == END_TO_END) {
        known.extend(suites::of(&program.executable)?);
    }
    if let Some(name) = options.unknown(&known).first() {
        bail!(
            "no suite {name:?}; there is: {}, {}",
            OTHERS.join(", "),
            known.join(", ")
        );
    }
    for program in programs
        .iter()
        .filter(|one| one.name != END_TO_END && options.wants("workspace", &one.name))
    {
        run_program(program, tally)?;
    }
    if options.wants("workspace", "documentation") {
        run_documentation(tally)?;
    }
    match programs.iter().find(|one| one.name == END_TO_END) {
        Some(program) => run_end_to_end(program, options, tally)?,
        None => tally.fail(END_TO_END, "the workspace has no end-to-end test program"),
    }
    Ok(())
}

fn run_program(program: &TestProgram, tally: &mut Tally) -> Result<()> {
    let make = |arguments: &[&str]| {
        let mut command = Command::new(&program.executable);
        command
            .current_dir(&program.folder)
            .args(arguments)
            .env("CARGO_MANIFEST_DIR", &program.folder);
        command
    };
    let limit = Duration::from_secs(1800);
    let ended = tools::run_logged(&mut make(&[]), &program.name, limit)?;
    let mut figures = Figures::default();
    figures.add_output(&ended.output());
    let failed = again::failed(&ended.output());
    let one = |test: &str| make(&["--exact", test, "--test-threads=1"]);
    let still = again::run(&program.name, &failed, limit, &one, tally)?;
    enter(&program.name, &ended, &still, figures, tally);
    Ok(())
}

fn run_documentation(tally: &mut Tally) -> Result<()> {
    let mut command = tools::cargo();
    command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    let ended = tools::run_logged(&mut command, "documentation", Duration::from_secs(1800))?;
    let mut figures = Figures::default();
    figures.add_output(&ended.output());
    let failed = again::failed(&ended.output());
    enter("documentation", &ended, &failed, figures, tally);
    Ok(())
}

fn run_end_to_end(program: &TestProgram, options: &Options, tally: &mut Tally) -> Result<()> {
    let wanted: Vec<String> = suites::of(&program.executable)?
        .into_iter()
        .filter(|suite| options.wants("end-to-end", suite))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let binary = match artifacts::binary_or(options.bin.as_deref()) {
        Ok(binary) => binary,
        Err(error) => {
            tally.fail("binary", format!("{error:#}"));
            return Ok(());
        }
    };
    let clients = clients::install()?;
    for suite in wanted {
        let cells = place::cache("logs")?.join(format!("{suite}.cells"));
        let _ = std::fs::remove_file(&cells);
        let make = |arguments: &[&str]| {
            let mut command = Command::new(&program.executable);
            command
                .current_dir(&program.folder)
                .args(arguments)
                .arg("--nocapture")
                .env("PORTOLAN_BIN", &binary)
                .env("PORTOLAN_CLIENTS", &clients)
                .env("PORTOLAN_TALLY", &cells);
            suite_environment(&mut command);
            command
        };
        let limit = suites::limit(&suite);
        let module = format!("{suite}::");
        // What is run one by one may have a module of the same name.
        let skip = [suites::SOAK, suites::ACCEPTANCE].map(|module| format!("--skip={module}::"));
        let threads = format!("--test-threads={}", suites::threads(&suite));
        let ended = tools::run_logged(
            &mut make(&[&module, &skip[0], &skip[1], &threads]),
            &suite,
            limit,
        )?;
        let mut figures = Figures::default();
        figures.add_output(&ended.output());
        tally.take_cells(&cells, &mut figures)?;
        let failed = again::failed(&ended.output());
        let one = |test: &str| make(&["--exact", test, "--test-threads=1"]);
        let still = again::run(&suite, &failed, limit, &one, tally)?;
        enter(&suite, &ended, &still, figures, tally);
    }
    Ok(())
}

/// What a test must not inherit: settings of the server under test that happen to be set here.
fn suite_environment(command: &mut Command) {
    for (name, _) in std::env::vars() {
        let ours = [
            "PORTOLAN_BIN",
            "PORTOLAN_CLIENTS",
            "PORTOLAN_TALLY",
            "PORTOLAN_SLOW",
        ]
        .contains(&name.as_str());
        if name.starts_with("PORTOLAN_") && !ours && !name.starts_with("PORTOLAN_TEST_") {
            command.env_remove(name);
        }
    }
}

/// Enters how one test program ended, and shows what it said when it failed; `failed` are the tests that are to count so.
fn enter(name: &str, ended: &Ended, failed: &[String], mut figures: Figures, tally: &mut Tally) {
    let output = ended.output();
    let named = again::failed(&output).len();
    let passed_again = (named - failed.len()) as u64;
    figures.failed -= passed_again;
    figures.passed += passed_again;
    for test in failed {
        tally.name_failure(format!("{name}: {test}"));
    }
    if !ended.success && named == 0 {
        figures.failed += 1;
        let how = if ended.timed_out {
            "ran too long and was ended"
        } else {
            "ended without a result"
        };
        tally.name_failure(format!("{name}: {how}"));
    }
    let word = match (figures.failed, ended.success) {
        (0, true) => "ok    ",
        (0, false) => "AGAIN ",
        _ => "FAILED",
    };
    println!(
        "{word} {name:24} {:>5} passed {:>3} failed {:>3} skipped  {:.1} s",
        figures.passed,
        figures.failed,
        figures.skipped,
        ended.took.as_secs_f64()
    );
    if !ended.success {
        println!(
            "{}\n--- the whole output is in {}",
            ended.tail(80),
            shown(&ended.log)
        );
    }
    tally.add(name, figures);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_is_not_there_is_named() {
        let options = |only: &[&str]| Options {
            only: only.iter().map(ToString::to_string).collect(),
            bin: None,
        };
        let known = ["catalog".to_owned(), "crosswise".to_owned()];
        let good = options(&["catalog", "end-to-end", "crosswise", "documentation"]);
        assert!(good.unknown(&known).is_empty());
        assert_eq!(
            options(&["catalog", "croswise"]).unknown(&known),
            ["croswise"]
        );
    }
}
