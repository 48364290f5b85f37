//! Which service a request is for: explicit routes first, then tags, then a name in the host, then the first segment of the path.

mod follow;
mod names;
mod rule;
mod table;
pub(crate) mod tags;

pub(crate) use follow::{Followed, follow};
pub(crate) use names::by_name;
pub(crate) use table::Target;
