//! Lets HTTP/2 requests in whatever their `:authority` is: gRPC servers ignore it, and etcd's Go client 3.5.0 sends
//! `#initially=[127.0.0.1:2379]`, for which the HTTP/2 library would reset the stream.
//!
//! A [`Rewriter`] sees the bytes before that library does. A value that is no URI authority is replaced by as many zeros as it has
//! bytes (`000000`, a name that no browser looks up); all other bytes pass untouched.
//!
//! Invariants
//! - Length for length: an entry of HPACK's dynamic table counts the bytes of its name and value (RFC 7541 section 4.1), so the peer's
//!   table and the library's stay equal, entry by entry, and nothing has to be decoded and encoded again. An entry once rewritten is
//!   found rewritten by whoever refers to it.
//! - A block never grows: zero has one of the shortest Huffman codes.
//! - What is malformed, or larger than the library would take, passes as it came: the library says what is wrong with it.
//! - Ordinary connections pay for one walk over each header block, and copy nothing: only the head of a frame, or a header block,
//!   that comes in pieces is held back until it is whole, which the library would wait for as well.
//!
//! Not rewritten: a bad value whose name refers to the dynamic table, although `:authority` is the static table's first entry, and
//! an empty value that is to be indexed (static entry 1 is just that). No encoder known to us sends either.

mod fields;
mod frames;
mod huffman;
mod stream;

pub use frames::Rewriter;
pub(crate) use stream::AnyAuthority;
