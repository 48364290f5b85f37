//! The store: takes in batches, moves older ones into files, forgets what nobody may read any more.

mod upkeep;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portolan_catalog::{Batch, Cause, Floors, Revision};

use crate::chunk::{self, Chunk};
use crate::files::{Files, MemoryFiles};
use crate::pressure::Pressure;
use crate::recent::Run;
use crate::view::View;
use crate::wake::Wake;
use crate::weight::weight;

/// What is in memory is in at least about so many runs when it is as much as it may be.
const RUNS: u64 = 32;

/// The history of one catalog: its newest batches in memory, older ones in files. One writer adds, anybody reads.
#[derive(Debug)]
pub struct History {
    view: ArcSwap<View>,
    writer: Mutex<Recent>,
    floors: ArcSwap<Floors>,
    files: Arc<dyn Files>,
    memory_bytes: u64,
    /// One at a time writes and removes files.
    work: Mutex<()>,
    wake: Wake,
    pressure: Pressure,
    /// Files that turned out to be damaged.
    damaged: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Recent {
    last: Revision,
    /// The first revision in memory.
    oldest: Revision,
    cause: Option<Arc<Cause>>,
}

/// What a history holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Batches.
    pub batches: u64,
    /// Changes.
    pub changes: u64,
    /// Bytes of the batches in memory and of what is in memory for the files.
    pub memory_bytes: u64,
    /// Bytes of the files.
    pub disk_bytes: u64,
    /// Files.
    pub files: u64,
    /// Files that turned out to be damaged.
    pub damaged: u64,
}

impl History {
    /// Takes up what is in `files`. The newest part takes at most about `memory_bytes`.
    ///
    /// # Errors
    /// When the files cannot be listed. A damaged file is no error here but one of its readers.
    pub fn open(files: Arc<dyn Files>, memory_bytes: u64) -> io::Result<History> {
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut stale: Vec<String> = Vec::new();
        let mut found: Vec<Chunk> = files
            .list()?
            .into_iter()
            .filter_map(|(name, file)| Some(Chunk::open(name.clone(), chunk::range(&name)?, file)))
            .collect();
        // Of files with one beginning the longest comes first: it took the others' place.
        found.sort_by_key(|chunk| (chunk.after, std::cmp::Reverse(chunk.through)));
        for chunk in found {
            match chunks.last() {
                Some(last) if chunk.through <= last.through => stale.push(chunk.name),
                Some(last) if chunk.after != last.through => {
                    tracing::warn!(
                        file = chunk.name,
                        "the history has a gap before this file, what is older cannot be read"
                    );
                    stale.extend(chunks.drain(..).map(|chunk| chunk.name));
                    chunks.push(chunk);
                }
                _ => chunks.push(chunk),
            }
        }
        for name in stale {
            files.remove(&name)?;
        }
        let damaged: Vec<_> = chunks.iter().filter_map(Chunk::broken).collect();
        let after = chunks.first().map_or(Revision::FIRST, |chunk| chunk.after);
        let through = chunks.last().map_or(Revision::FIRST, |chunk| chunk.through);
        let pressure = Pressure::new(memory_bytes);
        let directories = chunks.iter().map(Chunk::weight).sum::<usize>();
        pressure.set(0, directories as u64);
        let history = History {
            pressure,
            view: ArcSwap::from_pointee(View {
                after,
                chunks: chunks.into_iter().map(Arc::new).collect(),
                runs: Arc::from([Arc::default()]),
            }),
            writer: Mutex::new(Recent {
                last: through,
                oldest: through.next(),
                cause: None,
            }),
            floors: ArcSwap::default(),
            files,
            memory_bytes,
            work: Mutex::default(),
            wake: Wake::default(),
            damaged: Mutex::default(),
        };
        for damage in damaged {
            history.report(&damage);
        }
        Ok(history)
    }

