//! Responses of other servers: read strictly, kept as they came without their OPT, and given on under another header and another spelling of
//! the same name.
//!
//! The records are not decoded: types that nobody here knows pass unchanged. What is found is where each time to live stands and where the
//! sections end; both names have the same length, so compression pointers stay true.

use super::query::skip_name;
use super::{CLASS_IN, Flags, HEADER, Query, Rcode, expand_name, finish_header, opt_length};
use super::{push_opt, rtype, start};

/// The longest that anything is kept, in seconds, and the longest for an absence (RFC 2308 section 5 recommends no more than hours).
const LONGEST: u32 = 3600;
const LONGEST_NEGATIVE: u32 = 1800;

/// The size offered to others over UDP: what passes every link whole.
const OFFERED: u16 = 1232;

/// What is asked of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// The name in wire form, uncompressed.
    pub(crate) name: Vec<u8>,
    pub(crate) qtype: u16,
    /// DO: whoever asked wants signatures.
    pub(crate) dnssec_ok: bool,
    /// CD: whoever asked checks them.
    pub(crate) checking_disabled: bool,
}

impl Asking {
    /// The message, with or without EDNS.
    pub(crate) fn message(&self, id: u16, edns: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.name.len() + 15);
        out.extend(id.to_be_bytes());
        // RD; AD says that AD is understood (RFC 6840 section 5.7).
        out.extend([
            0x01,
            0x20 | if self.checking_disabled { 0x10 } else { 0 },
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(edns),
        ]);
        out.extend(&self.name);
        out.extend(self.qtype.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        if edns {
            let [s0, s1] = OFFERED.to_be_bytes();
            let flags = if self.dnssec_ok { 0x80 } else { 0 };
            out.extend([0, 0, rtype::OPT as u8, s0, s1, 0, 0, flags, 0, 0, 0]);
        }
        out
    }
}

/// What a datagram or a message of a stream turned out to be.
#[derive(Debug)]
pub(crate) enum Reading {
    /// The answer.
    Response(Response),
    /// Not the answer to this question: late, somebody else's, or forged.
    Foreign,
    /// The answer, but it cannot be read.
    Malformed,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The code, with the upper bits of an OPT.
    pub(crate) rcode: u16,
    /// TC.
    pub(crate) truncated: bool,
    /// Seconds for which it may be given again; 0: not at all.
    pub(crate) keep: u32,
    authentic: bool,
    /// Header, question and records without OPT.
    message: Box<[u8]>,
    /// Where the records begin, and where each section ends.
    begin: usize,
    ends: [usize; 3],
    counts: [u16; 3],
    /// Where times to live stand.
    ttls: Box<[u16]>,
}

/// Reads what came for a question that was asked under `id`.
pub(crate) fn read_response(packet: &[u8], id: u16, asking: &Asking) -> Reading {
    let Some(header) = packet.first_chunk::<HEADER>() else {
        return Reading::Foreign;
    };
    let begin = HEADER + asking.name.len() + 4;
    let same = |question: &[u8]| {
        let (name, rest) = question.split_at(asking.name.len());
        let [t0, t1] = asking.qtype.to_be_bytes();
        name.eq_ignore_ascii_case(&asking.name) && rest == [t0, t1, 0, CLASS_IN as u8]
    };
    let questions = u16::from_be_bytes([header[4], header[5]]);
    // Servers that cannot read a question, one with EDNS for example, may answer without it.
    let bare = questions == 0 && header[3] & 0x0f == Rcode::FormErr as u8;
    let ours = header[..2] == id.to_be_bytes()
        && header[2] & 0xf8 == 0x80
        && (bare || questions == 1 && packet.get(HEADER..begin).is_some_and(same));
    if !ours {
        return Reading::Foreign;
    }
    if bare {
        return Reading::Response(Response::bare(Rcode::FormErr as u16));
    }
    match records(packet, begin, asking.qtype) {
        Some(response) => Reading::Response(response),
        None => Reading::Malformed,
    }
}

