//! Names: folding for comparison, and a view of a folded name as labels.

use smallvec::SmallVec;

/// A name in wire form with ASCII letters in lower case, followed by the two bytes of a record type: what answers are kept under.
///
/// Length bytes are at most 63 and so are never changed by folding.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    bytes: [u8; 258],
    name: usize,
}

impl Default for Folded {
    fn default() -> Self {
        Self {
            bytes: [0; 258],
            name: 0,
        }
    }
}

impl Folded {
    /// Takes a name of at most 255 bytes (longer ones are cut by the decoder before this) and the record type.
    #[inline]
    pub(crate) fn set(&mut self, name: &[u8], qtype: u16) {
        let len = name.len().min(255);
        let [high, low] = qtype.to_be_bytes();
        if let (Some(to), Some(from)) = (self.bytes.get_mut(..len), name.get(..len)) {
            to.copy_from_slice(from);
            to.make_ascii_lowercase();
        }
        if let Some(tail) = self.bytes.get_mut(len..len + 2) {
            tail.copy_from_slice(&[high, low]);
        }
        self.name = len;
    }

    /// The name in wire form, with its final zero byte.
    pub(crate) fn name(&self) -> &[u8] {
        self.bytes.get(..self.name).unwrap_or_default()
    }

    /// Name and record type together.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.bytes.get(..self.name + 2).unwrap_or_default()
    }
}

/// A folded name as text labels, left to right, without the root.
#[derive(Debug)]
pub(crate) struct Labels<'a> {
    /// The wire name with every length byte replaced by a dot: `.web.service.consul.`
    text: &'a str,
    /// Where each label's dot stands.
    starts: SmallVec<[u8; 24]>,
}

impl<'a> Labels<'a> {
    /// Reads a folded name, which the decoder has already checked; `None` when it is longer than a name may be. Names we hold are text:
    /// in one that is not, bytes beyond ASCII become a control character, so that it keeps its zone and exists nowhere.
    pub(crate) fn read(wire: &[u8], text: &'a mut [u8; 256]) -> Option<Self> {
        let mut starts = SmallVec::new();
        let text = text.get_mut(..wire.len())?;
        text.copy_from_slice(wire);
        let mut at = 0;
        while let Some(byte) = text.get_mut(at) {
            let step = usize::from(*byte) + 1;
            *byte = b'.';
            if step == 1 {
                break;
            }
            starts.push(u8::try_from(at).ok()?);
            at += step;
        }
        if std::str::from_utf8(text).is_err() {
            for byte in text.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = 0x1a;
            }
        }
        Some(Self {
            text: std::str::from_utf8(text).ok()?,
            starts,
        })
    }

    /// How many labels there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The label at `index`, empty when there is none.
    pub(crate) fn get(&self, index: usize) -> &'a str {
        self.join(index, index + 1)
    }

    /// Labels `from..to` joined by dots, empty when there are none.
    pub(crate) fn join(&self, from: usize, to: usize) -> &'a str {
        let Some(start) = self.starts.get(from) else {
            return "";
        };
        let end = match self.starts.get(to) {
            Some(next) => usize::from(*next),
            None => self.text.len().saturating_sub(1),
        };
        self.text.get(usize::from(*start) + 1..end).unwrap_or("")
    }

    /// The wire offset of a label (or of the root, behind the last) inside a message whose question this name is.
    pub(crate) fn offset(&self, index: usize) -> u16 {
        let inside = match self.starts.get(index) {
            Some(start) => usize::from(*start),
            None => self.text.len().saturating_sub(1),
        };
        (super::HEADER + inside) as u16
    }

    /// How many labels stand before `suffix` (lower case, dots between labels), or `None` when the name does not end so.
    pub(crate) fn below(&self, suffix: &str) -> Option<usize> {
        if suffix.is_empty() {
            return None;
        }
        let count = suffix.split('.').count();
        let split = self.len().checked_sub(count)?;
        (self.join(split, self.len()) == suffix).then_some(split)
    }
}

