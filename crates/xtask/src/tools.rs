//! Running other programs: with their output in a file, with a deadline, with the last lines shown when they fail.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::place::root());
    // What cargo set for this task must not reach the cargo below it: it would see other features and rebuild.
    command
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_PKG_NAME");
    command
}

/// How a program ended and where its output is.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) timed_out: bool,
    pub(crate) log: PathBuf,
    pub(crate) took: Duration,
}

impl Ended {
    /// Everything the program wrote.
    pub(crate) fn output(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last `lines` of it.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs a program with all its output in a log file of that name, for at most `limit`.
pub(crate) fn run_logged(command: &mut Command, name: &str, limit: Duration) -> Result<Ended> {
    let log = crate::place::cache("logs")?.join(format!(
        "{}.log",
        name.replace(['/', ' ', ':', '(', ')'], "-")
    ));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| {
        format!(
            "cannot start {}",
            Path::new(command.get_program()).display()
        )
    })?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended {
                success: status.success(),
                timed_out: false,
                log,
                took: started.elapsed(),
            });
        }
        if started.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(Ended {
                success: false,
                timed_out: true,
                log,
                took: started.elapsed(),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program that must succeed; its error carries the last lines it wrote.
pub(crate) fn must(command: &mut Command, name: &str) -> Result<String> {
    let ended = run_logged(command, name, Duration::from_secs(1800))?;
    if !ended.success {
        let why = if ended.timed_out {
            "ran too long"
        } else {
            "failed"
        };
        bail!("{name} {why}: {}", ended.tail(12));
    }
    Ok(ended.output())
}

/// The first line a program prints when asked for its version, if it runs at all.
pub(crate) fn version(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    Some(
        String::from_utf8_lossy(&text)
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}
