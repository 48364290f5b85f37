//! The history as a reader sees it: some chunks, then the newest batches. A view never changes but for batches that are added.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::stored::index::Span;
use portolan_catalog::{Batch, Change, Revision, Timestamp};

use crate::chunk::{Chunk, Damage, Posting, Wanted};
use crate::recent::Run;

/// What is kept, as of some moment. Files in it can be read for as long as it is held.
#[derive(Clone, Debug)]
pub struct View {
    /// Changes after this revision are there.
    pub(crate) after: Revision,
    pub(crate) chunks: Arc<[Arc<Chunk>]>,
    pub(crate) runs: Arc<[Arc<Run>]>,
}

/// A row as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The row has not changed since: the present one is the one of then.
    Same,
    /// There was none.
    Absent,
    /// The earlier side of this change; the later one may be missing.
    Was(Change),
}

/// Where a row as it was is found.
#[derive(Clone, Debug)]
pub struct Place(Found);

#[derive(Clone, Debug)]
enum Found {
    Memory(Arc<Batch>, usize),
    File(usize, Posting),
}

impl Place {
    /// Whether there was a row; its content is read by [`View::rows`].
    #[must_use]
    pub fn had(&self) -> bool {
        match &self.0 {
            Found::Memory(batch, change) => batch.changes[*change].presence().0,
            Found::File(_, posting) => posting.had,
        }
    }
}

/// What a reader of batches wants.
#[derive(Clone, Debug)]
pub enum Select {
    /// All batches.
    All,
    /// Those with an entry in one of the spans, and perhaps some others.
    Spans(Vec<Span>),
}

/// Batches in a row.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What was found, oldest first.
    pub batches: Vec<Arc<Batch>>,
    /// Everything up to here was looked at.
    pub through: Revision,
}

impl View {
    /// The oldest revision that can be read here; 0 when all since the beginning can.
    #[must_use]
    pub fn floor(&self) -> Revision {
        if self.after <= Revision::FIRST {
            Revision(0)
        } else {
            self.after
        }
    }

    /// The oldest revision whose changes are here; 0 when all since the beginning are.
    #[must_use]
    pub fn first(&self) -> Revision {
        if self.after <= Revision::FIRST {
            Revision(0)
        } else {
            self.after.next()
        }
    }

    /// The last revision of which it has the changes.
    #[must_use]
    pub fn through(&self) -> Revision {
        let run = self.runs.iter().rev().find_map(|run| run.last());
        run.or(self.chunks.last().map(|chunk| chunk.through))
            .unwrap_or(self.after)
    }

    /// Whether what changed after a revision is in memory.
    #[must_use]
    pub fn is_in_memory(&self, revision: Revision) -> bool {
        self.chunks
            .last()
            .is_none_or(|chunk| chunk.through <= revision)
    }

    /// The chunks that hold something after `after`, with their places.
    fn chunks_after(&self, after: Revision) -> impl Iterator<Item = (usize, &Arc<Chunk>)> {
        let first = self.chunks.partition_point(|chunk| chunk.through <= after);
        self.chunks.iter().enumerate().skip(first)
    }

    fn runs_after(&self, after: Revision) -> impl Iterator<Item = &Arc<Run>> {
        let older = |run: &Arc<Run>| run.last().is_some_and(|last| last <= after);
        let first = self.runs.partition_point(older);
        self.runs[first..].iter()
    }

    /// One row as it was at `revision`. `span` is of that row alone. The caller has checked the floor.
    ///
    /// # Errors
    /// [`Damage`] of a file that would have to be read.
    pub fn row(&self, span: &Span, revision: Revision) -> Result<Earlier, Damage> {
        let mut found = None;
        for (at, chunk) in self.chunks_after(revision) {
            chunk.scan(span, revision, |_, postings| {
                found = postings.first().map(|first| Found::File(at, *first));
                false
            })?;
            if found.is_some() {
                break;
            }
        }
        for run in self.runs_after(revision) {
            if found.is_some() {
                break;
            }
            run.scan(span, revision, |_, batch, place| {
                found = place
                    .change
                    .map(|change| Found::Memory(batch.clone(), change));
                false
            });
        }
        let Some(found) = found.map(Place) else {
            return Ok(Earlier::Same);
        };
        if !found.had() {
            return Ok(Earlier::Absent);
        }
        let rows = self.rows(&[&found])?;
        Ok(rows
            .into_iter()
            .next()
            .map_or(Earlier::Absent, Earlier::Was))
    }

