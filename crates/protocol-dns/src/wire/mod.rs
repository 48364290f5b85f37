//! DNS messages as they travel: decoding of queries, writing of replies, and the numbers of the protocol.
//!
//! Decoding is by hand and total: every byte string is a query, a fault with an answer, or to be ignored. Nothing of a query allocates or
//! follows a compression pointer: a name may not be compressed where we read it, and elsewhere it is only skipped. What other servers say
//! (`response`) is kept as it came; names in it are followed backwards only.

mod name;
mod query;
mod reply;
mod response;

pub(crate) use name::{Folded, Labels, expand_name, push_name};
pub(crate) use query::{Decoded, Edns, Query, decode};
pub(crate) use reply::{
    Flags, SOA_LENGTH, Soa, finish_header, freshness, opt_length, push_opt, push_soa,
    push_soa_data, start,
};
pub(crate) use response::exercise as exercise_response;
pub(crate) use response::{Asking, Reading, Response, answer_place, read_response};

/// Bytes of a message header.
pub(crate) const HEADER: usize = 12;

/// The largest answer over UDP to a client that did not say what it takes (RFC 1035 section 2.3.4).
pub(crate) const PLAIN_SIZE: usize = 512;

/// The class of everything we answer.
pub(crate) const CLASS_IN: u16 = 1;

/// Record types by number, as in the registry of the protocol.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const MX: u16 = 15;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const HTTPS: u16 = 65;
    /// Incremental and full transfers, then the two mail queries of old: 251 to 254.
    pub(crate) const FIRST_META: u16 = 251;
    pub(crate) const LAST_META: u16 = 254;
    pub(crate) const ANY: u16 = 255;
}

/// Answer codes. Those above 15 need an OPT record for their upper bits (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rcode {
    /// The name exists; the answer may still be empty.
    NoError = 0,
    /// The message could not be read.
    FormErr = 1,
    /// Nobody can answer now.
    ServFail = 2,
    /// Nothing has this name.
    NxDomain = 3,
    /// The operation is not offered.
    NotImp = 4,
    /// Not answered here, or not to this client.
    Refused = 5,
    /// An EDNS version above 0.
    BadVers = 16,
    /// The client is to show the cookie that comes with this (RFC 7873).
    BadCookie = 23,
}
