//! A reply that has to wait for a recursor.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Kept, Key, Recursion};
use crate::metrics::AllCounts;
use crate::wire::{
    Asking, Flags, HEADER, Query, Rcode, finish_header, opt_length, push_opt, start,
};

/// The largest reply over UDP with what recursors said, in bytes: it passes every link whole.
pub(crate) const RECURSED_UDP_SIZE: usize = 1232;

/// Records of a target behind an alias of ours to a client without EDNS; the number is Consul's.
const PLAIN_TARGET_RECORDS: u16 = 5;

/// A reply of ours whose last answer is an alias that leads out of our zones.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    /// The reply as it is without the target's records.
    pub(crate) reply: Vec<u8>,
    /// Where its answers end, and how many there are.
    pub(crate) end: usize,
    pub(crate) answers: u16,
    /// Whether TC says that something was left out.
    pub(crate) truncate: bool,
}

/// What is left to do for a reply.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) recursion: Arc<Recursion>,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) packet: Vec<u8>,
    pub(crate) query: Query,
    /// No record goes beyond it.
    pub(crate) limit: usize,
    pub(crate) key: Key,
    pub(crate) asking: Asking,
    /// With one, what is asked for is its target; else the question itself.
    pub(crate) alias: Option<Alias>,
    pub(crate) counts: Arc<AllCounts>,
}

impl Pending {
    /// Asks the recursors; the reply, whatever came of it.
    pub(crate) async fn finish(self) -> Vec<u8> {
        let kept = self.recursion.resolve(&self.key, &self.asking).await;
        drop(self.permit);
        let (packet, query) = (&self.packet, &self.query);
        if let Some(alias) = self.alias {
            let mut out = alias.reply.clone();
            if let Some(kept) = kept {
                append_alias(&mut out, &alias, packet, query, self.limit, (&kept, 0));
            }
            return out;
        }
        let mut out = Vec::with_capacity(512);
        let (rcode, truncated) = match &kept {
            Some(kept) => {
                let truncated = kept.response.give(&mut out, packet, query, self.limit, 0);
                let rcode = kept.response.settled().unwrap_or(Rcode::ServFail);
                (rcode, truncated)
            }
            None => {
                failed(&mut out, packet, query);
                (Rcode::ServFail, false)
            }
        };
        self.counts.answered_later(query.qtype, rcode, truncated);
        out
    }
}

/// That nobody could be asked.
fn failed(out: &mut Vec<u8>, packet: &[u8], query: &Query) {
    start(out, packet, query.end());
    let edns = query.edns.as_ref();
    if let Some(edns) = edns {
        push_opt(out, packet, edns, Rcode::ServFail);
    }
    let flags = Flags {
        recursive: true,
        ..Flags::default()
    };
    let additional = u16::from(edns.is_some());
    finish_header(out, Rcode::ServFail, flags, 1, [0, 0, additional]);
}

/// Puts what the target of an alias answers behind the alias, as far as there is room. The code is the target's (RFC 6604 section 3).
pub(crate) fn append_alias(
    out: &mut Vec<u8>,
    alias: &Alias,
    packet: &[u8],
    query: &Query,
    limit: usize,
    (kept, age): (&Kept, u32),
) {
    let edns = query.edns.as_ref();
    out.truncate(alias.end);
    let limit = limit.saturating_sub(edns.map_or(0, opt_length));
    let most = if edns.is_some() || limit > RECURSED_UDP_SIZE {
        u16::MAX
    } else {
        PLAIN_TARGET_RECORDS
    };
    let (count, all) = kept.response.append_answers(out, limit, most, age);
    let rcode = kept.response.settled().unwrap_or(Rcode::NoError);
    if let Some(edns) = edns {
        push_opt(out, packet, edns, rcode);
    }
    let flags = Flags {
        authoritative: out.get(2).is_some_and(|flags| flags & 0x04 != 0),
        truncated: !all && alias.truncate,
        recursive: true,
        authentic: false,
    };
    let counts = [alias.answers + count, 0, u16::from(edns.is_some())];
    finish_header(out, rcode, flags, 1, counts);
    debug_assert!(out.len() >= HEADER, "a reply has a header");
}
