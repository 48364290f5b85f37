//! A bbolt file, written from front to back: the form of etcd's databases and snapshots.
//!
//! Only writing, only whole files, and only what etcd has: buckets of sorted rows at the root, no buckets within buckets. The facts are
//! those of bbolt's file format, version 2: pages of 4096 bytes with a header of 16, two meta pages in front, B+ trees of leaf and branch
//! pages, and pages that are longer than one ("overflow"). There is no list of free pages, as in etcd's own files; bbolt looks for itself.
//!
//! Where everything will lie is planned first, from lengths alone; then the pages are made one after the other. So a file takes the
//! memory of its plan, about 24 bytes for each page, and of one page.

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Bytes of the header of a page, and of each element in front of its key and value.
const HEADER: usize = 16;
const ELEMENT: usize = 16;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
/// The value of an element is a bucket.
const BUCKET: u32 = 0x01;
/// In place of the page of the list of free pages.
const NO_FREE_LIST: u64 = u64::MAX;

/// The rows of a bucket, sorted by key, none twice.
pub(super) trait Rows {
    /// How many.
    fn count(&self) -> usize;
    /// The key of a row.
    fn key(&self, row: usize) -> Vec<u8>;
    /// Bytes of its value.
    fn value_len(&self, row: usize) -> usize;
    /// Appends its value, in exactly as many bytes.
    fn value(&self, row: usize, out: &mut Vec<u8>);
}

/// Rows that are there as bytes.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

impl Rows for Pairs {
    fn count(&self) -> usize {
        self.len()
    }

    fn key(&self, row: usize) -> Vec<u8> {
        self[row].0.clone()
    }

    fn value_len(&self, row: usize) -> usize {
        self[row].1.len()
    }

    fn value(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self[row].1);
    }
}

/// A bucket by its name.
pub(super) type Bucket = (&'static str, Box<dyn Rows + Send + Sync>);

/// A page of a tree: of rows, or of pages of the level below.
#[derive(Clone, Copy, Debug)]
struct Page {
    id: u64,
    /// The first row or page in it.
    first: usize,
    count: usize,
    /// The first row under it.
    row: usize,
    /// Further pages that it takes.
    overflow: u32,
}

/// Where the rows of a bucket lie: the leaves, then each level of branches up to the root.
struct Tree {
    levels: Vec<Vec<Page>>,
}

impl Tree {
    fn plan(rows: &dyn Rows, next: &mut u64) -> Tree {
        let mut sizes = Sizes::new(next);
        for row in 0..rows.count() {
            sizes.add(
                row,
                row,
                ELEMENT + rows.key(row).len() + rows.value_len(row),
            );
        }
        let mut levels = vec![sizes.end()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let mut sizes = Sizes::new(next);
            for (place, page) in below.iter().enumerate() {
                sizes.add(place, page.row, ELEMENT + rows.key(page.row).len());
            }
            let level = sizes.end();
            levels.push(level);
        }
        Tree { levels }
    }

    fn root(&self) -> u64 {
        let top = self.levels.last().and_then(|level| level.first());
        top.map_or(0, |page| page.id)
    }
}

/// Fills pages in order.
struct Sizes<'a> {
    next: &'a mut u64,
    pages: Vec<Page>,
    open: Page,
    bytes: usize,
}

impl<'a> Sizes<'a> {
    fn new(next: &'a mut u64) -> Sizes<'a> {
        let open = Page {
            id: 0,
            first: 0,
            count: 0,
            row: 0,
            overflow: 0,
        };
        Sizes {
            next,
            pages: Vec::new(),
            open,
            bytes: HEADER,
        }
    }

    fn add(&mut self, place: usize, row: usize, bytes: usize) {
        if self.open.count > 0 && self.bytes + bytes > PAGE {
            self.close();
            self.open = Page {
                first: place,
                row,
                count: 0,
                ..self.open
            };
        }
        self.open.count += 1;
        self.bytes += bytes;
    }

    fn close(&mut self) {
        let pages = self.bytes.div_ceil(PAGE) as u64;
        self.open.id = *self.next;
        self.open.overflow = (pages - 1) as u32;
        *self.next += pages;
        self.pages.push(self.open);
        self.bytes = HEADER;
    }

    /// An empty bucket has a page too.
    fn end(mut self) -> Vec<Page> {
        self.close();
        self.pages
    }
}

/// How far a file is written.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    metas: u64,
    tree: usize,
    level: usize,
    page: usize,
}

