//! Who asks, and what of the catalog they may see: tokens of requests, and lists without the rows that are not for everybody.
//!
//! Invariants
//! - A list is never refused: what its reader may not see is left out, and a header says so.
//! - Where nothing can be hidden from a caller there is no sight, and nothing is asked for each row.

use crate::error::Failure;
use crate::read::{Shown, service_name};
use crate::request::Request;
use http::StatusCode;
use portolan_access::{AccessControl, store};
use portolan_catalog::{Instance, NodeName};
use portolan_listener::{Action, Caller, Principal, Resource};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one caller sees.
#[derive(Debug)]
pub(crate) struct Sight {
    caller: Caller,
    hidden: AtomicBool,
}

impl Sight {
    /// What `caller` sees; none when nothing can be hidden from it.
    pub(crate) fn of(caller: &Caller) -> Option<Arc<Self>> {
        caller.restricted().then(|| {
            Arc::new(Self {
                caller: caller.clone(),
                hidden: AtomicBool::new(false),
            })
        })
    }

    /// Whether something was left out.
    pub(crate) fn hid(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    fn sees(&self, resource: Resource<'_>) -> bool {
        let sees = self.caller.may(Action::Read, resource);
        if !sees {
            self.hidden.store(true, Ordering::Relaxed);
        }
        sees
    }
}

/// The resource of a service by its name, as clients write it.
pub(crate) fn service(name: &str) -> Resource<'_> {
    Resource::Service {
        namespace: "",
        name,
    }
}

/// Whether whoever looks may see a thing.
impl Shown<'_> {
    /// Asks for one resource.
    pub(crate) fn sees(self, resource: Resource<'_>) -> bool {
        self.sight.is_none_or(|sight| sight.sees(resource))
    }

    /// A node.
    pub(crate) fn sees_node(self, name: &NodeName) -> bool {
        self.sees(Resource::Node(name.as_str()))
    }

    /// The service of a row.
    pub(crate) fn sees_service(self, row: &Instance) -> bool {
        self.sight
            .is_none_or(|sight| sight.sees(service(&service_name(row))))
    }

    /// Whether access control itself is in their hands. Nothing is left out for it.
    pub(crate) fn manages(self) -> bool {
        self.sight
            .is_none_or(|sight| sight.caller.may(Action::Write, Resource::Access))
    }

    /// A row of health: its service and its node.
    pub(crate) fn sees_row(self, row: &Instance) -> bool {
        self.sees_service(row) && self.sees_node(&row.node)
    }
}

/// The token a request shows: `?token=` before the headers.
fn token(request: &Request) -> Option<Cow<'_, str>> {
    let given = request.params().get("token").to_owned();
    if !given.is_empty() {
        return Some(Cow::Owned(given));
    }
    AccessControl::consul_token(request.headers()).map(Cow::Borrowed)
}

/// Finds out who sends a request. One with a token that is nobody's may still ask for what everybody may know.
pub(crate) fn identify(request: &mut Request, access: &AccessControl) {
    let principal = match token(request) {
        None => Principal::Anonymous,
        Some(secret) => match access.identify(&secret) {
            Some(principal) => principal,
            None => {
                let begun = access.read(|state| store::bootstrapped(state).is_some());
                let text = match begun {
                    true => "ACL not found",
                    false => {
                        "ACL system must be bootstrapped before making any requests that require authorization: ACL not found"
                    }
                };
                request.refused = Some(Failure::new(StatusCode::FORBIDDEN, text));
                Principal::Anonymous
            }
        },
    };
    // What a client's certificate says is no token.
    if *request.caller.principal() != principal {
        request.caller = request.caller.clone().identified(principal);
    }
}
