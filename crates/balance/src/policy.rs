//! The ways to choose.

use std::fmt;
use std::str::FromStr;

/// How the next endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// By lot, by weight.
    Random,
    /// In turn, by weight, evenly mixed: nginx' smooth weighted round robin, and a heap of deadlines above 64 endpoints.
    #[default]
    RoundRobin,
    /// Of two that are drawn, the one with fewer requests under way for its weight.
    LeastRequest,
    /// Of two that are drawn, the one with the lower product of response time and requests under way. A slow answer counts at once, a fast one
    /// slowly.
    PeakEwma,
    /// Of all, the one with the fewest requests under way for its weight.
    LeastConnections,
    /// By the hash of a key, through Maglev's table of 65,537 places.
    Maglev,
    /// By the hash of a key, on a ring with 160 points for each ordinary share.
    Ring,
    /// By the hash of a key, the endpoint that wants it most. Costs a look at each of them.
    Rendezvous,
    /// The first of them that works.
    First,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 9] = [
        Policy::Random,
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::LeastConnections,
        Policy::Maglev,
        Policy::Ring,
        Policy::Rendezvous,
        Policy::First,
    ];

    /// Whether requests with one key go to one endpoint.
    pub fn by_key(self) -> bool {
        matches!(self, Policy::Maglev | Policy::Ring | Policy::Rendezvous)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Random => "random",
            Policy::RoundRobin => "round_robin",
            Policy::LeastRequest => "least_request",
            Policy::PeakEwma => "peak_ewma",
            Policy::LeastConnections => "least_conn",
            Policy::Maglev => "maglev",
            Policy::Ring => "ring",
            Policy::Rendezvous => "rendezvous",
            Policy::First => "first",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(word: &str) -> Result<Policy, String> {
        let known = Policy::ALL.into_iter().find(|one| one.as_str() == word);
        known.ok_or_else(|| {
            let all = Policy::ALL.map(Policy::as_str).join(", ");
            format!("{word:?} is no way to balance; there is {all}")
        })
    }
}