/// A file that is ready to be written.
pub(super) struct File {
    /// Sorted by name.
    buckets: Vec<(Bucket, Tree)>,
    root: Tree,
    root_rows: Pairs,
    pages: u64,
    transaction: u64,
}

impl File {
    /// Plans a file of these buckets, as if made by the transaction of this number.
    pub(super) fn plan(mut buckets: Vec<Bucket>, transaction: u64) -> File {
        buckets.sort_by_key(|(name, _)| *name);
        let mut next = 2;
        let buckets: Vec<_> = buckets
            .into_iter()
            .map(|bucket| {
                let tree = Tree::plan(&*bucket.1, &mut next);
                (bucket, tree)
            })
            .collect();
        let root_rows: Pairs = buckets
            .iter()
            .map(|((name, _), tree)| {
                // The root page, and a sequence that nobody counts.
                let value = [tree.root().to_le_bytes(), 0_u64.to_le_bytes()].concat();
                (name.as_bytes().to_vec(), value)
            })
            .collect();
        let root = Tree::plan(&root_rows, &mut next);
        File {
            buckets,
            root,
            root_rows,
            pages: next,
            transaction,
        }
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.pages * PAGE as u64
    }

    /// The next page, with what it takes of further ones; `None` at the end.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Vec<u8>> {
        if cursor.metas < 2 {
            cursor.metas += 1;
            return Some(self.meta(cursor.metas - 1));
        }
        loop {
            let (rows, tree, flags): (&dyn Rows, _, _) = match self.buckets.get(cursor.tree) {
                Some(((_, rows), tree)) => (&**rows, tree, 0),
                None if cursor.tree == self.buckets.len() => (&self.root_rows, &self.root, BUCKET),
                None => return None,
            };
            let Some(pages) = tree.levels.get(cursor.level) else {
                (cursor.tree, cursor.level, cursor.page) = (cursor.tree + 1, 0, 0);
                continue;
            };
            let Some(page) = pages.get(cursor.page) else {
                (cursor.level, cursor.page) = (cursor.level + 1, 0);
                continue;
            };
            cursor.page += 1;
            let places = page.first..page.first + page.count;
            let below = cursor.level.checked_sub(1);
            return Some(match below.and_then(|below| tree.levels.get(below)) {
                None => leaf(page, rows, places, flags),
                Some(below) => branch(page, rows, &below[places]),
            });
        }
    }

    /// The two meta pages differ in their transaction; the later one counts.
    fn meta(&self, id: u64) -> Vec<u8> {
        let mut page = header(id, META, 0, 0);
        page.extend_from_slice(&0xED0C_DAED_u32.to_le_bytes());
        page.extend_from_slice(&2_u32.to_le_bytes());
        page.extend_from_slice(&(PAGE as u32).to_le_bytes());
        page.extend_from_slice(&0_u32.to_le_bytes());
        let transaction = self.transaction + id;
        for number in [self.root.root(), 0, NO_FREE_LIST, self.pages, transaction] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv(&page[HEADER..]);
        page.extend_from_slice(&sum.to_le_bytes());
        page.resize(PAGE, 0);
        page
    }
}

/// The checksum of a meta page: FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn header(id: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE * (overflow as usize + 1));
    page.extend_from_slice(&id.to_le_bytes());
    page.extend_from_slice(&flags.to_le_bytes());
    // A page of 4096 bytes has no more than 255 elements of 16.
    page.extend_from_slice(&(count as u16).to_le_bytes());
    page.extend_from_slice(&overflow.to_le_bytes());
    page
}