    /// A history without a disk.
    #[must_use]
    pub fn in_memory(memory_bytes: u64) -> History {
        let files = Arc::new(MemoryFiles::default());
        match History::open(files, memory_bytes) {
            Ok(history) => history,
            Err(_) => unreachable!("files in memory can be listed"),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be read now. Take the state first: a view taken after it has all that led to it.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Shows what can be read from now on. With the writer's lock held.
    fn show(&self, view: View) {
        let directories = view
            .chunks
            .iter()
            .map(|chunk| chunk.weight())
            .sum::<usize>();
        self.pressure.set(memory(&view.runs), directories as u64);
        self.view.store(Arc::new(view));
    }

    /// Adds a batch. Those that are there already are left alone: a restart makes them again.
    ///
    /// Where the worker cannot keep up, waits for it a few milliseconds at a time, the more often the more is in memory: see
    /// [`History::memory_bytes`].
    pub fn push(&self, batch: &Arc<Batch>) {
        let added = self.add(batch);
        if let Some(pause) = self.pressure.pause(added) {
            self.wake.up();
            self.wake.until(pause, || !self.pressure.is_over());
        }
    }

    /// Adds a batch; gives back how many bytes it takes.
    fn add(&self, batch: &Arc<Batch>) -> u64 {
        let mut recent = self.recent();
        if batch.revision <= recent.last {
            return 0;
        }
        if batch.revision != recent.last.next() {
            self.restart(&mut recent, Revision(batch.revision.0 - 1));
        }
        let weight = weight(batch, recent.cause.as_ref(), recent.oldest);
        recent.last = batch.revision;
        recent.cause = Some(batch.cause.clone());
        let view = self.view.load();
        if let Some(run) = view.runs.last()
            && run.push(batch, weight)
        {
            self.pressure.add(weight as u64);
            // A run is moved as a whole: it must not be much of what may be in memory.
            if run.weight() as u64 > self.memory_bytes / RUNS {
                run.close();
            }
            return weight as u64;
        }
        let run = Run::default();
        let _fits = run.push(batch, weight);
        let runs = view.runs.iter().cloned().chain([Arc::new(run)]);
        self.show(View {
            runs: runs.collect(),
            ..View::clone(&view)
        });
        if self.is_heavy() {
            self.wake.up();
        }
        weight as u64
    }

    /// Says that the catalog is at `revision`. A history that does not reach that far begins anew there: a state came from elsewhere,
    /// and what led to it is not known.
    pub fn reached(&self, revision: Revision) {
        let mut recent = self.recent();
        if recent.last < revision {
            self.restart(&mut recent, revision);
        }
    }

    /// Forgets everything: what led to `revision`, perhaps an earlier one than the last, is not what is kept.
    pub fn begin_anew(&self, revision: Revision) {
        let mut recent = self.recent();
        self.restart(&mut recent, revision);
    }

    /// Forgets the oldest batches where more is in memory than should be for long: for a history that nobody moves into files.
    pub fn forget_oldest(&self) {
        if !self.is_heavy() {
            return;
        }
        let mut recent = self.recent();
        let view = self.view();
        if !view.chunks.is_empty() {
            return;
        }
        let mut left = memory(&view.runs);
        let mut after = view.after;
        let mut kept = &view.runs[..];
        while let [first, rest @ ..] = kept
            && left > self.memory_bytes / 4
        {
            left = left.saturating_sub(first.weight() as u64);
            after = first.last().unwrap_or(after);
            // Readers may still look at it; nothing may be added to it that later ones would miss.
            first.close();
            kept = rest;
        }
        let mut runs = kept.to_vec();
        if runs.is_empty() {
            runs.push(Arc::default());
        }
        recent.oldest = after.next();
        self.show(View {
            after,
            chunks: Arc::default(),
            runs: runs.into(),
        });
    }

    /// Says how far back the catalog may be read. To be called when the state with these floors can be seen: what is below may be gone
    /// from then on.
    pub fn set_floors(&self, floors: &Floors) {
        if **self.floors.load() != *floors {
            self.floors.store(Arc::new(floors.clone()));
            self.wake.up();
        }
    }

    /// Says that batches from `first` on follow, where nothing is kept yet.
    pub fn begin(&self, first: Revision) {
        let mut recent = self.recent();
        let view = self.view.load_full();
        if view.through() == view.after && recent.last < first {
            self.restart(&mut recent, Revision(first.0.saturating_sub(1)));
        }
    }

    fn restart(&self, recent: &mut Recent, after: Revision) {
        recent.last = after;
        recent.oldest = after.next();
        recent.cause = None;
        self.show(View {
            after,
            chunks: Arc::default(),
            runs: Arc::from([Arc::default()]),
        });
        self.wake.up();
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let view = self.view();
        let recent = || view.runs.iter().flat_map(|run| run.batches());
        let chunks = &view.chunks;
        let directories: usize = chunks.iter().map(|chunk| chunk.weight()).sum();
        Figures {
            batches: recent().count() as u64 + chunks.iter().map(|c| c.batches()).sum::<u64>(),
            changes: recent()
                .map(|batch| batch.changes.len() as u64)
                .sum::<u64>()
                + chunks.iter().map(|c| c.changes()).sum::<u64>(),
            memory_bytes: memory(&view.runs) + directories as u64,
            disk_bytes: chunks.iter().map(|c| c.length).sum(),
            files: chunks.len() as u64,
            damaged: self.damaged_files().len() as u64,
        }
    }

    /// The bound on memory. A worker ([`History::wait`]) begins at half of it; at the bound whoever adds begins to wait for the worker,
    /// so that no more than a quarter of the bound and one batch is ever added to it.
    ///
    /// There is no waiting without a worker, and none while files cannot be written: what is in memory then grows by what is written,
    /// which on a full disk is nearly nothing.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether more is in memory than should be for long.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        self.pressure.is_heavy()
    }

    /// Notes that a reader met damage, and says it once per file.
    pub fn report(&self, damage: &chunk::Damage) {
        if self.damaged_files().insert(damage.file.clone()) {
            tracing::error!(%damage, "a file of the history is damaged");
        }
    }

    fn damaged_files(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of files that retention may keep: the bound, and never more than a tenth of what the disk has for them.
    pub fn disk_bound(&self, bound: u64) -> u64 {
        let used: u64 = self.view.load().chunks.iter().map(|c| c.length).sum();
        let free = self.files.free_bytes().unwrap_or(u64::MAX);
        bound.min(free.saturating_add(used) / 10)
    }

    /// Waits until there may be something to do, at most so long; false once [`History::stop`] was called.
    pub fn wait(&self, most: Duration) -> bool {
        self.pressure.attend();
        self.wake.wait(most)
    }

    /// Ends waiting.
    pub fn stop(&self) {
        self.pressure.leave();
        self.wake.stop();
    }

    /// Whether [`History::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.wake.stopped()
    }
}

/// Bytes that runs take.
fn memory(runs: &[Arc<Run>]) -> u64 {
    runs.iter().map(|run| run.weight() as u64).sum()
}
