//! A program's exit code: 0 passing, 1 warning, anything else critical.
//!
//! Only programs of the local configuration come here; see [`crate::LocalScript`]. Each has a process group of its own, so
//! that a program that is out of time, or no longer wanted, takes along what it started.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::Status;
use portolan_catalog::limits::OUTPUT;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time;

use super::Finding;
use crate::output::{Tail, with_tail};

/// `output` bytes of what the program writes are kept.
pub(super) async fn probe(args: &[Arc<str>], timeout: Duration, output: usize) -> Finding {
    let Some((program, args)) = args.split_first() else {
        return Finding::critical("the check names no program");
    };
    let mut command = Command::new(&**program);
    command
        .args(args.iter().map(|a| &**a))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Finding::critical(format!("cannot run {program}: {error}")),
    };
    let mut group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let run = async {
        let (out, err) = tokio::join!(drain(stdout), drain(stderr));
        let ended = child.wait().await;
        group.release();
        (ended, out, err)
    };
    let Ok((ended, out, err)) = time::timeout(timeout, run).await else {
        return Finding::critical(format!("Timed out ({}) running check", words(timeout)));
    };
    let mut tail = out;
    tail.push(err.text(OUTPUT).as_bytes());
    let prefix = if tail.total() > output {
        format!("Captured {output} of {} bytes\n...\n", tail.total())
    } else {
        String::new()
    };
    let status = match ended.ok().and_then(|status| status.code()) {
        Some(0) => Status::Passing,
        Some(1) => Status::Warning,
        Some(_) | None => Status::Critical,
    };
    Finding {
        status,
        output: with_tail(&prefix, &tail, output),
    }
}

/// The program and everything it started and did not send away, killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Group {
        let pid = leader.id().and_then(|pid| i32::try_from(pid).ok());
        Group(pid.and_then(Pid::from_raw))
    }

    /// Called once the leader was waited for: its number may then belong to others.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Whoever has ended by itself needs no more.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A time as Go prints it: `500ms`, `30s`, `1m30s`, `1h0m0s`.
fn words(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let rest = match (seconds % 60, millis) {
        (0, millis @ 1..) if seconds == 0 => return format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => {
            let fraction = format!("{millis:03}");
            format!("{seconds}.{}s", fraction.trim_end_matches('0'))
        }
    };
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>) -> Tail {
    let mut tail = Tail::default();
    let Some(mut pipe) = pipe else {
        return tail;
    };
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        tail.push(&buffer[..count]);
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_does() {
        for (ms, text) in [
            (500, "500ms"),
            (30_000, "30s"),
            (1_500, "1.5s"),
            (90_000, "1m30s"),
            (61_050, "1m1.05s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(words(Duration::from_millis(ms)), text);
        }
    }
}