fn leaf(page: &Page, rows: &dyn Rows, places: std::ops::Range<usize>, flags: u32) -> Vec<u8> {
    let mut out = header(page.id, LEAF, page.count, page.overflow);
    let mut at = HEADER + page.count * ELEMENT;
    for row in places.clone() {
        let (key, value) = (rows.key(row).len(), rows.value_len(row));
        // Counted from the element itself.
        let position = (at - out.len()) as u32;
        for number in [flags, position, key as u32, value as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        at += key + value;
    }
    for row in places {
        out.extend_from_slice(&rows.key(row));
        rows.value(row, &mut out);
    }
    debug_assert_eq!(out.len(), at);
    filled(out, page)
}

fn branch(page: &Page, rows: &dyn Rows, below: &[Page]) -> Vec<u8> {
    let mut out = header(page.id, BRANCH, page.count, page.overflow);
    let mut at = HEADER + page.count * ELEMENT;
    for child in below {
        let key = rows.key(child.row).len();
        let position = (at - out.len()) as u32;
        out.extend_from_slice(&position.to_le_bytes());
        out.extend_from_slice(&(key as u32).to_le_bytes());
        out.extend_from_slice(&child.id.to_le_bytes());
        at += key;
    }
    for child in below {
        out.extend_from_slice(&rows.key(child.row));
    }
    filled(out, page)
}

fn filled(mut out: Vec<u8>, page: &Page) -> Vec<u8> {
    out.resize(PAGE * (page.overflow as usize + 1), 0);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn number(bytes: &[u8], at: usize, size: usize) -> usize {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(&bytes[at..at + size]);
        u64::from_le_bytes(wide) as usize
    }

    /// Reads a tree as bbolt does, checking the order and that each page is used once.
    fn read(file: &[u8], id: usize, seen: &mut Vec<usize>, rows: &mut Pairs) {
        let page = &file[id * PAGE..];
        assert_eq!(number(page, 0, 8), id);
        seen.extend(id..=id + number(page, 12, 4));
        for element in 0..number(page, 10, 2) {
            let at = HEADER + element * ELEMENT;
            if number(page, 8, 2) == usize::from(BRANCH) {
                let from = at + number(page, at, 4);
                let key = &page[from..from + number(page, at + 4, 4)];
                let before = rows.len();
                read(file, number(page, at + 8, 8), seen, rows);
                assert_eq!(rows[before].0, key);
            } else {
                let from = at + number(page, at + 4, 4);
                let (key, value) = (number(page, at + 8, 4), number(page, at + 12, 4));
                rows.push((
                    page[from..from + key].to_vec(),
                    page[from + key..from + key + value].to_vec(),
                ));
            }
        }
    }

    #[test]
    fn what_is_written_is_found_again() {
        let rows = |count: u32, value: usize| -> Pairs {
            let row = |n: u32| {
                (
                    n.to_be_bytes().to_vec(),
                    vec![n as u8; value * (n as usize % 3)],
                )
            };
            (0..count).map(row).collect()
        };
        let given = [
            ("many", rows(30_000, 11)),
            ("empty", rows(0, 0)),
            ("large", rows(7, 100_000)),
            ("one", rows(1, 1)),
        ];
        let buckets = given
            .iter()
            .map(|(name, rows)| (*name, Box::new(rows.clone()) as Box<dyn Rows + Send + Sync>))
            .collect();
        let file = File::plan(buckets, 1);
        let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
        while let Some(page) = file.next(&mut cursor) {
            bytes.extend_from_slice(&page);
        }
        assert_eq!(bytes.len() as u64, file.len());
        let meta = &bytes[PAGE + HEADER..];
        assert_eq!(number(meta, 16, 8), number(&bytes[HEADER..], 16, 8));
        assert_eq!(number(meta, 56, 8) as u64, fnv(&meta[..56]));
        let (mut seen, mut root) = (vec![0, 1], Vec::new());
        read(&bytes, number(meta, 16, 8), &mut seen, &mut root);
        let mut found = BTreeMap::new();
        for (name, bucket) in root {
            let mut rows = Vec::new();
            read(&bytes, number(&bucket, 0, 8), &mut seen, &mut rows);
            assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
            found.insert(String::from_utf8(name).unwrap(), rows);
        }
        seen.sort_unstable();
        let all: Vec<usize> = (0..number(meta, 40, 8)).collect();
        assert_eq!(seen, all);
        for (name, rows) in given {
            assert!(found.remove(name) == Some(rows), "{name}");
        }
        assert!(found.is_empty());
    }
}
