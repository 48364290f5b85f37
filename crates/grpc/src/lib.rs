//! gRPC over HTTP/2 requests and answers, for every protocol that speaks it: length-prefixed messages in, the same and trailers out.
//!
//! Written out instead of taken from a library, for the hot path's sake: a message that arrived in one piece is decoded where it lies, an
//! answer is one allocation, and every call goes through the listener's router like any other request. What a caller may ask for beside
//! the message (a deadline, gzip, another name for the content) is put around the answer by [`Head::wrap`], and costs nothing to those
//! who do not.
//!
//! Promises
//! - A message is never larger than the bound it is read with, packed or not; the length is believed only after it was compared.
//! - A message that has begun arrives within the time that bodies have, or the call fails.
//! - Whatever is wrong with a request is a [`Status`], never a panic.
//!
//! Deliberately absent: any protocol's methods, messages and texts; those stay in its own crate. So do timers that end an answer: a
//! protocol gives an [`Ending`].
//!
//! Start reading at [`Head`], then [`Messages`], then [`unary`] and [`streaming`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod answer;
mod head;
mod messages;
mod status;
mod wrap;

pub use answer::{frame, frame_into, framed, refused, streaming, unary};
pub use head::{Head, Refused, is_grpc};
pub use messages::{MessageLimits, Messages};
pub use status::{Code, Status};
pub use wrap::Ending;
