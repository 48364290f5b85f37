//! Which chunks are worth writing anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_catalog::Floors;

use crate::chunk::Chunk;

/// Chunks below this many bytes are small; those of one class and of smaller ones are merged when they are many, or when no more of
/// them go into one.
const CLASSES: [u64; 3] = [256 << 10, 6 << 20, 32 << 20];
/// This many small chunks beside each other become one.
const MANY: usize = 6;
/// What is merged at once: bytes of files, and changes. Every chunk repeats the rows that were there before it, so few large ones take
/// less than many small ones: with 10,000 rows of 256 bytes, 64 MiB of history repeat a twentieth, 8 MiB a third.
const MERGED_BYTES: u64 = 64 << 20;
const MERGED_CHANGES: u64 = 250_000;

/// Chunks beside each other that are to become one: of which most was forgotten, or many that are small.
pub(crate) fn pick(
    chunks: &[Arc<Chunk>],
    floors: &Floors,
    skipped: &BTreeSet<String>,
) -> Option<std::ops::Range<usize>> {
    let live: Vec<Option<(u64, u64, bool)>> = chunks
        .iter()
        .map(|chunk| {
            if skipped.contains(&chunk.name) || chunk.broken().is_some() {
                return None;
            }
            let (all, dead) = (chunk.changes(), chunk.dead(floors).min(chunk.changes()));
            let bytes = chunk.length * (all - dead) / all.max(1);
            Some((bytes, all - dead, dead * 2 >= all.max(1)))
        })
        .collect();
    // A group from `start` on, of chunks that `belong`, as long as it is not too much; and whether one more would have been.
    let group = |start: usize, belongs: &dyn Fn(u64, bool) -> bool| {
        let (mut bytes, mut changes, mut full) = (0, 0, false);
        let fits = live[start..].iter().take_while(|chunk| {
            chunk.is_some_and(|(size, count, dead)| {
                bytes += size;
                changes += count;
                let fits = bytes <= MERGED_BYTES && changes <= MERGED_CHANGES;
                full |= belongs(size, dead) && !fits;
                belongs(size, dead) && fits
            })
        });
        let count = fits.count();
        (start..start + count, full)
    };
    if let Some(first) = live.iter().position(|chunk| chunk.is_some_and(|c| c.2)) {
        let (found, _) = group(first, &|size, dead| dead || size < CLASSES[0]);
        return Some(found.start..found.end.max(first + 1));
    }
    for class in CLASSES {
        let mut start = 0;
        while start < live.len() {
            let (found, full) = group(start, &|size, _| size < class);
            if found.len() >= if full { 2 } else { MANY } {
                return Some(found);
            }
            start = found.end.max(start + 1);
        }
    }
    None
}
