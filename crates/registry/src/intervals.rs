//! Intervals of keys that can be asked which of them hold a key: a treap ordered by start, in which every node knows the furthest end
//! below it. Adding, removing and asking cost the logarithm of how many intervals there are, and what is found.

use std::cmp::Ordering;

use portolan_catalog::Key;

/// Where an interval ends, excluded; none for an interval without an end.
type End = Option<Key>;

/// Values by interval.
#[derive(Debug)]
pub(crate) struct Intervals<T> {
    root: Link<T>,
    /// Numbers nodes, for their priorities.
    made: u64,
}

type Link<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    start: Key,
    end: End,
    /// The furthest end of this node and all below it.
    furthest: End,
    priority: u64,
    value: T,
    left: Link<T>,
    right: Link<T>,
}

impl<T> Default for Intervals<T> {
    fn default() -> Intervals<T> {
        Intervals {
            root: None,
            made: 0,
        }
    }
}

impl<T: Default> Intervals<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Changes the value of an interval, a fresh one when there is none; an interval whose value is `empty` afterwards goes.
    pub(crate) fn change(
        &mut self,
        start: &Key,
        end: Option<&Key>,
        change: impl FnOnce(&mut T),
        empty: impl FnOnce(&T) -> bool,
    ) {
        if let Some(node) = find(&mut self.root, start, end) {
            change(&mut node.value);
            if empty(&node.value) {
                remove(&mut self.root, start, end);
            }
            return;
        }
        let mut value = T::default();
        change(&mut value);
        if empty(&value) {
            return;
        }
        self.made += 1;
        let node = Box::new(Node {
            start: start.clone(),
            end: end.cloned(),
            furthest: end.cloned(),
            priority: scattered(self.made),
            value,
            left: None,
            right: None,
        });
        let (below, above) = split(self.root.take(), start, end);
        self.root = join(join(below, Some(node)), above);
    }

    /// Hands every value to `see`.
    pub(crate) fn each(&self, see: &mut impl FnMut(&T)) {
        each(&self.root, see);
    }

    /// Hands every value whose interval holds `key` to `found`.
    pub(crate) fn holding(&self, key: &[u8], found: &mut impl FnMut(&T)) {
        holding(&self.root, key, found);
    }
}

fn each<T>(link: &Link<T>, see: &mut impl FnMut(&T)) {
    if let Some(node) = link {
        each(&node.left, see);
        see(&node.value);
        each(&node.right, see);
    }
}

fn holding<T>(link: &Link<T>, key: &[u8], found: &mut impl FnMut(&T)) {
    let Some(node) = link.as_ref().filter(|node| reaches(&node.furthest, key)) else {
        return;
    };
    holding(&node.left, key, found);
    if *node.start <= *key {
        if reaches(&node.end, key) {
            found(&node.value);
        }
        holding(&node.right, key, found);
    }
}

/// Whether an interval with this end goes beyond `key`.
fn reaches(end: &End, key: &[u8]) -> bool {
    end.as_ref().is_none_or(|end| *key < **end)
}

fn by_end(a: Option<&Key>, b: Option<&Key>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

fn compare<T>(node: &Node<T>, start: &Key, end: Option<&Key>) -> Ordering {
    node.start
        .cmp(start)
        .then_with(|| by_end(node.end.as_ref(), end))
}

fn find<'t, T>(
    mut link: &'t mut Link<T>,
    start: &Key,
    end: Option<&Key>,
) -> Option<&'t mut Node<T>> {
    while let Some(node) = link {
        match compare(node, start, end) {
            Ordering::Equal => return Some(node),
            Ordering::Less => link = &mut node.right,
            Ordering::Greater => link = &mut node.left,
        }
    }
    None
}

impl<T> Node<T> {
    /// Works out `furthest` anew, after what is below changed.
    fn measure(mut self: Box<Self>) -> Box<Node<T>> {
        let below = [&self.left, &self.right].into_iter().flatten();
        let furthest = below
            .map(|node| node.furthest.as_ref())
            .chain([self.end.as_ref()])
            .max_by(|a, b| by_end(*a, *b))
            .flatten()
            .cloned();
        self.furthest = furthest;
        self
    }
}

/// What is below an interval, and what is not.
fn split<T>(link: Link<T>, start: &Key, end: Option<&Key>) -> (Link<T>, Link<T>) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if compare(&node, start, end).is_lt() {
        let (below, above) = split(node.right.take(), start, end);
        node.right = below;
        (Some(node.measure()), above)
    } else {
        let (below, above) = split(node.left.take(), start, end);
        node.left = above;
        (below, Some(node.measure()))
    }
}

/// One treap of two, of which the first is below the second.
fn join<T>(below: Link<T>, above: Link<T>) -> Link<T> {
    match (below, above) {
        (None, link) | (link, None) => link,
        (Some(mut below), Some(mut above)) => Some(if below.priority > above.priority {
            below.right = join(below.right.take(), Some(above));
            below.measure()
        } else {
            above.left = join(Some(below), above.left.take());
            above.measure()
        }),
    }
}

fn remove<T>(link: &mut Link<T>, start: &Key, end: Option<&Key>) {
    let Some(mut node) = link.take() else { return };
    *link = match compare(&node, start, end) {
        Ordering::Equal => join(node.left.take(), node.right.take()),
        Ordering::Less => {
            remove(&mut node.right, start, end);
            Some(node.measure())
        }
        Ordering::Greater => {
            remove(&mut node.left, start, end);
            Some(node.measure())
        }
    };
}

/// A number spread over all 64 bits (splitmix64): priorities without order keep the treap flat.
fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key::from(&(n % 500).to_be_bytes()[6..])
    }

    fn depth<T>(link: &Link<T>) -> usize {
        link.as_ref()
            .map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    #[test]
    fn intervals_that_hold_a_key_are_found_whatever_was_added_and_removed() {
        let (mut intervals, mut listed) = (Intervals::<Vec<u64>>::default(), Vec::new());
        for n in 0..4000_u64 {
            let random = scattered(n + 1);
            if random.is_multiple_of(3) && !listed.is_empty() {
                let at = (random >> 20) as usize % listed.len();
                let (start, end): (Key, End) = listed.swap_remove(at);
                let clear = |numbers: &mut Vec<u64>| numbers.clear();
                intervals.change(&start, end.as_ref(), clear, Vec::is_empty);
                let fresh = |numbers: &mut Vec<u64>| assert!(numbers.is_empty(), "it went");
                intervals.change(&start, end.as_ref(), fresh, Vec::is_empty);
            } else {
                let start = key(random >> 8);
                let end = (!random.is_multiple_of(7)).then(|| key(random >> 24));
                if !listed.contains(&(start.clone(), end.clone())) {
                    listed.push((start.clone(), end.clone()));
                    intervals.change(&start, end.as_ref(), |to| to.push(n), Vec::is_empty);
                }
            }
            if n % 40 == 0 {
                let sought = key(random >> 40);
                let mut found = 0;
                intervals.holding(&sought, &mut |of| found += of.len());
                let expected = listed
                    .iter()
                    .filter(|(start, end)| *start <= sought && reaches(end, &sought));
                assert_eq!(found, expected.count());
            }
        }
        assert!(depth(&intervals.root) < 40, "{}", depth(&intervals.root));
        for (start, end) in listed {
            intervals.change(&start, end.as_ref(), Vec::clear, Vec::is_empty);
        }
        assert!(intervals.is_empty());
    }
}
