//! The access log: a line of JSON for each request, written by a thread of its own so that no request waits for a disk.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{fmt, io};

use crate::figures::Figures;

/// Lines that wait to be written, at most.
const LINES: usize = 16_384;

/// Where lines go. Cloning is a pointer copy.
#[derive(Clone)]
pub(crate) struct AccessLog {
    lines: SyncSender<String>,
    figures: Figures,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

impl AccessLog {
    /// Opens the file; what is in it stays.
    pub(crate) fn open(path: &Path, figures: &Figures) -> io::Result<AccessLog> {
        #[allow(
            clippy::disallowed_methods,
            reason = "a log is no data that a simulation looks at"
        )]
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?;
        let (lines, waiting) = sync_channel(LINES);
        portolan_environment::thread("portolan-gateway-log", move || write(file, &waiting))?;
        Ok(AccessLog {
            lines,
            figures: figures.clone(),
        })
    }

    /// Has a line written, or counts that it was not.
    pub(crate) fn line(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.figures.unlogged();
        }
    }
}

fn write(file: std::fs::File, waiting: &Receiver<String>) {
    let mut file = io::BufWriter::new(file);
    while let Ok(first) = waiting.recv() {
        let more = std::iter::from_fn(|| waiting.try_recv().ok());
        for mut line in std::iter::once(first).chain(more) {
            line.push('\n');
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        if let Err(error) = file.flush() {
            tracing::warn!(%error, "the access log cannot be written");
        }
    }
}
