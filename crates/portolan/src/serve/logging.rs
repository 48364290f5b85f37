//! The log: lines go into a bounded queue and from there to stderr, by a thread of its own.
//!
//! Whoever logs never waits: when the reader of stderr is stuck and the queue is full, lines are dropped and counted, and the count is
//! written as soon as there is room again.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Format, Log};

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue's end for those who log.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    fn start(length: usize, to: impl Write + Send + 'static) -> io::Result<Lines> {
        let (queue, lines) = sync_channel(length.max(1));
        let dropped = Arc::<AtomicU64>::default();
        let counted = dropped.clone();
        std::thread::Builder::new()
            .name("portolan-log".into())
            .spawn(move || write_lines(&lines, &counted, to))?;
        Ok(Lines { queue, dropped })
    }

    /// Lines dropped so far because the queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything logged so far is written, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Line::Flush(done)).is_ok() {
            let _late = written.recv_timeout(limit);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, dropped: &AtomicU64, mut to: impl Write) {
    let mut told = 0;
    while let Ok(line) = lines.recv() {
        // Nobody reads the log: there is nobody to tell.
        let _written = match line {
            Line::Text(text) => to.write_all(&text),
            Line::Flush(done) => {
                let _gone = done.try_send(());
                to.flush()
            }
        };
        let now = dropped.load(Ordering::Relaxed);
        if now > told {
            let _written = writeln!(
                to,
                "{} log lines were dropped: whoever reads stderr is too slow",
                now - told
            );
            told = now;
        }
    }
}

/// One event on its way into the queue; each write is a whole line, as the formatter makes it.
pub(crate) struct Event<'a>(&'a Lines);

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.queue.try_send(Line::Text(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

/// Starts logging to stderr for the whole process.
pub(crate) fn start(settings: &Log) -> Result<Lines, String> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| format!("--log-level {:?} cannot be read: {error}", settings.level))?;
    let lines = Lines::start(settings.queue, io::stderr())
        .map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone());
    let started = match settings.format {
        Format::Human => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("the log cannot be started: {error}"))?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until it is let go.
    struct Stuck(Receiver<()>, Page);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _go = self.0.recv();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_time() {
        let (go, wait) = channel();
        let page = Page::default();
        let lines = Lines::start(2, Stuck(wait, page.clone())).unwrap();
        for number in 0..20 {
            let line = format!("line {number}\n");
            lines.make_writer().write_all(line.as_bytes()).unwrap();
        }
        // One is being written, two wait; the rest is counted.
        assert!(lines.dropped() >= 17, "{}", lines.dropped());
        drop(go);
        lines.flush(Duration::from_secs(5));
        // The queue may still have been full when the flush was asked for.
        while !String::from_utf8_lossy(&page.0.lock().unwrap()).contains("were dropped") {
            std::thread::yield_now();
        }
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n"), "{text}");
    }
}
