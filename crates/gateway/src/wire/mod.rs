//! HTTP/1.1 as it comes in: every request is checked to the letter before anybody reads it, because two readers that see different requests in
//! the same bytes are how requests are smuggled.

pub(crate) mod field;
pub(crate) mod framing;
pub(crate) mod guard;
