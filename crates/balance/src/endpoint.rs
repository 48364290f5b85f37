//! What a balancer is told: of endpoints, and of what came of a request.

use std::time::Duration;

/// Time since a moment that the caller chose and keeps to; it never goes back.
pub type Moment = Duration;

/// How far away an endpoint is from who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// In the same zone, or nobody knows where.
    #[default]
    Zone,
    /// In the same region.
    Region,
    /// Anywhere else.
    Elsewhere,
}

impl Distance {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;
}

/// An endpoint as the catalog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is known by: [`crate::hash()`] of its address, for example. Hash policies place it by this.
    pub id: u64,
    /// Its share of the requests, in thousandths of an ordinary one; 0 for none.
    pub weight: u32,
    /// Whether it is said to work. One in maintenance is not to be told of at all.
    pub healthy: bool,
    /// How far away it is.
    pub distance: Distance,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, and how long it took.
    Answered(Duration),
    /// An answer that says the endpoint is at fault (5xx), and how long it took.
    Failed(Duration),
    /// No connection, or one that broke.
    Unreachable,
    /// Nobody can tell: the caller went away before there was an answer.
    Unknown,
}

impl Outcome {
    /// Whether the endpoint is at fault; none when nobody can tell.
    pub(crate) fn failed(self) -> Option<bool> {
        match self {
            Outcome::Answered(_) => Some(false),
            Outcome::Failed(_) | Outcome::Unreachable => Some(true),
            Outcome::Unknown => None,
        }
    }
}
