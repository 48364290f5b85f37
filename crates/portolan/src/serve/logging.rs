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
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl Lines {
    fn start(length: usize, to: impl Write + Send + 'static) -> io::Result<Lines> {
        let (queue, lines) = sync_channel(length.max(1));
        let counts = Arc::<Counts>::default();
        let counted = counts.clone();
        std::thread::Builder::new()
            .name("portolan-log".into())
            .spawn(move || write_lines(&lines, &counted, to))?;
        Ok(Lines { queue, counts })
    }

    /// Lines dropped so far because the queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Lines that wait to be written.
    pub(crate) fn waiting(&self) -> u64 {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Waits until everything logged so far is written, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Line::Flush(done)).is_ok() {
            let _late = written.recv_timeout(limit);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, counts: &Counts, mut to: impl Write) {
    let mut told = 0;
    while let Ok(line) = lines.recv() {
        // Nobody reads the log: there is nobody to tell.
        let _written = match line {
            Line::Text(text) => {
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
                to.write_all(&text)
            }
            Line::Flush(done) => {
                let _gone = done.try_send(());
                to.flush()
            }
        };
        let now = counts.dropped.load(Ordering::Relaxed);
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
        let counts = &self.0.counts;
        // Counted before it is there, so that the thread that takes it never counts below zero.
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        match self.0.queue.try_send(Line::Text(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
                counts.dropped.fetch_add(1, Ordering::Relaxed);
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
    let filter = EnvFilter::try_new(settings.level.filter())
        .map_err(|error| format!("--log-level cannot be read: {error}"))?;
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
        assert!(lines.waiting() >= 2, "{}", lines.waiting());
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
