//! The protocol's own words: jute, requests, replies, opcodes. Nothing here knows the catalog.

pub mod jute;
pub mod opcode;
pub mod replies;
pub mod requests;

pub use jute::{Malformed, Reader, Writer};
pub use opcode::Opcode;
pub use requests::{Acl, Connect, Header, Lists, Request};
