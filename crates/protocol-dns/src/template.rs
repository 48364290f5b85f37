//! Answers encoded once: everything of a reply that does not depend on the question's bytes, the client or the moment.
//!
//! A reply is the question echoed, records copied from a template in random order, and a patched header. Owner names are pointers to
//! the question at offset 12; the additional records of an answer are owned by the name at the end of that answer (the target of an SRV
//! or NS record), again by a pointer, or by the question's name. What stands behind aliases is owned by the name of the last alias.

use smallvec::SmallVec;

use crate::names::Zone;
use crate::shuffler::Shuffler;
use crate::wire::{HEADER, Rcode, rtype};

/// Bytes of records kept in the template itself: two addresses.
pub(crate) const INLINE: usize = 32;

pub(crate) type Bytes = SmallVec<[u8; INLINE]>;

/// Compression pointers reach 14 bits far.
const POINTERS_REACH: usize = 0x4000;

/// An encoded answer. Small ones, which most are, lie in one block with no further allocation.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The code of the reply.
    pub(crate) rcode: Rcode,
    /// How many answers one reply gives at most, over any transport; 0 is all.
    pub(crate) at_most: u32,
    pub(crate) shape: Shape,
    pub(crate) bytes: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// `count` answers of `stride` bytes each, nothing else: addresses.
    Even { stride: u16, count: u32 },
    /// Answers with additional records of their own, or of different lengths.
    Mixed(Box<Box<[Item]>>),
    /// The bytes are aliases, each naming the next and kept without owner; then come the answers of the last name.
    Chain(Box<Chain>),
}

/// One answer with its additional records, which follow it in the bytes, kept without owner: first addresses, then texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) start: u32,
    /// Where the texts begin among the additional records.
    pub(crate) texts: u32,
    /// Where the additional records end.
    pub(crate) end: u32,
    /// Answers with a target in common have the same number above 0: its additional records are given once.
    pub(crate) common: u32,
    /// Bytes of the answer; 0: there are only additional records, owned by the question's name.
    pub(crate) length: u16,
    /// Where in the answer the name starts that owns the additional records. It reaches to the answer's end. 0: the question's name
    /// owns them.
    pub(crate) target: u16,
    /// How many additional records there are, and how many of them are texts.
    pub(crate) extras: u16,
    pub(crate) text_count: u16,
}

/// What stands behind the aliases of a [`Shape::Chain`].
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// What the last name answers.
    pub(crate) rest: Template,
    /// The zone of the last name and the bytes of the zone's name, for the SOA record of an empty rest. `None`: somebody else knows more
    /// about that name.
    pub(crate) zone: Option<(Zone, u16)>,
}

/// What a reply has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// No record may reach beyond this offset of the message.
    pub(crate) limit: usize,
    /// Answers at most.
    pub(crate) answers: u32,
    /// Consul's way for want of room: an answer goes with its addresses, and one is given however long it is. Else additional records
    /// go before any answer does.
    pub(crate) whole_answers: bool,
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
    /// Aliases led to a name that has no answer: its zone, and where the zone's name stands in the message.
    pub(crate) nothing_in: Option<(Zone, u16)>,
}

impl Template {
    /// Whether there is nothing in it, so that the reply is negative and carries the zone's SOA.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes it occupies outside itself.
    pub(crate) fn heap(&self) -> usize {
        let shape = match &self.shape {
            Shape::Even { .. } => 0,
            Shape::Mixed(items) => size_of::<Box<[Item]>>() + size_of_val::<[Item]>(items),
            Shape::Chain(chain) => size_of::<Chain>() + chain.rest.heap(),
        };
        let records = if self.bytes.spilled() {
            self.bytes.len()
        } else {
            0
        };
        shape + records
    }

