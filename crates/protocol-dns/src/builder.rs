//! Encodes templates record by record.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::names::Zone;
use crate::template::{Bytes, Chain, INLINE, Item, Shape, Template};
use crate::wire::{CLASS_IN, HEADER, Rcode, rtype};

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
        push_record(&mut self.bytes, kind, ttl, data);
        let end = self.bytes.len() as u32;
        self.items.push(Item {
            start,
            texts: end,
            end,
            common: 0,
            length: (12 + data.len()) as u16,
            target,
            extras: 0,
            text_count: 0,
        });
    }

    /// Adds an additional record to the last answer, addresses before texts; without an answer, it belongs to the question's name.
    pub(crate) fn extra(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        if self.items.is_empty() {
            self.items.push(Item {
                start: 0,
                texts: 0,
                end: 0,
                common: 0,
                length: 0,
                target: 0,
                extras: 0,
                text_count: 0,
            });
        }
        push_record(&mut self.bytes, kind, ttl, data);
        let end = self.bytes.len() as u32;
        if let Some(item) = self.items.last_mut() {
            item.end = end;
            item.extras += 1;
            if kind == rtype::TXT {
                item.text_count += 1;
            } else if item.text_count == 0 {
                item.texts = end;
            }
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
                Shape::Mixed(Box::new(self.items.into()))
            },
            bytes: fitting(self.bytes),
        }
    }
}

/// Inline when it fits, so that the template is one block of memory; else exactly as long as needed.
fn fitting(bytes: Vec<u8>) -> Bytes {
    if bytes.len() <= INLINE {
        SmallVec::from_slice(&bytes)
    } else {
        SmallVec::from_vec(bytes.into_boxed_slice().into_vec())
    }
}

fn push_record(bytes: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
}

/// The answer that there is nothing of the asked type, or with [`Rcode::NxDomain`] no such name.
pub(crate) fn nothing(rcode: Rcode) -> Template {
    Template {
        rcode,
        ..Builder::default().finish()
    }
}

/// Aliases, each the name that the next one's owner is, as time to live and name in wire form; then what the last name answers, whose
/// code is the code of all (RFC 6604 section 3). With a zone, an empty rest is that zone's to say.
pub(crate) fn chain<'a>(
    links: impl Iterator<Item = (u32, &'a [u8])>,
    rest: Template,
    zone: Option<(Zone, u16)>,
) -> Template {
    let mut bytes = Vec::new();
    for (ttl, name) in links {
        push_record(&mut bytes, rtype::CNAME, ttl, name);
    }
    Template {
        rcode: rest.rcode,
        at_most: 0,
        bytes: fitting(bytes),
        shape: Shape::Chain(Box::new(Chain { rest, zone })),
    }
}
