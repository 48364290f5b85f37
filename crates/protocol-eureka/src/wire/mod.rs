//! The words of Eureka's REST protocol and their two spellings, JSON and XML.
//!
//! - [`instance`]: the record a client registers, its defaults and the checks a registration must pass.
//! - [`list`]: applications and lists of them, and the `apps__hashcode` clients compare.
//! - [`encode`]: documents in Netflix' field order and with Netflix' types; [`writer`]: what both spellings can write;
//!   [`json`], [`xml`]: how each writes it.
//! - [`tree`]: reading both spellings into one small tree; [`decode`]: from that tree to the types.
//! - [`media`]: which spelling a request asks for.
//! - [`replication`]: what peers send each other.
//! - [`name`]: how XStream writes names that are no XML names.
//!
//! Nothing here knows the catalog.

pub mod decode;
pub mod encode;
pub mod instance;
pub mod json;
pub mod list;
pub mod media;
pub mod name;
pub mod replication;
pub mod tree;
pub mod writer;
pub mod xml;

#[cfg(test)]
mod tests;

pub use decode::{decode_application, decode_applications, decode_instance};
pub use encode::{encode_application, encode_applications, encode_instance};
pub use instance::{
    Action, DataCenter, DataCenterName, Instance, LeaseInfo, Port, Status, Unregistrable,
};
pub use list::{Application, Applications, Counts};
pub use media::{Detail, Format, Shape};
pub use replication::Happened;
pub use tree::Malformed;
