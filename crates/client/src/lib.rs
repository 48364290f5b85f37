//! Portolan's client library: register what this process serves, discover what others serve, and balance requests among them.
//!
//! What it promises
//! - What was discovered is never lost because a connection broke: the last list that a server gave stays, and with
//!   [`Builder::cache`] it outlives this process, so that a start with no server there has something to begin with.
//! - A registration is renewed for as long as its [`Registration`] lives, made again when the servers have forgotten it, and removed when it
//!   is dropped or the process is told to end ([`Client::ended`]).
//! - A request is tried again only where that is safe: nothing of it was sent, or its method is idempotent (RFC 9110, 9.2.2); each time at
//!   another endpoint, and within a budget.
//!
//! What it deliberately does not do: it decides nothing about health but what it sees of its own requests, and it keeps no catalog; a
//! process that needs all of it runs an agent beside it.
//!
//! Where to start: [`Client`], then [`Discovery`] and [`Balanced`]. The examples `axum` and `tonic` run as they are.
//!
//! ```no_run
//! # async fn example() -> Result<(), portolan_client::Error> {
//! use portolan_client::{Client, Service};
//!
//! let client = Client::builder().server("http://127.0.0.1:7500").build()?;
//! let discovery = client.discover(&Service::new("web"));
//! for endpoint in &discovery.listing().endpoints {
//!     println!("{}", endpoint.authority());
//! }
//! # Ok(())
//! # }
//! ```

mod again;
mod balanced;
mod builder;
mod client;
mod discovery;
mod endpoint;
mod error;
mod follow;
#[cfg(feature = "tonic")]
mod grpc;
mod http;
mod kept;
mod picker;
mod registration;
mod servers;
mod settings;

pub use again::{Again, Lent, Once};
pub use balanced::{Balanced, CallError, Counted, Flying};
pub use builder::Builder;
pub use client::Client;
pub use discovery::{Discovery, Listing, Source};
pub use endpoint::{Endpoint, Service};
pub use error::Error;
#[cfg(feature = "tonic")]
pub use grpc::{Grpc, GrpcBody, H2c};
pub use http::{Http, Transport};
pub use portolan_api::Register;
pub use portolan_balance::{Breakers, Budget, OutlierSettings, Policy, SlowStart};
pub use portolan_https::Trust;
pub use registration::Registration;
pub use settings::{Fallback, Scheme, Settings};
