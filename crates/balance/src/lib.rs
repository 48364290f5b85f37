//! Which endpoint of a service takes the next request.
//!
//! What it promises
//! - One place for every way to choose: random, weighted round robin, least request, peak EWMA, least connections, Maglev, ring, rendezvous,
//!   first; the hash policies also with a bound on the load of each endpoint.
//! - What stands beside the choice is here too: places and spilling over between them, slow start, panic, ejection of outliers, the budget of
//!   retries, breakers.
//! - A pick allocates nothing. What it needs is prepared when endpoints, their health or an ejection change.
//! - Two balancers with one seed that are told the same choose the same.
//!
//! What it deliberately does not do: it opens no connection and reads no clock. Time is a [`Moment`] that the caller passes in; what came of a
//! request the caller tells with [`Balancer::end`].
//!
//! Where to start: [`Balancer`], then [`Policy`] and [`Settings`]. `choose` has a file for each family of policies.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod balancer;
mod breaker;
mod budget;
mod choose;
mod endpoint;
mod generator;
mod hash;
mod outlier;
mod place;
mod policy;
mod settings;
mod slot;
#[cfg(test)]
mod tests;

pub use balancer::{Balancer, Pick, Standing, Tried};
pub use breaker::{Breaker, Breakers, Full};
pub use budget::{Budget, RetryBudget};
pub use endpoint::{Distance, Endpoint, Moment, Outcome};
pub use generator::Generator;
pub use hash::hash;
pub use outlier::OutlierSettings;
pub use policy::Policy;
pub use settings::{Settings, SlowStart};
