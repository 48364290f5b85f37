//! An ordered map of keys that knows of any range how many entries it has and which of them is the newest, at the cost of finding
//! its ends.
//!
//! A B+ tree whose nodes are shared between versions and copied when one of them changes. Each branch carries the sum of what is
//! below it.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::Revision;
use crate::record::{Bounds, Key, Record};
use crate::work::{Work, count};

/// Entries of a node at most. A node that holds less than a quarter is joined with its neighbour if both fit into one.
const FULL: usize = 32;
/// Entries a node makes room for at once, so that few of its places are empty.
const ROOM: usize = 4;

/// What has a revision.
pub(crate) trait Revised {
    fn revision(&self) -> Revision;
}

impl Revised for Arc<Record> {
    fn revision(&self) -> Revision {
        self.modified
    }
}

impl Revised for Revision {
    fn revision(&self) -> Revision {
        *self
    }
}

/// What is known of the entries of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// How many there are.
    pub(crate) count: usize,
    /// The largest revision among them; 0 when there are none.
    pub(crate) newest: Revision,
}

impl Sum {
    fn plus(self, other: Sum) -> Sum {
        Sum {
            count: self.count + other.count,
            newest: self.newest.max(other.newest),
        }
    }
}

#[derive(Clone)]
enum Node<V> {
    Leaf(Vec<(Key, V)>),
    Inner(Vec<Branch<V>>),
}

#[derive(Clone)]
struct Branch<V> {
    /// Not after the first key below.
    least: Key,
    sum: Sum,
    node: Arc<Node<V>>,
}

/// See the page of this file.
#[derive(Clone)]
pub(crate) struct Ranked<V> {
    root: Arc<Node<V>>,
    sum: Sum,
}

impl<V> Default for Ranked<V> {
    fn default() -> Ranked<V> {
        Ranked {
            root: Arc::new(Node::Leaf(Vec::new())),
            sum: Sum::default(),
        }
    }
}

/// The branch below which `key` is, if it is anywhere.
fn branch_of<V>(branches: &[Branch<V>], key: &[u8]) -> usize {
    branches
        .partition_point(|branch| *branch.least <= *key)
        .saturating_sub(1)
}

fn place_of<V>(entries: &[(Key, V)], key: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|(known, _)| (**known).cmp(key))
}

impl<V> Ranked<V> {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(branches) => node = &branches[branch_of(branches, key)].node,
                Node::Leaf(entries) => {
                    let at = place_of(entries, key).ok()?;
                    return Some(&entries[at].1);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sum.count
    }

    /// Whether both are one version. Whoever holds one of them keeps its root from being changed in place.
    pub(crate) fn is_same(&self, other: &Ranked<V>) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// All entries, by key.
    pub(crate) fn iter(&self) -> Range<'_, V> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries of a range, by key.
    pub(crate) fn range<'a>(&'a self, (start, end): Bounds<'a>) -> Range<'a, V> {
        let mut range = Range {
            above: SmallVec::new(),
            leaf: &[],
            end,
        };
        let mut node = &*self.root;
        let (key, after) = match start {
            Bound::Unbounded => (&[][..], false),
            Bound::Included(key) => (key, false),
            Bound::Excluded(key) => (key, true),
        };
        loop {
            match node {
                Node::Inner(branches) => {
                    let at = branch_of(branches, key);
                    range.above.push(branches[at + 1..].iter());
                    node = &branches[at].node;
                }
                Node::Leaf(entries) => {
                    let at = match place_of(entries, key) {
                        Ok(at) => at + usize::from(after),
                        Err(at) => at,
                    };
                    range.leaf = &entries[at..];
                    return range;
                }
            }
        }
    }
}

impl<V: Revised> Ranked<V> {
    /// What is known of the entries of a range.
    pub(crate) fn sum(&self, (start, end): Bounds<'_>) -> Sum {
        if let (Bound::Unbounded, Bound::Unbounded) = (start, end) {
            return self.sum;
        }
        self.root.sum_of(start, end)
    }
}