/// Appends a name given as text (`web.node.dc1.consul`, no final dot) uncompressed. `false`, with nothing written, when it is no legal name.
pub(crate) fn push_name(out: &mut impl Extend<u8>, text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let legal = text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len()));
    if legal {
        for label in text.split('.') {
            out.extend([label.len() as u8]);
            out.extend(label.bytes());
        }
        out.extend([0]);
    }
    legal
}

/// Appends the name at `at` of a message without its compression; where it ends there. `None`: it is no legal name. Each pointer has to
/// point to before the labels that led to it, so there is no loop to fall into.
pub(crate) fn expand_name(message: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let begin = out.len();
    let mut end = None;
    let mut least = at;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => {
                out.push(0);
                return Some(end.unwrap_or(at + 1));
            }
            1..=63 => {
                out.extend_from_slice(message.get(at..at + 1 + length)?);
                at += 1 + length;
                if out.len() - begin > 254 {
                    return None;
                }
            }
            192.. => {
                let low = usize::from(*message.get(at + 1)?);
                let to = (length & 0x3f) << 8 | low;
                if to >= least || to < super::HEADER {
                    return None;
                }
                end.get_or_insert(at + 2);
                (at, least) = (to, to);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(push_name(&mut out, text), "{text}");
        out
    }

    #[test]
    fn labels_of_a_name() {
        let mut folded = Folded::default();
        folded.set(&wire("Web.Service.CONSUL"), 1);
        assert_eq!(folded.name(), wire("web.service.consul"));
        assert_eq!(folded.key().len(), folded.name().len() + 2);
        let mut text = [0; 256];
        let labels = Labels::read(folded.name(), &mut text).expect("text");
        assert_eq!(labels.len(), 3);
        assert_eq!(labels.get(0), "web");
        assert_eq!(labels.get(2), "consul");
        assert_eq!(labels.get(3), "");
        assert_eq!(labels.join(0, 2), "web.service");
        assert_eq!(labels.join(1, 3), "service.consul");
        assert_eq!(labels.offset(2), 12 + 12);
        assert_eq!(labels.below("consul"), Some(2));
        assert_eq!(labels.below("service.consul"), Some(1));
        assert_eq!(labels.below("vice.consul"), None);
        assert_eq!(labels.below("a.web.service.consul"), None);
    }

    #[test]
    fn the_root_has_no_labels() {
        let mut text = [0; 256];
        let labels = Labels::read(&[0], &mut text).expect("text");
        assert_eq!(labels.len(), 0);
        assert_eq!(labels.get(0), "");
        assert_eq!(labels.offset(0), 12);
    }

    #[test]
    fn compressed_names_are_written_out() {
        let mut message = vec![0; 12];
        message.extend(*b"\x03web\x00\x01a\xc0\x0c\xc0\x11\xc0\x18\x01b\xc0\x30\xc0\x17");
        for (at, expected, end) in [
            (12, Some(&b"\x03web\x00"[..]), 17),
            (17, Some(b"\x01a\x03web\x00"), 21),
            (21, Some(b"\x01a\x03web\x00"), 23),
            // To itself, forwards, to something that leads back, and cut off.
            (23, None, 0),
            (25, None, 0),
            (29, None, 0),
            (31, None, 0),
        ] {
            let mut out = Vec::new();
            let found = expand_name(&message, at, &mut out).map(|end| (out, end));
            assert_eq!(found, expected.map(|name| (name.to_vec(), end)), "{at}");
        }
    }

    #[test]
    fn names_that_cannot_be_written() {
        let mut out = Vec::new();
        for text in ["", "a..b", &"x".repeat(64), &"abc.".repeat(64)] {
            assert!(!push_name(&mut out, text), "{text}");
        }
        assert!(out.is_empty());
        assert!(push_name(&mut out, "a.b."));
        assert_eq!(out, b"\x01a\x01b\0");
    }
}
