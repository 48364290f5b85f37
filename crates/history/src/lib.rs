//! The history of a catalog: every batch of the retention, readable by revision, by row and by time.
//!
//! What it promises
//! - A row at an earlier revision is found by its key: the cost follows the rows read, not the revisions in between.
//! - The newest batches are in memory, within a bound that counts what they really take; older ones are in compressed files with
//!   checksums ([`Files`]), each of which stands for itself.
//! - What is in a file is there after a crash; what is not is made again from the log. Nothing that is applied depends on any of it.
//! - A damaged file is an error of those who need it ([`Damage`]), and of nobody else.
//!
//! What it deliberately does not do: it decides nothing (floors move by a command), and knows no protocol, no clock and no disk.
//!
//! Where to start: [`History`] for who writes, [`View`] for who reads.

mod chunk;
mod files;
mod history;
mod inspect;
mod pick;
mod pressure;
mod recent;
mod retention;
mod view;
mod wake;
mod weight;

pub use chunk::Damage;
pub use files::{File, Files, MemoryFiles, Named};
pub use history::{Figures, History};
pub use inspect::{Inspected, inspect};
pub use portolan_catalog::stored::index::Span;
pub use retention::Retention;
pub use view::{Earlier, Piece, Place, Select, View};
