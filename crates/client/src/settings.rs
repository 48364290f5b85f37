//! How requests to one service are balanced, bounded and tried again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use portolan_balance::{Breakers, Budget, OutlierSettings, Policy, SlowStart};

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS; the certificate has to have the endpoint's address, or the name that the transport was told.
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Makes the answer that is given when no endpoint gives one.
#[derive(Clone)]
pub struct Fallback(Arc<dyn Fn() -> Response<Bytes> + Send + Sync>);

impl Fallback {
    /// By this function.
    pub fn new(answer: impl Fn() -> Response<Bytes> + Send + Sync + 'static) -> Fallback {
        Fallback(Arc::new(answer))
    }

    pub(crate) fn answer(&self) -> Response<Bytes> {
        (self.0)()
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback")
    }
}

/// How requests to one service are balanced, bounded and tried again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How an endpoint is chosen. Default: least request.
    pub policy: Policy,
    /// How endpoints are spoken to. Default: in the clear.
    pub scheme: Scheme,
    /// The name of the port, where it is not the main one. An endpoint without such a port is not used.
    pub port: Option<String>,
    /// Time until the head of an answer, all tries together. Default 30 s.
    pub timeout: Duration,
    /// Further tries at most. Default 2.
    pub retries: u32,
    /// How many requests may be tried again. Default: a fifth, and three a second.
    pub budget: Budget,
    /// A request that may be sent twice and has no answer after so long is sent to a second endpoint as well, within the budget; the first
    /// answer counts. Default: never.
    pub hedge: Option<Duration>,
    /// When an endpoint is taken out for what was seen of it.
    pub outlier: Option<OutlierSettings>,
    /// How new endpoints get their share. Default: all of it at once.
    pub slow_start: Option<SlowStart>,
    /// How many requests may be under way. Default 1,024.
    pub breakers: Breakers,
    /// The answer when no endpoint gives one. Default: an error.
    pub fallback: Option<Fallback>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policy: Policy::LeastRequest,
            scheme: Scheme::Http,
            port: None,
            timeout: Duration::from_secs(30),
            retries: 2,
            budget: Budget::default(),
            hedge: None,
            outlier: Some(OutlierSettings::default()),
            slow_start: None,
            breakers: Breakers::default(),
            fallback: None,
        }
    }
}
