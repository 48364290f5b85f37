//! Writing replies: the header and question echoed from the query, records put behind, counts patched at the end.

use super::query::skip_name;
use super::{CLASS_IN, Edns, HEADER, Rcode, rtype};

/// Begins a reply: header and question as the client wrote them, so that the case of its letters (0x20) comes back unchanged.
///
/// `end` is where the echoed question ends; with the header's own length no question is echoed.
#[inline]
pub(crate) fn start(out: &mut Vec<u8>, packet: &[u8], end: usize) {
    out.clear();
    out.extend_from_slice(packet.get(..end).unwrap_or(packet));
    out.resize(out.len().max(HEADER), 0);
}

/// Completes the header: flags, code, and the counts of questions echoed and of answer, authority and additional records.
#[inline]
pub(crate) fn finish_header(
    out: &mut [u8],
    rcode: Rcode,
    flags: Flags,
    questions: u16,
    counts: [u16; 3],
) {
    let Some(header) = out.first_chunk_mut::<HEADER>() else {
        return;
    };
    // Kept from the query: opcode and RD in the first byte, CD in the second.
    header[2] = header[2] & 0x79
        | 0x80
        | if flags.authoritative { 0x04 } else { 0 }
        | if flags.truncated { 0x02 } else { 0 };
    header[3] = header[3] & 0x10
        | rcode as u8 & 0x0f
        | if flags.recursive { 0x80 } else { 0 }
        | if flags.authentic { 0x20 } else { 0 };
    header[4..6].copy_from_slice(&questions.to_be_bytes());
    for (slot, count) in header[6..].chunks_exact_mut(2).zip(counts) {
        slot.copy_from_slice(&count.to_be_bytes());
    }
}

/// The flags a reply chooses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// AA: the answer is about a zone of ours.
    pub(crate) authoritative: bool,
    /// TC: answers were left out for want of room.
    pub(crate) truncated: bool,
    /// RA: names outside our zones are asked for elsewhere.
    pub(crate) recursive: bool,
    /// AD: whoever was asked says that it has proved the answer.
    pub(crate) authentic: bool,
}

/// How long the OPT record of a reply will be.
#[inline]
pub(crate) fn opt_length(edns: &Edns) -> usize {
    11 + edns.subnet.map_or(0, |(_, length)| 4 + usize::from(length))
        + edns.reply_cookie.map_or(0, |cookie| 4 + cookie.len())
}

/// Appends the OPT record of a reply: the client's size (as Consul and CoreDNS have it), the upper bits of the code, DO copied, and a client subnet echoed with scope 0
/// (the answer does not depend on it, RFC 7871 section 7.2.1), and the cookie.
pub(crate) fn push_opt(out: &mut Vec<u8>, packet: &[u8], edns: &Edns, rcode: Rcode) {
    let [s0, s1] = edns.size.to_be_bytes();
    let flags = if edns.dnssec_ok { 0x80 } else { 0 };
    let [_, kind] = rtype::OPT.to_be_bytes();
    out.extend_from_slice(&[0, 0, kind, s0, s1, rcode as u8 >> 4, 0, flags, 0, 0, 0]);
    let begin = out.len();
    if let Some((start, length)) = edns.subnet {
        let start = usize::from(start);
        let data = packet.get(start..start + usize::from(length));
        out.extend_from_slice(&[0, 8]);
        out.extend_from_slice(&length.to_be_bytes());
        let scope = out.len() + 3;
        out.extend_from_slice(data.unwrap_or_default());
        if let Some(scope) = out.get_mut(scope) {
            *scope = 0;
        }
    }
    if let Some(cookie) = &edns.reply_cookie {
        out.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
        out.extend_from_slice(cookie);
    }
    let length = (out.len() - begin) as u16;
    out[begin - 2..begin].copy_from_slice(&length.to_be_bytes());
}

/// Numbers of a zone's SOA record. Names are fixed: `ns.ZONE` and `hostmaster.ZONE`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soa {
    /// Low 32 bits of the revision answered from: the same on every server of one state.
    pub(crate) serial: u32,
    /// Refresh, retry and expire, in seconds.
    pub(crate) times: [u32; 3],
    /// How long a negative answer may be kept, in seconds; also the record's own TTL.
    pub(crate) minimum: u32,
}

/// The longest SOA record with compressed names: owner 2, fixed 10, `ns.dns` 9, `hostmaster` 13, numbers 20.
pub(crate) const SOA_LENGTH: usize = 54;

/// Appends the SOA record of the zone whose name stands at offset `zone` of the message. `ns` is the first label of the primary's name
/// below the zone, in wire form.
pub(crate) fn push_soa(out: &mut Vec<u8>, zone: u16, ns: &[u8], soa: &Soa) {
    let pointer = (0xc000 | zone).to_be_bytes();
    out.extend_from_slice(&pointer);
    out.extend_from_slice(&rtype::SOA.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&soa.minimum.to_be_bytes());
    push_soa_data(out, &pointer, ns, soa);
}

/// Appends length and data of an SOA record whose zone is written as `zone` (a pointer, or a full name).
pub(crate) fn push_soa_data(out: &mut Vec<u8>, zone: &[u8], ns: &[u8], soa: &Soa) {
    const MAIL: &[u8] = b"\x0ahostmaster";
    let length = ns.len() + MAIL.len() + 2 * zone.len() + 20;
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(ns);
    out.extend_from_slice(zone);
    out.extend_from_slice(MAIL);
    out.extend_from_slice(zone);
    let [refresh, retry, expire] = soa.times;
    for number in [soa.serial, refresh, retry, expire, soa.minimum] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Seconds for which a reply is true: its shortest time to live, of its answers or, where there is none, of its SOA record. 0 for what is
/// not to be kept.
pub(crate) fn freshness(reply: &[u8]) -> u32 {
    let shortest = || {
        let header = reply.first_chunk::<HEADER>()?;
        let [questions, answers, authority] =
            [4, 6, 8].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        if !matches!(header[3] & 0x0f, 0 | 3) || header[2] & 0x02 != 0 || questions != 1 {
            return None;
        }
        let mut at = skip_name(reply, HEADER)? + 4;
        let mut shortest = None;
        let counted = if answers > 0 { answers } else { authority };
        for _ in 0..counted {
            let fixed_at = skip_name(reply, at)?;
            let fixed = reply.get(fixed_at..)?.first_chunk::<10>()?;
            let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            shortest = Some(shortest.map_or(ttl, |least: u32| least.min(ttl)));
            at = fixed_at + 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        }
        shortest
    };
    shortest().unwrap_or(0)
}
