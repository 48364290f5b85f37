//! The simulation that proves a cluster: real servers, virtual time, and everything that goes wrong drawn from a seed.
//!
//! Promises
//! - Two runs of one plan are equal, event by event, whatever their processes did before: [`Outcome::hash`] is over all of them in their order.
//! - The servers are those of `portolan-replica` with the registry and front ends of the product, unchanged; each has a paused runtime of its
//!   own, and one thread steps them in a drawn order.
//! - A run is thirty seconds with faults, then everything heals, and then every server serves and every checker passes, or the [`Report`] says
//!   what did not hold.
//!
//! Deliberately absent: sockets, TLS, threads, and any rule of the product: what must hold is said by the checkers in their own words.
//!
//! Start reading at [`run`], then [`Plan`] and [`Fault`] for what can happen, `driver` for how, `checker` for what must hold.

mod checker;
mod client;
mod disk;
mod driver;
mod edge;
mod fault;
mod front;
mod history;
pub mod mutation;
mod network;
mod outcome;
mod plan;
mod protocols;
pub mod scale;
mod server;
mod setup;
mod stage;
mod trace;
pub mod traffic;
mod truth;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use checker::Violation;
pub use fault::{Fault, Planned, Who};
pub use outcome::{Outcome, Report};
pub use plan::Plan;

/// Runs a plan in a thread of its own. A panic of the product is a violation like any other.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let plan = plan.clone();
    let broken = |what: String| Report {
        plan: plan.clone(),
        happened: Vec::new(),
        outcome: Outcome::default(),
        violations: vec![Violation {
            checker: "servers",
            what,
        }],
    };
    let own = plan.clone();
    if plan.mutation.is_some() && !mutation::KNOWN {
        return broken("this build knows no planted faults".to_owned());
    }
    // A fresh thread: whatever is kept per thread begins anew.
    let thread = std::thread::Builder::new().spawn(move || {
        mutation::plant(own.mutation);
        catch_unwind(AssertUnwindSafe(|| {
            driver::Driver::new(own).map(driver::Driver::run)
        }))
    });
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(Ok(report)))) => report,
        Ok(Ok(Ok(Err(what)))) => broken(what),
        Ok(Ok(Err(panic)) | Err(panic)) => {
            let words = panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            broken(format!("a panic: {}", words.unwrap_or_default()))
        }
        Err(error) => broken(format!("no thread: {error}")),
    }
}
