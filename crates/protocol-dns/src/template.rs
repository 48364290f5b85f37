//! Answers encoded once: everything of a reply that does not depend on the question's bytes, the client or the moment.
//!
//! A reply is the question echoed, records copied from a template in random order, and a patched header. Owner names are pointers to
//! the question at offset 12; the additional records of an answer are owned by the name at the end of that answer (the target of an SRV
//! or NS record), again by a pointer, or by the question's name.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::shuffler::Shuffler;
use crate::wire::{CLASS_IN, HEADER, Rcode};

/// Bytes of records kept in the template itself: three addresses.
const INLINE: usize = 56;

type Bytes = SmallVec<[u8; INLINE]>;

/// An encoded answer. Small ones, which most are, lie in one block with no further allocation.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The code of the reply.
    pub(crate) rcode: Rcode,
    /// How many answers one reply gives at most, over any transport; 0 is all.
    at_most: u32,
    shape: Shape,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
enum Shape {
    /// `count` answers of `stride` bytes each, nothing else: addresses.
    Even { stride: u16, count: u32 },
    /// Answers with additional records of their own, or of different lengths.
    Mixed(Box<[Item]>),
}

/// One answer with its additional records, which follow it in the bytes.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: u32,
    /// Bytes of the answer; 0: there are only additional records, owned by the question's name.
    length: u16,
    /// Where in the answer the name starts that owns the additional records. It reaches to the answer's end. 0: the question's name
    /// owns them.
    target: u16,
    /// Where the additional records end, and how many there are. They are kept without owner.
    end: u32,
    extras: u16,
    /// Answers with a target in common have the same number above 0: its additional records are given once.
    common: u32,
}

/// What a reply got from a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Records in the answer section.
    pub(crate) answers: u16,
    /// Records in the additional section.
    pub(crate) additional: u16,
    /// Answers were left out because of the client's limits.
    pub(crate) truncated: bool,
}

impl Template {
    /// Whether there is nothing in it, so that the reply is negative and carries the zone's SOA.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes it occupies, roughly.
    pub(crate) fn weight(&self) -> usize {
        let items = match &self.shape {
            Shape::Even { .. } => 0,
            Shape::Mixed(items) => size_of_val::<[Item]>(items),
        };
        size_of::<Self>()
            + items
            + if self.bytes.spilled() {
                self.bytes.len()
            } else {
                0
            }
    }

    /// Appends answers in random order, at most `most` of them, none beyond offset `limit` of the message; then their additional
    /// records as far as there is room, if all answers had room.
    #[inline]
    pub(crate) fn fill(
        &self,
        out: &mut Vec<u8>,
        limit: usize,
        most: u32,
        shuffler: &mut Shuffler,
    ) -> Filled {
        match &self.shape {
            Shape::Even { stride, count } => {
                self.fill_even(out, usize::from(*stride), *count, limit, most, shuffler)
            }
            Shape::Mixed(items) => self.fill_mixed(out, items, limit, most, shuffler),
        }
    }

    fn wanted(&self, count: u32) -> u32 {
        if self.at_most == 0 {
            count
        } else {
            count.min(self.at_most)
        }
    }

    #[inline]
    fn fill_even(
        &self,
        out: &mut Vec<u8>,
        stride: usize,
        count: u32,
        limit: usize,
        most: u32,
        shuffler: &mut Shuffler,
    ) -> Filled {
        if count == 0 {
            return Filled::default();
        }
        let wanted = self.wanted(count);
        let room = limit.saturating_sub(out.len()) / stride;
        let given = wanted.min(most).min(room as u32);
        let mut left = given;
        if given > 0 {
            shuffler.draw(count, |index| {
                let start = index as usize * stride;
                out.extend_from_slice(self.bytes.get(start..start + stride).unwrap_or_default());
                left -= 1;
                left > 0
            });
        }
        Filled {
            answers: given as u16,
            additional: 0,
            truncated: given < wanted,
        }
    }

