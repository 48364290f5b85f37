//! One connection of a client: who it is, and what its requests share.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use portolan_balance::Generator;

use crate::trace;
use crate::wire::guard::Shared;

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The peer's address, without its port.
    pub(crate) address: HeaderValue,
    /// `http` or `https`.
    pub(crate) scheme: HeaderValue,
    pub(crate) shared: Arc<Shared>,
    generator: Rc<RefCell<Generator>>,
    /// The last host that was asked for, and what is said of it in `Forwarded`: most connections ask for one.
    forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
}

impl Client {
    /// A connection from `peer`.
    pub(crate) fn new(
        peer: SocketAddr,
        secure: bool,
        shared: Arc<Shared>,
        generator: Rc<RefCell<Generator>>,
    ) -> Client {
        let ip = peer.ip().to_canonical();
        let scheme = if secure { "https" } else { "http" };
        Client {
            peer,
            address: HeaderValue::try_from(ip.to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            scheme: HeaderValue::from_static(scheme),
            shared,
            generator,
            forwarded: RefCell::default(),
        }
    }

    /// `for=10.0.0.1;host="web.example.com";proto=http` (RFC 7239).
    pub(crate) fn forwarded(&self, host: &HeaderValue) -> Option<HeaderValue> {
        if let Some((known, value)) = &*self.forwarded.borrow()
            && known == host
        {
            return Some(value.clone());
        }
        let ip = self.peer.ip().to_canonical();
        let who = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        let text = format!(
            "for={who};host=\"{}\";proto={}",
            host.to_str().ok()?,
            self.scheme.to_str().ok()?
        );
        let value = HeaderValue::try_from(text).ok()?;
        *self.forwarded.borrow_mut() = Some((host.clone(), value.clone()));
        Some(value)
    }

    /// A new trace.
    pub(crate) fn fresh_trace(&self) -> Option<HeaderValue> {
        let mut generator = self.generator.borrow_mut();
        trace::fresh(generator.draw(), generator.draw(), generator.draw())
    }

    /// A random number.
    pub(crate) fn draw(&self) -> u64 {
        self.generator.borrow_mut().draw()
    }
}
