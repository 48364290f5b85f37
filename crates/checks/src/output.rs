//! Output of a check: at most 4096 bytes, cut where a reader misses least.

use portolan_catalog::limits::OUTPUT;

/// Keeps the last bytes of what is written to it, and counts all.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    kept: Vec<u8>,
    total: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        self.kept.extend_from_slice(bytes);
        // Shifted rarely: only when twice the bound has gathered.
        if self.kept.len() > 2 * OUTPUT {
            self.kept.drain(..self.kept.len() - OUTPUT);
        }
    }

    /// How many bytes were written in all.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The last `most` bytes as text; what is not UTF-8 is replaced.
    pub(crate) fn text(&self, most: usize) -> String {
        let from = self.kept.len().saturating_sub(most);
        let text = String::from_utf8_lossy(&self.kept[from..]);
        last(&text, most).to_owned()
    }
}

/// The longest end of `text` within `most` bytes.
pub(crate) fn last(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    let from = (from..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    &text[from..]
}

/// The longest beginning of `text` within `most` bytes.
pub(crate) fn first(text: &str, most: usize) -> &str {
    let to = (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..to]
}

/// A prefix of our own words and the end of what the other side wrote: at most `limit` bytes of that, and all within the bound.
pub(crate) fn with_tail(prefix: &str, tail: &Tail, limit: usize) -> String {
    let prefix = first(prefix, OUTPUT / 2);
    format!("{prefix}{}", tail.text(limit.min(OUTPUT - prefix.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_within_the_bound() {
        let mut tail = Tail::default();
        for n in 0..5000 {
            tail.push(format!("{n},").as_bytes());
        }
        let short = with_tail("HTTP GET http://x: 200 OK Output: ", &tail, 5);
        assert_eq!(short, "HTTP GET http://x: 200 OK Output: 4999,");
        let text = with_tail("HTTP GET http://x: 200 OK Output: ", &tail, OUTPUT);
        assert_eq!(text.len(), OUTPUT);
        assert!(text.starts_with("HTTP GET http://x: 200 OK Output: "));
        assert!(text.ends_with("4998,4999,"));
        assert_eq!(tail.total(), 23_890);
        assert_eq!(last("äöü", 3), "ü");
        assert_eq!(first("äöü", 3), "ä");
        let mut split = Tail::default();
        split.push("ä".repeat(4000).as_bytes());
        assert!(split.text(4095).len() <= 4095);
    }
}