    fn fill_mixed(
        &self,
        out: &mut Vec<u8>,
        items: &[Item],
        limit: usize,
        most: u32,
        shuffler: &mut Shuffler,
    ) -> Filled {
        let count = items.len() as u32;
        let wanted = self.wanted(count);
        let mut chosen: SmallVec<[(u32, u32); 32]> = SmallVec::new();
        let mut all_fit = true;
        let mut filled = Filled::default();
        if wanted > 0 && most > 0 {
            shuffler.draw(count, |index| {
                let item = items[index as usize];
                let at = out.len();
                if at + usize::from(item.length) > limit {
                    all_fit = false;
                    return false;
                }
                let start = item.start as usize;
                out.extend_from_slice(
                    self.bytes
                        .get(start..start + usize::from(item.length))
                        .unwrap_or_default(),
                );
                filled.answers += u16::from(item.length > 0);
                chosen.push((index, at as u32));
                (chosen.len() as u32) < wanted.min(most)
            });
        }
        filled.truncated = (chosen.len() as u32) < wanted;
        if all_fit {
            let mut given: SmallVec<[u32; 8]> = SmallVec::new();
            for (index, at) in chosen {
                let common = items[index as usize].common;
                if common > 0 {
                    if given.contains(&common) {
                        continue;
                    }
                    given.push(common);
                }
                self.push_extras(out, &items[index as usize], at as usize, limit, &mut filled);
            }
        }
        filled
    }

    /// The additional records of one answer, which was written at offset `at`; all of them or, for want of room, none.
    fn push_extras(
        &self,
        out: &mut Vec<u8>,
        item: &Item,
        at: usize,
        limit: usize,
        filled: &mut Filled,
    ) {
        let answer_end = item.start as usize + usize::from(item.length);
        let Some(extras) = self.bytes.get(answer_end..item.end as usize) else {
            return;
        };
        let owner = match item.target {
            0 => HEADER,
            target => at + usize::from(target),
        };
        // Pointers reach 14 bits far. Behind that, in a reply of 16 KiB over TCP, additional records are not worth their names.
        let needed = extras.len() + 2 * usize::from(item.extras);
        if owner >= 0x4000 || out.len() + needed > limit {
            return;
        }
        let pointer = (0xc000 | owner as u16).to_be_bytes();
        let mut rest = extras;
        while let Some(fixed) = rest.first_chunk::<10>() {
            let length = 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let Some((record, next)) = rest.split_at_checked(length) else {
                return;
            };
            out.extend_from_slice(&pointer);
            out.extend_from_slice(record);
            filled.additional += 1;
            rest = next;
        }
    }
}

/// Encodes a [`Template`] record by record.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    at_most: u32,
    items: Vec<Item>,
    bytes: Vec<u8>,
}

impl Builder {
    /// Lets one reply carry at most `count` answers, 0 for all.
    pub(crate) fn at_most(mut self, count: u32) -> Self {
        self.at_most = count;
        self
    }

    /// Adds an answer. Following [`Builder::extra`]s belong to the question's name, as it does itself.
    pub(crate) fn answer(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.push(kind, ttl, data, 0);
    }

    /// Adds an answer whose data is `data` and, from `target` bytes on, a name that following [`Builder::extra`]s belong to.
    pub(crate) fn answer_to(&mut self, kind: u16, ttl: u32, data: &[u8], target: u16) {
        self.push(kind, ttl, data, 12 + target);
    }

    fn push(&mut self, kind: u16, ttl: u32, data: &[u8], target: u16) {
        let start = self.bytes.len() as u32;
        self.bytes.extend([0xc0, HEADER as u8]);
        self.record(kind, ttl, data);
        self.items.push(Item {
            start,
            length: (12 + data.len()) as u16,
            target,
            end: self.bytes.len() as u32,
            extras: 0,
            common: 0,
        });
    }

    /// Adds an additional record to the last answer; without one, it belongs to the question's name.
    pub(crate) fn extra(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        if self.items.is_empty() {
            self.items.push(Item {
                start: 0,
                length: 0,
                target: 0,
                end: 0,
                extras: 0,
                common: 0,
            });
        }
        self.record(kind, ttl, data);
        let end = self.bytes.len() as u32;
        if let Some(item) = self.items.last_mut() {
            item.end = end;
            item.extras += 1;
        }
    }

    /// Numbers the targets that several answers have.
    fn mark_common(&mut self) {
        let mut first: BTreeMap<&[u8], usize> = BTreeMap::new();
        for index in 0..self.items.len() {
            let item = self.items[index];
            let (start, end) = (
                item.start as usize,
                item.start as usize + usize::from(item.length),
            );
            let target = self.bytes.get(start + usize::from(item.target)..end);
            let Some(target) = target.filter(|_| item.extras > 0 && item.target > 0) else {
                continue;
            };
            let of = *first.entry(target).or_insert(index);
            if of != index {
                self.items[of].common = of as u32 + 1;
                self.items[index].common = of as u32 + 1;
            }
        }
    }

    fn record(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(CLASS_IN.to_be_bytes());
        self.bytes.extend(ttl.to_be_bytes());
        self.bytes.extend((data.len() as u16).to_be_bytes());
        self.bytes.extend(data);
    }

