//! Sets of keys: what permissions add up to.

/// Where an interval ends: before a key, or nowhere.
type End = Option<Box<[u8]>>;

/// Intervals of keys, joined where they touch: in order, none touching the next.
#[derive(Debug, Default)]
pub(crate) struct Intervals(Vec<(Box<[u8]>, End)>);

impl Intervals {
    /// Joins what permissions give: pairs of `key` and `range_end` as in etcd's messages.
    pub(crate) fn of<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Intervals {
        let mut given: Vec<(Box<[u8]>, End)> = pairs
            .map(|(key, end)| {
                let end = match end {
                    [] => Some([key, b"\0"].concat().into()),
                    [0] => None,
                    end => Some(end.into()),
                };
                (key.into(), end)
            })
            .collect();
        given.sort();
        let mut joined: Vec<(Box<[u8]>, End)> = Vec::new();
        for (start, end) in given {
            match joined.last_mut() {
                Some((_, last)) if reaches(last, &start) => {
                    if beyond(&end, last) {
                        *last = end;
                    }
                }
                _ => joined.push((start, end)),
            }
        }
        Intervals(joined)
    }

    /// Whether all that a request's `key` and `range_end` mean is in: one key, an interval, or with the end `\0` all from `key` on. An empty
    /// interval is asked for as its first key; what etcd says of one depends on the shape of a tree of its own.
    pub(crate) fn contain(&self, key: &[u8], range_end: &[u8]) -> bool {
        let Some((_, until)) = self.around(key) else {
            return false;
        };
        let Some(until) = until else {
            return true;
        };
        let last_in = match range_end {
            [0] => false,
            end => end <= &**until,
        };
        key < &**until && last_in
    }

    /// The last interval that does not begin after `key`.
    fn around(&self, key: &[u8]) -> Option<&(Box<[u8]>, End)> {
        let after = self.0.partition_point(|(start, _)| **start <= *key);
        self.0.get(after.checked_sub(1)?)
    }
}

/// Whether an interval that ends there touches one that begins at `start`.
fn reaches(end: &End, start: &[u8]) -> bool {
    end.as_deref().is_none_or(|end| end >= start)
}

fn beyond(end: &End, last: &End) -> bool {
    match (end, last) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(last)) => end > last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_in_when_the_union_covers_it() {
        let pairs: [(&[u8], &[u8]); 6] = [
            (b"a", b""),
            (b"b", b"d"),
            (b"d", b"f"),
            (b"m", b"o"),
            (b"n", b"p"),
            (b"x", b"\0"),
        ];
        let set = Intervals::of(pairs.into_iter());
        let rows: [(&[u8], &[u8], bool); 20] = [
            (b"a", b"", true),
            (b"a\0", b"", false),
            (b"a", b"a\0", true),
            (b"a", b"b", false),
            (b"b", b"", true),
            (b"f", b"", false),
            (b"b", b"f", true),
            (b"c", b"e", true),
            (b"b", b"f\0", false),
            (b"m", b"p", true),
            (b"l", b"p", false),
            (b"x", b"", true),
            (b"x", b"\0", true),
            (b"zz", b"\0", true),
            (b"w", b"\0", false),
            (b"b", b"\0", false),
            // Empty ranges.
            (b"c", b"bb", true),
            (b"d", b"c", true),
            (b"c", b"a", true),
            (b"g", b"a", false),
        ];
        for (key, end, expected) in rows {
            assert_eq!(set.contain(key, end), expected, "{key:?} {end:?}");
        }
        assert!(!Intervals::default().contain(b"a", b""));
    }
}
