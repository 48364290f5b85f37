//! How much memory and how many bytes of files the history takes while somebody writes faster than files can be.

#![allow(clippy::unwrap_used)]

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_catalog::{
    Batch, Cause, Change, Command, Entry, Key, Keyspace, Op, Protocol, Put, State, Timestamp,
    Write as Writing,
};
use portolan_history::{Earlier, File, Files, History, MemoryFiles, Named, Span};

#[derive(Debug)]
struct Writer {
    state: State,
    history: Arc<History>,
    seed: u64,
}

impl Writer {
    fn new(files: Arc<dyn Files>, memory_bytes: u64) -> Writer {
        Writer {
            state: State::default(),
            history: Arc::new(History::open(files, memory_bytes).unwrap()),
            seed: 0x9E37_79B9_7F4A_7C15,
        }
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    /// Puts random bytes to one of so many keys.
    fn put(&mut self, keys: u64, bytes: u64) -> Arc<Batch> {
        let key = Key::from(&*format!("bench/key/{:06}", self.random() % keys));
        let value: Vec<u8> = (0..bytes / 8)
            .flat_map(|_| self.random().to_le_bytes())
            .collect();
        let put = Put::new(Keyspace::Etcd, key, value.into());
        let applied = self.state.apply(&Entry {
            at: Timestamp(1_700_000_000_000 + self.state.revision().0),
            cause: Arc::new(Cause::call(Protocol::Etcd, None)),
            command: Command::Write(Writing::one(Op::Put(Box::new(put)))),
        });
        let batch = applied.batch.unwrap();
        self.history.push(&batch);
        batch
    }

    fn worker(&self) -> JoinHandle<()> {
        let history = self.history.clone();
        std::thread::spawn(move || {
            while history.wait(Duration::from_secs(1)) {
                history.work(|| !history.stopped()).unwrap();
            }
        })
    }
}

/// Files on a disk that takes so many bytes a second, once it takes any.
#[derive(Debug)]
struct Slow {
    files: MemoryFiles,
    rate: u64,
    open: Mutex<bool>,
    opened: Condvar,
}

struct SlowWrite<'a>(&'a mut dyn Write, u64);

impl Write for SlowWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_micros(
            bytes.len() as u64 * 1_000_000 / self.1,
        ));
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Files for Slow {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        let rate = self.rate;
        self.files
            .create(name, &mut |out| fill(&mut SlowWrite(out, rate)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        self.files.list()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }
}

/// Somebody writes several times as fast as the disk does: memory stays within a half above its bound, although files are merged
/// meanwhile, and a disk that takes nothing at all does not stop the writer. What was written then can be read.
#[test]
fn memory_stays_near_its_bound_when_files_are_slow() {
    const BOUND: u64 = 1 << 20;
    let slow = Arc::new(Slow {
        files: MemoryFiles::default(),
        rate: 4_000_000,
        open: Mutex::new(false),
        opened: Condvar::new(),
    });
    let mut writer = Writer::new(slow.clone(), BOUND);
    let worker = writer.worker();
    let mut batches = Vec::new();
    while writer.history.figures().memory_bytes <= BOUND {
        batches.push(writer.put(50, 1024));
    }
    for _ in 0..20 {
        batches.push(writer.put(50, 1024));
    }
    assert_eq!(writer.history.view().through(), writer.state.revision());
    assert_eq!(writer.history.figures().files, 0);
    *slow.open.lock().unwrap() = true;
    slow.opened.notify_all();
    let mut most = 0;
    while batches.len() < 8000 {
        batches.push(writer.put(50, 1024));
        most = most.max(writer.history.figures().memory_bytes);
    }
    assert!(most > BOUND, "the writer was not too fast: {most}");
    assert!(most < BOUND * 3 / 2, "{most}");
    assert!(writer.history.figures().files > 0);
    writer.history.stop();
    worker.join().unwrap();
    let view = writer.history.view();
    for batch in batches.iter().step_by(37) {
        let Change::Record { key, after, .. } = &batch.changes[0] else {
            panic!("a put changes a record");
        };
        let found = view.row(&Span::record(Keyspace::Etcd, key), batch.revision);
        let row = match found.unwrap() {
            Earlier::Was(Change::Record { before, .. }) => before,
            _ => writer.state.record(Keyspace::Etcd, key).cloned(),
        };
        assert_eq!(row, *after, "revision {}", batch.revision);
    }
}

/// Files during whose making so much is written that there is always something to seal.
#[derive(Debug, Default)]
struct Busy {
    files: MemoryFiles,
    writer: Mutex<Option<Writer>>,
    puts: AtomicU64,
    /// Files that are being made: one may be sealed while another is merged.
    making: AtomicU64,
    most_files: AtomicU64,
    most_bytes: AtomicU64,
}

impl Files for Busy {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        self.making.fetch_add(1, Relaxed);
        let made = self.files.create(name, fill)?;
        let within = self.making.fetch_sub(1, Relaxed) > 1;
        let mut writer = self.writer.lock().unwrap();
        let Some(writer) = writer.as_mut().filter(|_| !within) else {
            return Ok(made);
        };
        let puts = self.puts.load(Relaxed);
        let figures = writer.history.figures();
        if puts > 30_000 {
            self.most_files.fetch_max(figures.files, Relaxed);
            let bytes = figures.disk_bytes / figures.batches;
            self.most_bytes.fetch_max(bytes, Relaxed);
        }
        // What is being sealed now is more than half of the bound; this is more than half too.
        for _ in 0..if puts < 60_000 { 1000 } else { 0 } {
            writer.put(1000, 256);
            self.puts.fetch_add(1, Relaxed);
        }
        Ok(made)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        self.files.list()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }
}

/// Random puts of 256 bytes to 1000 keys, never a moment without something to seal: a revision takes at most 100 bytes of files beside
/// the value once there are thirty to a key, since files are merged all the same. `examples/figures.rs` does so with 10,000 keys and the real bounds.
#[test]
fn a_revision_takes_little_more_than_its_value_although_writes_never_pause() {
    let busy = Arc::new(Busy::default());
    let mut writer = Writer::new(busy.clone(), 1 << 20);
    let history = writer.history.clone();
    while !history.is_heavy() {
        writer.put(1000, 256);
    }
    *busy.writer.lock().unwrap() = Some(writer);
    history.work(|| true).unwrap();
    // It holds what holds it.
    *busy.writer.lock().unwrap() = None;
    assert_eq!(busy.puts.load(Relaxed), 60_000);
    let bytes = busy.most_bytes.load(Relaxed);
    assert!(bytes > 256 && bytes <= 356, "{bytes} bytes a revision");
    let files = busy.most_files.load(Relaxed);
    assert!(files > 0 && files < 20, "{files} files");
}
