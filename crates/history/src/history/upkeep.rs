//! What is done beside the writer: older batches become files, files are merged, what nobody may read any more goes.

use std::io::{self, Write};
use std::sync::{Arc, PoisonError};

use portolan_catalog::Batch;

use super::{History, memory};
use crate::chunk::{self, Chunk, MergeError, merge, seal};
use crate::pick::pick;
use crate::recent::Run;
use crate::view::View;

impl History {
    /// Moves everything up to now into files, so that the log below may go.
    ///
    /// # Errors
    /// Those of the files; nothing is lost then.
    pub fn flush(&self) -> io::Result<()> {
        let _one = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        self.seal(0)
    }

    /// Does what is to be done: moves what is too much for memory into files, forgets, merges. Blocks; a piece at a time is done as
    /// long as `go_on` says so.
    ///
    /// # Errors
    /// As [`History::flush`].
    pub fn work(&self, go_on: impl FnMut() -> bool) -> io::Result<()> {
        let worked = self.pieces(go_on);
        self.pressure.set_stuck(worked.is_err());
        worked
    }

    fn pieces(&self, mut go_on: impl FnMut() -> bool) -> io::Result<()> {
        while go_on() {
            let _one = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            self.forget()?;
            let compacted = self.mostly_forgotten();
            let sealed = compacted || self.is_heavy();
            if sealed {
                self.seal(if compacted { 0 } else { self.pressure.rest() })?;
            }
            // Also when there is more to seal already: under a load that never ends files would otherwise never be merged.
            if !self.merge_some()? && !sealed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a keyspace's floor passed half of what is in memory.
    fn mostly_forgotten(&self) -> bool {
        let view = self.view.load();
        let floors = self.floors.load();
        let highest = floors.spaces.iter().max().copied().unwrap_or_default();
        let (first, last) = match (view.runs.iter().find_map(|run| run.first()), view.through()) {
            (Some(first), last) => (first, last),
            (None, _) => return false,
        };
        highest > first && highest.0 - first.0 > (last.0 - first.0) / 2 && last.0 - first.0 > 1000
    }

    /// Puts the oldest runs into a chunk, until those left take at most `leave` bytes.
    fn seal(&self, leave: u64) -> io::Result<()> {
        let recent = self.recent();
        let view = self.view();
        let mut left = memory(&view.runs);
        let mut count = 0;
        for run in view.runs.iter() {
            if left <= leave && leave > 0 {
                break;
            }
            left -= (run.weight() as u64).min(left);
            count += 1;
        }
        let sealed = &view.runs[..count];
        // No batch comes to a run that is being written.
        for run in sealed {
            run.close();
        }
        drop(recent);
        let batches: Vec<Arc<Batch>> = sealed.iter().flat_map(|r| r.batches().cloned()).collect();
        let Some(through) = batches.last().map(|batch| batch.revision) else {
            return Ok(());
        };
        let after = view.chunks.last().map_or(view.after, |last| last.through);
        let floors = self.floors.load_full();
        let name = chunk::name(after, through);
        let file = self
            .files
            .create(&name, &mut |out| seal(&batches, &floors, out))?;
        let made = Arc::new(Chunk::open(name, (after, through), file));
        let mut recent = self.recent();
        let now = self.view.load();
        if !now.runs.starts_with_same(sealed) {
            // It began anew meanwhile.
            drop(recent);
            return self.files.remove(&made.name);
        }
        let mut runs: Vec<Arc<Run>> = now.runs[count..].to_vec();
        if runs.is_empty() {
            runs.push(Arc::default());
        }
        recent.oldest = runs[0].first().unwrap_or(recent.last.next());
        self.show(View {
            after: now.after,
            chunks: now.chunks.iter().cloned().chain([made]).collect(),
            runs: runs.into(),
        });
        drop(recent);
        self.pressure.set_stuck(false);
        self.wake.tell();
        Ok(())
    }

    /// Removes the oldest files until those left have at most `bytes` together, although the members did not agree upon that: room on
    /// this disk is worth more. What they held cannot be read on this member any more.
    ///
    /// # Errors
    /// Those of the files.
    pub fn give_way(&self, bytes: u64) -> io::Result<()> {
        let _one = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        let mut left: u64 = view.chunks.iter().map(|chunk| chunk.length).sum();
        let mut count = 0;
        for chunk in view.chunks.iter() {
            if left <= bytes {
                break;
            }
            left -= chunk.length;
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        tracing::warn!(
            files = count,
            through = view.chunks[count - 1].through.0,
            "the disk is full: the oldest part of the history gives way"
        );
        self.drop_first(count)
    }

    /// Removes chunks that are wholly below the floor, and files that no view has any more.
    fn forget(&self) -> io::Result<()> {
        let floor = self.floors.load().all;
        let view = self.view.load();
        let count = view.chunks.partition_point(|chunk| chunk.through < floor);
        if count > 0 {
            self.drop_first(count)?;
        }
        let recent = self.recent();
        let now = self.view.load();
        if now.chunks.is_empty() {
            let old = now
                .runs
                .partition_point(|run| run.last().is_some_and(|last| last < floor));
            if old > 0 && old < now.runs.len() {
                let after = now.runs[old - 1].last().unwrap_or(now.after);
                self.show(View {
                    after,
                    chunks: now.chunks.clone(),
                    runs: now.runs[old..].into(),
                });
            }
        }
        drop(recent);
        Ok(())
    }

    /// Removes the oldest chunks; whoever holds a view that has them can go on reading.
    fn drop_first(&self, count: usize) -> io::Result<()> {
        let recent = self.recent();
        let now = self.view.load();
        let (gone, left) = now.chunks.split_at(count.min(now.chunks.len()));
        let gone = gone.to_vec();
        self.show(View {
            after: gone.last().map_or(now.after, |chunk| chunk.through),
            chunks: left.into(),
            runs: now.runs.clone(),
        });
        drop(recent);
        for chunk in gone {
            self.files.remove(&chunk.name)?;
        }
        Ok(())
    }

    /// Merges one group of chunks, if one is worth it.
    fn merge_some(&self) -> io::Result<bool> {
        let view = self.view();
        let floors = self.floors.load_full();
        let skipped = self.damaged_files().clone();
        let Some(group) = pick(&view.chunks, &floors, &skipped) else {
            return Ok(false);
        };
        let chunks = &view.chunks[group.clone()];
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
            return Ok(false);
        };
        let range = (first.after, last.through);
        let name = chunk::name(range.0, range.1);
        let mut damage = None;
        let created = self.files.create(&name, &mut |out| {
            let mut out = Between { out, history: self };
            merge(chunks, &floors, &mut out).map_err(|error| match error {
                MergeError::Io(error) => error,
                MergeError::Damage(found) => {
                    damage = Some(found.clone());
                    io::Error::other(found)
                }
            })
        });
        let file = match (created, damage) {
            (_, Some(damage)) => {
                self.report(&damage);
                return Ok(true);
            }
            (created, None) => created?,
        };
        let made = Arc::new(Chunk::open(name, range, file));
        let recent = self.recent();
        let now = self.view.load();
        let place = now
            .chunks
            .windows(chunks.len())
            .position(|window| window.iter().zip(chunks).all(|(a, b)| Arc::ptr_eq(a, b)));
        let Some(place) = place else {
            drop(recent);
            self.files.remove(&made.name)?;
            return Ok(true);
        };
        let before = now.chunks[..place].iter().cloned();
        let behind = now.chunks[place + chunks.len()..].iter().cloned();
        let name = made.name.clone();
        self.show(View {
            after: now.after,
            chunks: before.chain([made]).chain(behind).collect(),
            runs: now.runs.clone(),
        });
        drop(recent);
        for chunk in chunks.iter().filter(|chunk| chunk.name != name) {
            self.files.remove(&chunk.name)?;
        }
        Ok(true)
    }
}

/// Writes a merged file, and seals in between what became too much for memory meanwhile: merging takes longer than that may wait.
struct Between<'a> {
    out: &'a mut dyn Write,
    history: &'a History,
}

impl Write for Between<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.history.is_heavy() {
            self.history.seal(self.history.pressure.rest())?;
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

trait StartsWith {
    fn starts_with_same(&self, others: &[Arc<Run>]) -> bool;
}

impl StartsWith for Arc<[Arc<Run>]> {
    fn starts_with_same(&self, others: &[Arc<Run>]) -> bool {
        self.len() >= others.len() && self.iter().zip(others).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}
