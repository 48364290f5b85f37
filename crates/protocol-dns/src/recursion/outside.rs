//! What a worker does about a name outside our zones: the answer that is kept, or a reply that waits for a recursor.

use std::sync::Arc;

use super::pending::{Alias, Pending, RECURSED_UDP_SIZE, append_alias};
use super::{Recursion, key};
use crate::metrics::AllCounts;
use crate::names::{self, Zones};
use crate::wire::{Asking, Folded, Labels, PLAIN_SIZE, Query, Rcode, answer_place, rtype};

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Outside {
    /// The reply is written, with this code, and with TC or not.
    Reply(Rcode, bool),
    /// Too many questions are in flight.
    Full,
    /// The reply has to wait.
    Later(Box<Pending>),
}

/// Whether whoever sent `packet` wants others to be asked (RD).
pub(crate) fn wanted(packet: &[u8]) -> bool {
    packet.get(2).is_some_and(|flags| flags & 0x01 != 0)
}

/// No record of a reply goes beyond it.
fn limit(stream: bool, query: &Query) -> usize {
    match &query.edns {
        _ if stream => usize::from(u16::MAX),
        Some(edns) => usize::from(edns.size).clamp(PLAIN_SIZE, RECURSED_UDP_SIZE),
        None => PLAIN_SIZE,
    }
}

fn asking(name: &[u8], packet: &[u8], query: &Query) -> Asking {
    Asking {
        name: name.to_vec(),
        qtype: query.qtype,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: packet.get(3).is_some_and(|flags| flags & 0x10 != 0),
    }
}

/// Answers the question itself. `stream`: it came over one, where replies are long. `name` is the question's as it was written, `folded`
/// the same in lower case with its type.
pub(crate) fn forward(
    recursion: &Arc<Recursion>,
    (name, folded): (&[u8], &Folded),
    (packet, query, stream): (&[u8], &Query, bool),
    out: &mut Vec<u8>,
    counts: &Arc<AllCounts>,
) -> Outside {
    let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
    let checking_disabled = packet.get(3).is_some_and(|flags| flags & 0x10 != 0);
    let key = key(folded.key(), dnssec_ok, checking_disabled);
    let limit = limit(stream, query);
    if let Some((kept, age)) = recursion.kept(&key) {
        let truncated = kept.response.give(out, packet, query, limit, age);
        let rcode = kept.response.settled().unwrap_or(Rcode::ServFail);
        return Outside::Reply(rcode, truncated);
    }
    let Some(permit) = recursion.begin() else {
        return Outside::Full;
    };
    Outside::Later(Box::new(Pending {
        recursion: Arc::clone(recursion),
        permit,
        asking: asking(name, packet, query),
        packet: packet.to_vec(),
        query: *query,
        limit,
        key,
        alias: None,
        counts: Arc::clone(counts),
    }))
}

/// Looks at a reply of ours in `out`: where its last answer is an alias that leads out of our zones, what the target answers is put behind
/// it, or is to be waited for. Nobody who asks for the alias itself, or for anything at all, is told more.
pub(crate) fn behind_alias(
    recursion: &Arc<Recursion>,
    zones: &Zones,
    (packet, query, stream): (&[u8], &Query, bool),
    truncate: bool,
    out: &mut Vec<u8>,
    counts: &Arc<AllCounts>,
) -> Option<Box<Pending>> {
    if !wanted(packet) || matches!(query.qtype, rtype::CNAME | rtype::ANY) {
        return None;
    }
    let count = |at: usize| {
        let two = out.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*two))
    };
    // Nothing but answers, and an OPT at the end.
    let answers = count(6)?;
    if count(8)? != 0 || count(10)? != u16::from(query.edns.is_some()) {
        return None;
    }
    let (end, target) = answer_place(out, query.end(), answers)?;
    let mut folded = Folded::default();
    folded.set(target, query.qtype);
    let mut text = [0; 256];
    let labels = Labels::read(folded.name(), &mut text)?;
    if names::classify(&labels, query.qtype, zones).is_some() {
        return None;
    }
    let asking = asking(target, packet, query);
    let key = key(folded.key(), asking.dnssec_ok, asking.checking_disabled);
    let limit = limit(stream, query);
    let mut alias = Alias {
        reply: Vec::new(),
        end,
        answers,
        truncate,
    };
    if let Some((kept, age)) = recursion.kept(&key) {
        append_alias(out, &alias, packet, query, limit, (&kept, age));
        return None;
    }
    // Without leave the alias goes alone: whoever asked may ask for its target.
    let permit = recursion.begin()?;
    alias.reply.clone_from(out);
    Some(Box::new(Pending {
        recursion: Arc::clone(recursion),
        permit,
        packet: packet.to_vec(),
        query: *query,
        limit,
        key,
        asking,
        alias: Some(alias),
        counts: Arc::clone(counts),
    }))
}