    /// The rows of a span that changed after `revision`, by their key in the index.
    ///
    /// # Errors
    /// As [`View::row`].
    pub fn changed(
        &self,
        span: &Span,
        revision: Revision,
    ) -> Result<BTreeMap<Vec<u8>, Place>, Damage> {
        let mut found: BTreeMap<Vec<u8>, Place> = BTreeMap::new();
        for (at, chunk) in self.chunks_after(revision) {
            chunk.scan(span, revision, |key, postings| {
                if let Some(first) = postings.first()
                    && !found.contains_key(key)
                {
                    found.insert(key.to_vec(), Place(Found::File(at, *first)));
                }
                true
            })?;
        }
        for run in self.runs_after(revision) {
            run.scan(span, revision, |key, batch, place| {
                if let Some(change) = place.change
                    && !found.contains_key(key)
                {
                    let place = Place(Found::Memory(batch.clone(), change));
                    found.insert(key.to_vec(), place);
                }
                true
            });
        }
        Ok(found)
    }

    /// The changes at these places, in their order; of each the earlier side is right.
    ///
    /// # Errors
    /// As [`View::row`].
    pub fn rows(&self, places: &[&Place]) -> Result<Vec<Change>, Damage> {
        let mut rows: Vec<Option<Change>> = vec![None; places.len()];
        let mut stored: BTreeMap<usize, Vec<(usize, Posting)>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            match &place.0 {
                Found::Memory(batch, change) => rows[at] = Some(batch.changes[*change].clone()),
                Found::File(chunk, posting) => {
                    stored.entry(*chunk).or_default().push((at, *posting));
                }
            }
        }
        for (chunk, wanted) in stored {
            let postings: Vec<Posting> = wanted.iter().map(|(_, posting)| *posting).collect();
            for ((at, _), change) in wanted.iter().zip(self.chunks[chunk].befores(&postings)?) {
                rows[*at] = Some(change);
            }
        }
        Ok(rows.into_iter().flatten().collect())
    }

    /// The next batches after `after` and up to `until`, about `most` at a time. The caller has checked the floor.
    ///
    /// # Errors
    /// [`Damage`] of a file that would have to be read.
    pub fn read(
        &self,
        select: &Select,
        after: Revision,
        until: Revision,
        most: usize,
    ) -> Result<Piece, Damage> {
        for (_, chunk) in self.chunks_after(after) {
            if chunk.after >= until {
                break;
            }
            let end = until.min(chunk.through);
            let Select::Spans(spans) = select else {
                let batches = chunk.read(Wanted::After(after, end, most))?;
                let through = match batches.last() {
                    Some(last) if batches.len() == most => last.revision,
                    _ => end,
                };
                return Ok(Piece { batches, through });
            };
            let mut revisions = chunk_revisions(chunk, spans, after)?;
            revisions.retain(|revision| *revision <= end);
            if revisions.is_empty() {
                continue;
            }
            let through = match revisions.get(most) {
                Some(_) => revisions[most - 1],
                None => end,
            };
            revisions.truncate(most);
            let batches = chunk.read(Wanted::These(&revisions))?;
            return Ok(Piece { batches, through });
        }
        let mut batches = Vec::new();
        for run in self.runs_after(after) {
            for batch in run.batches() {
                if batch.revision <= after {
                    continue;
                }
                if batch.revision > until {
                    return Ok(Piece {
                        batches,
                        through: until,
                    });
                }
                batches.push(batch.clone());
                if batches.len() >= most {
                    let through = batch.revision;
                    return Ok(Piece { batches, through });
                }
            }
        }
        Ok(Piece {
            batches,
            through: until,
        })
    }

    /// The newest batches up to `until` with an entry in a span, newest first, at most `most`.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn newest(
        &self,
        span: &Span,
        until: Revision,
        floor: Revision,
        most: usize,
    ) -> Result<Vec<Arc<Batch>>, Damage> {
        let mut found: Vec<Arc<Batch>> = Vec::new();
        let after = Revision(floor.0.saturating_sub(1));
        for run in self.runs.iter().rev() {
            let mut here = Vec::new();
            run.scan(span, after, |_, batch, _| {
                here.push(batch.clone());
                true
            });
            here.retain(|batch| batch.revision <= until);
            here.sort_by_key(|batch| std::cmp::Reverse(batch.revision));
            here.dedup_by_key(|batch| batch.revision);
            found.extend(here);
            if found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
        let spans = std::slice::from_ref(span);
        for chunk in self.chunks.iter().rev() {
            if chunk.through <= after {
                break;
            }
            let mut revisions = chunk_revisions(chunk, spans, after)?;
            revisions.retain(|revision| *revision <= until);
            let wanted = most - found.len();
            let skip = revisions.len().saturating_sub(wanted);
            let mut batches = chunk.read(Wanted::These(&revisions[skip..]))?;
            batches.reverse();
            found.extend(batches);
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// The batches of times from `since` on, up to `until`, with an entry in a span, newest first.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn since(
        &self,
        span: &Span,
        since: Timestamp,
        until: Revision,
    ) -> Result<Vec<Arc<Batch>>, Damage> {
        let mut found: Vec<Arc<Batch>> = Vec::new();
        let earlier = Timestamp(since.0.saturating_sub(1));
        for chunk in self.chunks.iter() {
            if chunk.broken().is_none() && chunk.last_at().is_none_or(|last| last < since) {
                continue;
            }
            let after = chunk.revision_at(earlier)?.unwrap_or_default();
            let mut revisions = chunk_revisions(chunk, std::slice::from_ref(span), after)?;
            revisions.retain(|revision| *revision <= until);
            found.extend(chunk.read(Wanted::These(&revisions))?);
        }
        let mut recent: Vec<Arc<Batch>> = Vec::new();
        for run in self.runs.iter() {
            if run.batches().next_back().is_none_or(|last| last.at < since) {
                continue;
            }
            run.scan(span, Revision(0), |_, batch, _| {
                if batch.at >= since && batch.revision <= until {
                    recent.push(batch.clone());
                }
                true
            });
        }
        recent.sort_by_key(|batch| batch.revision);
        recent.dedup_by_key(|batch| batch.revision);
        found.extend(recent);
        found.reverse();
        Ok(found)
    }

    /// The batch of one revision, if that is kept.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn batch(&self, revision: Revision) -> Result<Option<Arc<Batch>>, Damage> {
        let Some(after) = revision.0.checked_sub(1).map(Revision) else {
            return Ok(None);
        };
        if after < self.after {
            return Ok(None);
        }
        let piece = self.read(&Select::All, after, revision, 1)?;
        Ok(piece.batches.into_iter().next())
    }

    /// The newest revision whose time is not after `at`; none when that is older than what is kept.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn revision_at(&self, at: Timestamp) -> Result<Option<Revision>, Damage> {
        for run in self.runs.iter().rev() {
            let mut batches = run.batches().rev();
            if let Some(batch) = batches.find(|batch| batch.at <= at) {
                return Ok(Some(batch.revision));
            }
        }
        for chunk in self.chunks.iter().rev() {
            if chunk.broken().is_some() || chunk.first_at().is_some_and(|first| first <= at) {
                return chunk.revision_at(at);
            }
        }
        Ok(None)
    }

    /// Time of the oldest batch.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let stored = self.chunks.iter().find_map(|chunk| chunk.first_at());
        let recent = || {
            let first = self.runs.iter().find_map(|run| run.batches().next());
            first.map(|batch| batch.at)
        };
        stored.or_else(recent)
    }
}

/// The revisions after `after` that have an entry in one of the spans, ascending.
fn chunk_revisions(
    chunk: &Chunk,
    spans: &[Span],
    after: Revision,
) -> Result<Vec<Revision>, Damage> {
    let mut revisions = Vec::new();
    for span in spans {
        chunk.scan(span, after, |_, postings| {
            revisions.extend(postings.iter().map(|posting| posting.revision));
            true
        })?;
    }
    revisions.sort_unstable();
    revisions.dedup();
    Ok(revisions)
}