/// Walks the records of a response. `None`: it is malformed.
fn records(packet: &[u8], begin: usize, qtype: u16) -> Option<Response> {
    let header = packet.first_chunk::<HEADER>()?;
    let mut response = Response {
        truncated: header[2] & 0x02 != 0,
        authentic: header[3] & 0x20 != 0,
        ..Response::bare(u16::from(header[3] & 0x0f))
    };
    let counts = [6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
    let mut message = packet.to_vec();
    let mut ttls = Vec::new();
    let (mut at, mut shortest) = (begin, u32::MAX);
    let (mut found, mut absence) = (false, None);
    'sections: for (section, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            let owner = at;
            let fixed_at = skip_name(packet, at)?;
            let fixed = packet.get(fixed_at..)?.first_chunk::<10>()?;
            let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
            let data = fixed_at + 10;
            at = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let rdata = packet.get(data..at)?;
            if kind == rtype::OPT {
                if section != 2 || packet.get(owner) != Some(&0) {
                    return None;
                }
                response.rcode |= u16::from(fixed[4]) << 4;
                // What stands behind it may be left out: nothing before it points there.
                message.truncate(owner);
                response.ends[2] = owner;
                break 'sections;
            }
            // The upper bit makes it 0 (RFC 2181 section 8).
            let mut ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            if ttl > i32::MAX as u32 {
                ttl = 0;
            }
            found |= section == 0 && (kind == qtype || qtype == rtype::ANY);
            if section == 1 && kind == rtype::SOA && absence.is_none() {
                let minimum = u32::from_be_bytes(*rdata.last_chunk::<4>()?);
                ttl = ttl.min(minimum);
                absence = Some(ttl);
            }
            shortest = shortest.min(ttl);
            let place = fixed_at + 4;
            message
                .get_mut(place..place + 4)?
                .copy_from_slice(&ttl.to_be_bytes());
            ttls.push(u16::try_from(place).ok()?);
            response.counts[section] += 1;
            response.ends[section] = at;
        }
        for end in response.ends.iter_mut().skip(section) {
            *end = (*end).max(at);
        }
    }
    let whole = !response.truncated;
    response.keep = match response.rcode {
        0 if found && whole => shortest.min(LONGEST),
        // Nothing says for how long something is absent but the zone's SOA.
        0 | 3 if !found && whole && absence.is_some() => shortest.min(LONGEST_NEGATIVE),
        _ => 0,
    };
    response.begin = begin;
    message.truncate(response.ends[2].max(begin));
    response.message = message.into();
    response.ttls = ttls.into();
    Some(response)
}

impl Response {
    fn bare(rcode: u16) -> Self {
        Self {
            rcode,
            truncated: false,
            keep: 0,
            authentic: false,
            message: Box::default(),
            begin: 0,
            ends: [0; 3],
            counts: [0; 3],
            ttls: Box::default(),
        }
    }

    /// The code where it is one that is given on: an answer, or that there is none.
    pub(crate) fn settled(&self) -> Option<Rcode> {
        match self.rcode {
            0 => Some(Rcode::NoError),
            3 => Some(Rcode::NxDomain),
            _ => None,
        }
    }

