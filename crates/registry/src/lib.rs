//! The registry: one cheap handle through which every protocol reads, proposes, follows and renews.
//!
//! What it promises
//! - [`Registry::snapshot`] is a pointer load; a snapshot never changes.
//! - [`Registry::propose`] returns when the command is applied here, with its own revision.
//! - [`Registry::past`] reads rows of any kept revision; what that costs follows what is read.
//! - A [`Feed`] gives the changes that match its selectors in order and without gaps, all changes of one revision
//!   together. A slow reader holds no memory: it is sent back to the history, and cut off when that no longer reaches far enough.
//! - [`Registry::view`] keeps one service as readers want it, encoded once per form.
//! - [`EntryLog`] has the newest entries of the log for those who follow this node from elsewhere.
//! - [`Registry::renew`] never touches the log. Deadlines are in [`Deadlines`], which whoever stands behind the handle drives.
//!
//! What it deliberately does not do: it has no socket, no file and no consensus. Behind it stands `replica`, or in tests
//! [`Registry::local`]; the handle cannot tell.
//!
//! Where to start: [`Registry`], then [`Backend`] for the side that stands behind it.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod backend;
mod datacenters;
mod deadlines;
mod entries;
mod feed;
mod index;
mod intervals;
mod local;
mod members;
mod past;
mod registry;
mod restore;
mod selector;
mod view;

pub use backend::{Backend, LeaseQuestion, Limits, Proposal, Publisher, WallClock};
pub use datacenters::{Datacenter, Datacenters};
pub use deadlines::{Deadlines, Due, Renewal};
pub use entries::{ENTRY_BYTES, EntryLog, Following, Mark};
pub use feed::{Cut, Feed};
pub use local::LocalOptions;
pub use members::{Changed, Cluster, Member, MemberChange};
pub use past::{NotThen, Past, PastRange};
pub use portolan_history::{Damage, Figures as HistoryFigures, Piece, Span, View as HistoryView};
pub use registry::{Registry, Renewed, Unavailable};
pub use restore::{SnapshotFiles, SnapshotParts};
pub use selector::Selector;
pub use view::{Slot, View, WholeSlot};