    /// The template of a positive answer, or of an empty one when nothing was added.
    pub(crate) fn finish(mut self) -> Template {
        self.mark_common();
        let first = self.items.first().map_or(0, |item| item.length);
        let even = self
            .items
            .iter()
            .all(|item| item.extras == 0 && item.length == first);
        Template {
            rcode: Rcode::NoError,
            at_most: self.at_most,
            shape: if even {
                Shape::Even {
                    stride: first.max(1),
                    count: self.items.len() as u32,
                }
            } else {
                Shape::Mixed(self.items.into())
            },
            bytes: SmallVec::from_vec_fitting(self.bytes),
        }
    }
}

trait FromVecFitting {
    fn from_vec_fitting(bytes: Vec<u8>) -> Self;
}

impl FromVecFitting for Bytes {
    /// Inline when it fits, so that the template is one block of memory; else exactly as long as needed.
    fn from_vec_fitting(bytes: Vec<u8>) -> Self {
        if bytes.len() <= INLINE {
            SmallVec::from_slice(&bytes)
        } else {
            SmallVec::from_vec(bytes.into_boxed_slice().into_vec())
        }
    }
}

/// The answer that there is nothing of the asked type, or with [`Rcode::NxDomain`] no such name.
pub(crate) fn nothing(rcode: Rcode) -> Template {
    Template {
        rcode,
        ..Builder::default().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtype;

    fn addresses(count: u8) -> Template {
        let mut builder = Builder::default();
        for last in 0..count {
            builder.answer(rtype::A, 0, &[10, 0, 0, last]);
        }
        builder.finish()
    }

    fn services(count: u8) -> Template {
        let mut builder = Builder::default();
        for last in 0..count {
            builder.answer_to(rtype::SRV, 0, &[0, 1, 0, 1, 0, 80, 2, b'n', last, 0], 6);
            builder.extra(rtype::A, 0, &[10, 0, 0, last]);
        }
        builder.finish()
    }

    fn fill(template: &Template, limit: usize, most: u32) -> (Vec<u8>, Filled) {
        let mut out = vec![0; 30];
        let filled = template.fill(&mut out, limit, most, &mut Shuffler::new(1));
        assert!(out.len() <= limit.max(30));
        (out, filled)
    }

    #[test]
    fn what_a_reply_gets() {
        // Template, size limit, answers allowed: answers, additional, truncated. An A record takes 16 bytes, an SRV 22, its address 16.
        let rows = [
            ("all", addresses(3), 512, 8, (3, 0, false)),
            ("none", addresses(0), 512, 8, (0, 0, false)),
            ("by count", addresses(9), 512, 3, (3, 0, true)),
            ("by size", addresses(100), 512, 1000, (30, 0, true)),
            ("exactly", addresses(30), 510, 1000, (30, 0, false)),
            ("no room", addresses(1), 40, 1000, (0, 0, true)),
            ("services", services(3), 512, 8, (3, 3, false)),
            ("services by count", services(4), 512, 3, (3, 3, true)),
            (
                "additional first",
                services(3),
                30 + 66 + 20,
                8,
                (3, 1, false),
            ),
            ("services by size", services(3), 30 + 60, 8, (2, 0, true)),
        ];
        for (name, template, limit, most, expected) in rows {
            let (_, filled) = fill(&template, limit, most);
            assert_eq!(
                (filled.answers, filled.additional, filled.truncated),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_template_may_give_fewer_than_it_has() {
        let mut builder = Builder::default().at_most(1);
        builder.answer(rtype::CNAME, 0, b"\x01a\0");
        builder.answer(rtype::CNAME, 0, b"\x01b\0");
        let (_, filled) = fill(&builder.finish(), 512, 8);
        assert_eq!((filled.answers, filled.truncated), (1, false));
    }

    #[test]
    fn additional_records_point_at_their_target() {
        let (out, _) = fill(&services(2), 512, 8);
        let extras = &out[30 + 44..];
        for record in extras.chunks(16) {
            let at = usize::from(u16::from_be_bytes([record[0] & 0x3f, record[1]]));
            assert_eq!(out[at..at + 2], [2, b'n']);
            assert_eq!(out[at + 2], record[15], "the address of another target");
        }
    }

    #[test]
    fn additional_records_without_an_answer_belong_to_the_question() {
        let mut builder = Builder::default();
        builder.extra(rtype::A, 0, &[127, 0, 0, 1]);
        let (out, filled) = fill(&builder.finish(), 512, 8);
        assert_eq!((filled.answers, filled.additional), (0, 1));
        assert_eq!(out[30..32], [0xc0, 12]);
    }
}