impl<V: Revised> Node<V> {
    fn sum_of(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Sum {
        count(Work::Looked);
        let from_start = |key: &[u8]| match start {
            Bound::Unbounded => true,
            Bound::Included(start) => start <= key,
            Bound::Excluded(start) => start < key,
        };
        let to_end = |key: &[u8]| within(key, end);
        let first = match start {
            Bound::Unbounded => None,
            Bound::Included(first) | Bound::Excluded(first) => Some(first),
        };
        match self {
            Node::Leaf(entries) => {
                let first = entries.partition_point(|(key, _)| !from_start(key));
                let last = entries.partition_point(|(key, _)| to_end(key)).max(first);
                leaf_sum(&entries[first..last])
            }
            Node::Inner(branches) => {
                let mut sum = Sum::default();
                for (at, branch) in branches.iter().enumerate() {
                    if at > 0 && !to_end(&branch.least) {
                        break;
                    }
                    let next = branches.get(at + 1);
                    // The keys below are from `least` to the next one's, which is not among them.
                    let all_before = next
                        .zip(first)
                        .is_some_and(|(next, first)| first >= &*next.least);
                    if all_before {
                        continue;
                    }
                    let whole =
                        from_start(&branch.least) && next.is_some_and(|next| to_end(&next.least));
                    sum = sum.plus(if whole {
                        branch.sum
                    } else {
                        branch.node.sum_of(start, end)
                    });
                }
                sum
            }
        }
    }

    fn sum(&self) -> Sum {
        match self {
            Node::Leaf(entries) => leaf_sum(entries),
            Node::Inner(branches) => branches
                .iter()
                .fold(Sum::default(), |sum, branch| sum.plus(branch.sum)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(branches) => branches.len(),
        }
    }
}

fn leaf_sum<V: Revised>(entries: &[(Key, V)]) -> Sum {
    Sum {
        count: entries.len(),
        newest: entries
            .iter()
            .map(|(_, value)| value.revision())
            .max()
            .unwrap_or_default(),
    }
}

fn within(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
    }
}

/// Puts an item where it belongs, and gives what no longer fits: the upper part of the node. A node that grows at its end is left
/// full, since keys that come in order fill the next one.
fn insert_at<T>(items: &mut Vec<T>, at: usize, item: T) -> Option<Vec<T>> {
    if items.len() < FULL {
        if items.len() == items.capacity() {
            items.reserve_exact(ROOM.min(FULL - items.len()));
        }
        items.insert(at, item);
        return None;
    }
    if at == FULL {
        let mut upper = Vec::with_capacity(ROOM);
        upper.push(item);
        return Some(upper);
    }
    let half = FULL / 2;
    let mut upper = items.split_off(half);
    items.shrink_to(half + ROOM);
    let (part, at) = if at <= half {
        (items, at)
    } else {
        (&mut upper, at - half)
    };
    part.insert(at, item);
    Some(upper)
}

impl<V: Revised + Clone> Ranked<V> {
    /// Puts an entry; what was there before.
    pub(crate) fn insert(&mut self, key: Key, value: V) -> Option<V> {
        let (before, upper) = insert(&mut self.root, &mut self.sum, key, value);
        if let Some(upper) = upper {
            let lower = Branch {
                least: Key::from(&[][..]),
                sum: self.root.sum(),
                node: self.root.clone(),
            };
            self.sum = lower.sum.plus(upper.sum);
            self.root = Arc::new(Node::Inner(vec![lower, upper]));
        }
        before
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        // A node is copied only when something in it changes.
        self.get(key)?;
        let before = remove(&mut self.root, &mut self.sum, key);
        while let Node::Inner(branches) = &*self.root
            && let [only] = &branches[..]
        {
            self.root = only.node.clone();
        }
        before
    }
}

/// Inserts below `node`, whose sum is `sum`. What was there before, and the upper part when the node was full.
fn insert<V: Revised + Clone>(
    node: &mut Arc<Node<V>>,
    sum: &mut Sum,
    key: Key,
    value: V,
) -> (Option<V>, Option<Branch<V>>) {
    let revision = value.revision();
    let node = Arc::make_mut(node);
    let (before, upper) = match node {
        Node::Leaf(entries) => match place_of(entries, &key) {
            Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                let upper = insert_at(entries, at, (key, value)).map(|upper| Branch {
                    least: upper[0].0.clone(),
                    sum: leaf_sum(&upper),
                    node: Arc::new(Node::Leaf(upper)),
                });
                (None, upper)
            }
        },
        Node::Inner(branches) => {
            let at = branch_of(branches, &key);
            let branch = &mut branches[at];
            if key < branch.least {
                branch.least = key.clone();
            }
            let (before, upper) = insert(&mut branch.node, &mut branch.sum, key, value);
            let upper = upper.and_then(|upper| insert_at(branches, at + 1, upper));
            let upper = upper.map(|upper| {
                let node = Node::Inner(upper);
                Branch {
                    least: match &node {
                        Node::Inner(branches) => branches[0].least.clone(),
                        Node::Leaf(entries) => entries[0].0.clone(),
                    },
                    sum: node.sum(),
                    node: Arc::new(node),
                }
            });
            (before, upper)
        }
    };
    match &before {
        _ if upper.is_some() => *sum = node.sum(),
        None => {
            *sum = sum.plus(Sum {
                count: 1,
                newest: revision,
            })
        }
        Some(_) if revision >= sum.newest => sum.newest = revision,
        // An older entry took the place of one that may have been the newest.
        Some(before) if before.revision() == sum.newest => *sum = node.sum(),
        Some(_) => {}
    }
    (before, upper)
}