    /// The answers' types, times to live and data. Those of a chain are not among them.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u16, u32, &[u8])> {
        let (even, items): (_, &[Item]) = match &self.shape {
            Shape::Even { stride, count } => ((usize::from(*stride), *count as usize), &[]),
            Shape::Mixed(items) => ((0, 0), items),
            Shape::Chain(_) => ((0, 0), &[]),
        };
        let even = (0..even.1).map(move |index| (index * even.0, even.0));
        let mixed = items
            .iter()
            .filter(|item| item.length > 0)
            .map(|item| (item.start as usize, usize::from(item.length)));
        even.chain(mixed).filter_map(|(start, length)| {
            let record = self.bytes.get(start + 2..start + length)?;
            let (fixed, data) = record.split_first_chunk::<10>()?;
            let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
            let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            Some((kind, ttl, data))
        })
    }

    /// The names that it says the question's name is an alias of, in wire form, with their times to live.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.answers()
            .filter(|(kind, _, _)| *kind == rtype::CNAME)
            .map(|(_, ttl, name)| (ttl, name))
    }

    /// Whether a reply from it ends in an alias that is not followed.
    pub(crate) fn ends_in_alias(&self) -> bool {
        match &self.shape {
            Shape::Even { .. } | Shape::Mixed(_) => self.aliases().next().is_some(),
            Shape::Chain(chain) => chain.zone.is_none() && chain.rest.is_empty(),
        }
    }

    /// Appends answers in random order, as many as there is space for, and their additional records.
    #[inline]
    pub(crate) fn fill(&self, out: &mut Vec<u8>, space: &Space, shuffler: &mut Shuffler) -> Filled {
        match &self.shape {
            Shape::Even { stride, count } => {
                let stride = usize::from(*stride);
                self.fill_even(out, (stride, *count), space, HEADER, shuffler)
            }
            Shape::Mixed(items) => self.fill_mixed(out, items, space, HEADER, shuffler),
            Shape::Chain(chain) => self.fill_chain(out, chain, space, shuffler),
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
        (stride, count): (usize, u32),
        space: &Space,
        owner: usize,
        shuffler: &mut Shuffler,
    ) -> Filled {
        if count == 0 {
            return Filled::default();
        }
        let wanted = self.wanted(count);
        let room = (space.limit.saturating_sub(out.len()) / stride) as u32;
        let given = wanted
            .min(space.answers)
            .min(room.max(u32::from(space.whole_answers)));
        let mut left = given;
        if given > 0 {
            shuffler.draw(count, |index| {
                let start = index as usize * stride;
                push_owned(
                    out,
                    self.bytes.get(start..start + stride).unwrap_or_default(),
                    owner,
                );
                left -= 1;
                left > 0
            });
        }
        Filled {
            answers: given as u16,
            truncated: given < wanted,
            ..Filled::default()
        }
    }

    fn fill_mixed(
        &self,
        out: &mut Vec<u8>,
        items: &[Item],
        space: &Space,
        owner: usize,
        shuffler: &mut Shuffler,
    ) -> Filled {
        let count = items.len() as u32;
        let wanted = self.wanted(count);
        let mut chosen: SmallVec<[u32; 32]> = SmallVec::new();
        if wanted.min(space.answers) > 0 {
            shuffler.draw(count, |index| {
                chosen.push(index);
                (chosen.len() as u32) < wanted.min(space.answers)
            });
        }
        let chosen = chosen.iter().filter_map(|index| items.get(*index as usize));
        let begin = out.len();
        let fits = |rule: Rule| fitting(chosen.clone(), begin, owner, space.limit, rule);
        let (mut given, mut extras) = (fits(Rule::Everything), Extras::All);
        if given < chosen.clone().count() {
            (given, extras) = if space.whole_answers {
                (fits(Rule::Addresses).max(1), Extras::Addresses)
            } else {
                (fits(Rule::Answers), Extras::AddressesWithRoom(space.limit))
            };
        }
        let mut filled = Filled {
            truncated: (given as u32) < wanted,
            ..Filled::default()
        };
        let mut places: SmallVec<[usize; 32]> = SmallVec::new();
        for item in chosen.clone().take(given) {
            places.push(out.len());
            let start = item.start as usize;
            let answer = self.bytes.get(start..start + usize::from(item.length));
            push_owned(out, answer.unwrap_or_default(), owner);
            filled.answers += u16::from(item.length > 0);
        }
        if filled.truncated && !space.whole_answers {
            return filled;
        }
        let mut seen: SmallVec<[u32; 8]> = SmallVec::new();
        for (item, at) in chosen.zip(places) {
            if is_repeated(item, &mut seen) {
                continue;
            }
            filled.additional += self.push_extras(out, item, (at, owner), extras);
        }
        filled
    }

    /// The additional records of one answer, which was written at offset `at`; how many were appended.
    fn push_extras(
        &self,
        out: &mut Vec<u8>,
        item: &Item,
        (at, owner): (usize, usize),
        which: Extras,
    ) -> u16 {
        let answer_end = item.start as usize + usize::from(item.length);
        let (end, count) = match which {
            Extras::All => (item.end, item.extras),
            Extras::Addresses | Extras::AddressesWithRoom(_) => {
                (item.texts, item.extras - item.text_count)
            }
        };
        if let Extras::AddressesWithRoom(limit) = which
            && out.len() + item.extras_size(at, owner, false) > limit
        {
            return 0;
        }
        let owner = match item.target {
            0 => owner,
            target => at + usize::from(target),
        };
        let name = self
            .bytes
            .get(item.start as usize + usize::from(item.target)..answer_end)
            .unwrap_or_default();
        let mut rest = self.bytes.get(answer_end..end as usize).unwrap_or_default();
        for _ in 0..count {
            let Some(fixed) = rest.first_chunk::<10>() else {
                break;
            };
            let length = 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let Some((record, next)) = rest.split_at_checked(length) else {
                break;
            };
            if owner < POINTERS_REACH {
                out.extend_from_slice(&pointer(owner));
            } else {
                out.extend_from_slice(name);
            }
            out.extend_from_slice(record);
            rest = next;
        }
        count
    }

    /// Aliases one behind the other, then what the last name answers.
    fn fill_chain(
        &self,
        out: &mut Vec<u8>,
        chain: &Chain,
        space: &Space,
        shuffler: &mut Shuffler,
    ) -> Filled {
        let mut owner = HEADER;
        let mut links = 0;
        let mut rest = &self.bytes[..];
        while let Some(fixed) = rest.first_chunk::<10>() {
            let length = 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let Some((record, next)) = rest.split_at_checked(length) else {
                break;
            };
            if out.len() + 2 + length > space.limit && links > 0 {
                return Filled {
                    answers: links,
                    truncated: true,
                    ..Filled::default()
                };
            }
            out.extend_from_slice(&pointer(owner));
            owner = out.len() + 10;
            out.extend_from_slice(record);
            links += 1;
            rest = next;
        }
        let name_end = out.len();
        let space = Space {
            // Without an address the aliases are of no use.
            answers: space.answers.saturating_sub(u32::from(links)).max(1),
            whole_answers: false,
            ..*space
        };
        let mut filled = match &chain.rest.shape {
            Shape::Even { stride, count } => {
                let even = (usize::from(*stride), *count);
                chain.rest.fill_even(out, even, &space, owner, shuffler)
            }
            Shape::Mixed(items) => chain.rest.fill_mixed(out, items, &space, owner, shuffler),
            Shape::Chain(_) => Filled::default(),
        };
        filled.answers += links;
        if chain.rest.is_empty() {
            filled.nothing_in = chain
                .zone
                .map(|(zone, length)| (zone, name_end as u16 - length));
        }
        filled
    }
}