    /// Bytes it occupies.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.message.len() + 2 * self.ttls.len()
    }

    /// Writes the reply to `packet`, `age` seconds after this came. No record goes beyond `limit`: additional records are left out first,
    /// then the authority of a positive answer, then all, with TC. Returns whether TC is set.
    pub(crate) fn give(
        &self,
        out: &mut Vec<u8>,
        packet: &[u8],
        query: &Query,
        limit: usize,
        age: u32,
    ) -> bool {
        start(out, packet, query.end());
        let edns = query.edns.as_ref();
        let limit = limit.saturating_sub(edns.map_or(0, opt_length));
        let positive = self.counts[0] > 0;
        let fits = |section: &usize| self.ends[*section] <= limit;
        let last = [2, 1, 0].into_iter().find(|section| match section {
            2 | 1 => fits(section),
            _ => positive && fits(section),
        });
        let truncated = self.truncated || last.is_none();
        let end = last.map_or(self.begin, |section| self.ends[section]);
        out.extend_from_slice(self.message.get(self.begin..end).unwrap_or_default());
        let places = self.ttls.iter().map(|place| usize::from(*place));
        for place in places.take_while(|place| *place < end) {
            if let Some(ttl) = out.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<4>) {
                *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
            }
        }
        let rcode = self.settled().unwrap_or(Rcode::ServFail);
        let mut counts = [0; 3];
        let given = last.map_or(0, |section| section + 1);
        for (to, from) in counts.iter_mut().zip(self.counts).take(given) {
            *to = from;
        }
        if let Some(edns) = edns {
            push_opt(out, packet, edns, rcode);
            counts[2] += 1;
        }
        let understood = edns.is_some_and(|edns| edns.dnssec_ok)
            || packet.get(3).is_some_and(|flags| flags & 0x20 != 0);
        let flags = Flags {
            authoritative: false,
            truncated,
            recursive: true,
            authentic: self.authentic && understood,
        };
        finish_header(out, rcode, flags, 1, counts);
        truncated
    }

    /// Appends its answers with all names written out, at most `most` of them and none beyond `limit`; how many, and whether those were all.
    /// Nothing is appended where a record has names that are not known here.
    pub(crate) fn append_answers(
        &self,
        out: &mut Vec<u8>,
        limit: usize,
        most: u16,
        age: u32,
    ) -> (u16, bool) {
        let begin = out.len();
        let mut at = self.begin;
        for index in 0..self.counts[0] {
            let before = out.len();
            match self.append_record(out, at, age) {
                None => {
                    out.truncate(begin);
                    return (0, false);
                }
                Some(_) if out.len() > limit || index == most => {
                    out.truncate(before);
                    return (index, false);
                }
                Some(next) => at = next,
            }
        }
        (self.counts[0], true)
    }

    fn append_record(&self, out: &mut Vec<u8>, at: usize, age: u32) -> Option<usize> {
        let message = &self.message;
        let at = expand_name(message, at, out)?;
        let fixed = message.get(at..)?.first_chunk::<10>()?;
        let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let data = at + 10;
        let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        out.extend_from_slice(&fixed[..4]);
        out.extend_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        let length = out.len();
        out.extend_from_slice(&[0, 0]);
        // What stands before a name that may be compressed (RFC 3597 section 4).
        let lead = match kind {
            rtype::CNAME | rtype::PTR | rtype::NS => Some(0),
            rtype::MX => Some(2),
            rtype::SRV => Some(6),
            rtype::A | rtype::AAAA | rtype::TXT | rtype::HTTPS => None,
            _ => return None,
        };
        match lead {
            None => out.extend_from_slice(message.get(data..end)?),
            Some(lead) => {
                out.extend_from_slice(message.get(data..data + lead)?);
                if expand_name(message, data + lead, out)? != end {
                    return None;
                }
            }
        }
        let written = out.len() - length - 2;
        let place = out.get_mut(length..)?.first_chunk_mut::<2>()?;
        *place = u16::try_from(written).ok()?.to_be_bytes();
        Some(end)
    }
}

/// In a reply of ours: where its answers end, and the name in wire form that the last of them says the question's name is an alias of.
pub(crate) fn answer_place(reply: &[u8], query_end: usize, answers: u16) -> Option<(usize, &[u8])> {
    let mut at = query_end;
    let mut target = None;
    for _ in 0..answers {
        let fixed_at = skip_name(reply, at)?;
        let fixed = reply.get(fixed_at..)?.first_chunk::<10>()?;
        let data = fixed_at + 10;
        at = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata = reply.get(data..at)?;
        target = (fixed[..2] == rtype::CNAME.to_be_bytes()).then_some(rdata);
    }
    Some((at, target?))
}

/// For the fuzz target: whatever came is read, and what is read can be given to anybody.
pub(crate) fn exercise(packet: &[u8]) {
    let Some(id) = packet.first_chunk::<2>() else {
        return;
    };
    let Some(end) = skip_name(packet, HEADER) else {
        return;
    };
    let mut name = Vec::new();
    if expand_name(packet, HEADER, &mut name) != Some(end) || name.len() != end - HEADER {
        return;
    }
    let Some(kind) = packet.get(end..).and_then(<[u8]>::first_chunk::<2>) else {
        return;
    };
    let asking = Asking {
        qtype: u16::from_be_bytes(*kind),
        dnssec_ok: false,
        checking_disabled: false,
        name,
    };
    let Reading::Response(response) = read_response(packet, u16::from_be_bytes(*id), &asking)
    else {
        return;
    };
    let question = asking.message(0, false);
    let query = Query {
        qtype: asking.qtype,
        qclass: CLASS_IN,
        name: asking.name.len(),
        edns: None,
    };
    let mut out = Vec::new();
    response.give(&mut out, &question, &query, 512, 1);
    assert!(
        out.len() <= 512.max(query.end() + 11),
        "a reply keeps its limit"
    );
    let mut out = Vec::new();
    response.append_answers(&mut out, 512, 5, 1);
    assert!(out.len() <= 512, "records keep their limit");
}

#[cfg(test)]
mod tests;