/// Removes an entry that is there.
fn remove<V: Revised + Clone>(node: &mut Arc<Node<V>>, sum: &mut Sum, key: &[u8]) -> Option<V> {
    let node = Arc::make_mut(node);
    let before = match node {
        Node::Leaf(entries) => {
            let at = place_of(entries, key).ok()?;
            Some(entries.remove(at).1)
        }
        Node::Inner(branches) => {
            let at = branch_of(branches, key);
            let branch = &mut branches[at];
            let before = remove(&mut branch.node, &mut branch.sum, key);
            if branch.node.len() < FULL / 4 {
                join(branches, at);
            }
            before
        }
    };
    sum.count -= 1;
    if before
        .as_ref()
        .is_some_and(|before| before.revision() == sum.newest)
    {
        *sum = node.sum();
    }
    before
}

/// Joins a branch that has become small with a neighbour, if both fit into one node; an empty one goes.
fn join<V: Revised + Clone>(branches: &mut Vec<Branch<V>>, at: usize) {
    if branches[at].node.len() == 0 {
        let gone = branches.remove(at);
        // Keys before the next branch's now belong to it.
        if at == 0
            && let Some(first) = branches.first_mut()
        {
            first.least = gone.least;
        }
        return;
    }
    let left = if at > 0 { at - 1 } else { at };
    let Some(right) = branches.get(left + 1) else {
        return;
    };
    if branches[left].node.len() + right.node.len() > FULL {
        return;
    }
    let right = branches.remove(left + 1);
    let branch = &mut branches[left];
    match (
        Arc::make_mut(&mut branch.node),
        Arc::unwrap_or_clone(right.node),
    ) {
        (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
        (Node::Inner(inner), Node::Inner(more)) => inner.extend(more),
        // All leaves are equally deep.
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {}
    }
    branch.sum = branch.sum.plus(right.sum);
}

/// The entries of a range, by key.
pub(crate) struct Range<'a, V> {
    /// Branches still to be walked, from the root down.
    above: SmallVec<[std::slice::Iter<'a, Branch<V>>; 6]>,
    leaf: &'a [(Key, V)],
    end: Bound<&'a [u8]>,
}

impl<'a, V> Range<'a, V> {
    /// Goes to the next leaf; whether there is one.
    fn next_leaf(&mut self) -> bool {
        while let Some(branches) = self.above.last_mut() {
            let Some(branch) = branches.next() else {
                self.above.pop();
                continue;
            };
            match &*branch.node {
                Node::Inner(inner) => self.above.push(inner.iter()),
                Node::Leaf(entries) => {
                    self.leaf = entries;
                    return true;
                }
            }
        }
        false
    }
}

impl<'a, V> Iterator for Range<'a, V> {
    type Item = (&'a Key, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        while self.leaf.is_empty() {
            if !self.next_leaf() {
                return None;
            }
        }
        let ((key, value), rest) = self.leaf.split_first()?;
        if !within(key, self.end) {
            self.leaf = &[];
            self.above.clear();
            return None;
        }
        self.leaf = rest;
        Some((key, value))
    }
}

impl<V: PartialEq> PartialEq for Ranked<V> {
    fn eq(&self, other: &Ranked<V>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<V: fmt::Debug> fmt::Debug for Ranked<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