impl Item {
    /// Bytes of its additional records in a message where the answer stands at `at`.
    fn extras_size(&self, at: usize, owner: usize, texts: bool) -> usize {
        let (end, count) = if texts {
            (self.end, self.extras)
        } else {
            (self.texts, self.extras - self.text_count)
        };
        let name = match self.target {
            0 if owner < POINTERS_REACH => 2,
            target if at + usize::from(target) < POINTERS_REACH => 2,
            target => usize::from(self.length - target),
        };
        end as usize - (self.start as usize + usize::from(self.length)) + name * usize::from(count)
    }
}

/// Which additional records are written.
#[derive(Clone, Copy, Debug)]
enum Extras {
    All,
    Addresses,
    /// The addresses of an answer where they fit below the limit.
    AddressesWithRoom(usize),
}

/// What is counted when it is seen how many answers fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Answers and all their additional records.
    Everything,
    /// Answers and the addresses of their targets.
    Addresses,
    /// Answers alone.
    Answers,
}

/// How many of `chosen`, from the first, fit below `limit` when the first stands at `begin`.
fn fitting<'a>(
    chosen: impl Iterator<Item = &'a Item>,
    begin: usize,
    owner: usize,
    limit: usize,
    rule: Rule,
) -> usize {
    let mut seen: SmallVec<[u32; 8]> = SmallVec::new();
    let (mut at, mut extras) = (begin, 0);
    let mut count = 0;
    for item in chosen {
        if rule != Rule::Answers && !is_repeated(item, &mut seen) {
            extras += item.extras_size(at, owner, rule == Rule::Everything);
        }
        at += usize::from(item.length);
        if at + extras > limit {
            break;
        }
        count += 1;
    }
    count
}

/// Whether the additional records of the answer's target were given with an earlier one; remembers the target.
fn is_repeated(item: &Item, seen: &mut SmallVec<[u32; 8]>) -> bool {
    if item.common == 0 {
        return false;
    }
    let repeated = seen.contains(&item.common);
    if !repeated {
        seen.push(item.common);
    }
    repeated
}

#[inline]
fn pointer(to: usize) -> [u8; 2] {
    (0xc000 | to as u16).to_be_bytes()
}

/// Appends a record that is kept with the question's name as its owner.
#[inline]
fn push_owned(out: &mut Vec<u8>, record: &[u8], owner: usize) {
    let at = out.len();
    out.extend_from_slice(record);
    if owner != HEADER
        && let Some(place) = out.get_mut(at..at + 2)
    {
        place.copy_from_slice(&pointer(owner));
    }
}

#[cfg(test)]
mod tests;
