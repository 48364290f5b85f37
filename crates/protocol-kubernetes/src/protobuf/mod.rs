//! Kubernetes' protobuf: objects are messages of the fields in the list, in an envelope that says which.
//!
//! Both ways go through the JSON in which objects are stored. Fields are written in the order in which they stand there, which protobuf
//! allows; what is empty is left out.

mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::{Writer, frame, object, stored};

/// What bodies begin with.
const MAGIC: &[u8] = b"k8s\0";
