//! A program's exit code: 0 passing, 1 warning, anything else critical.
//!
//! Only programs of the local configuration come here; see [`crate::LocalScript`].

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::Status;
use portolan_catalog::limits::OUTPUT;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time;

use super::Finding;
use crate::output::{Tail, with_tail};

pub(super) async fn probe(args: &[Arc<str>], timeout: Duration) -> Finding {
    let Some((program, args)) = args.split_first() else {
        return Finding::critical("the check names no program");
    };
    let mut command = Command::new(&**program);
    command
        .args(args.iter().map(|a| &**a))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Finding::critical(format!("cannot run {program}: {error}")),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let run = async {
        let (out, err) = tokio::join!(drain(stdout), drain(stderr));
        (child.wait().await, out, err)
    };
    let Ok((ended, out, err)) = time::timeout(timeout, run).await else {
        // Dropping the child kills it.
        return Finding::critical(format!("Timed out ({}s) running check", timeout.as_secs()));
    };
    let mut tail = out;
    tail.push(err.text(OUTPUT).as_bytes());
    let prefix = if tail.total() > OUTPUT {
        format!("Captured {OUTPUT} of {} bytes\n...\n", tail.total())
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
        output: with_tail(&prefix, &tail),
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
