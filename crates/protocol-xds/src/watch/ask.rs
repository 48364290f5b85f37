//! The two forms of a request as one.

use std::collections::BTreeMap;

use portolan_grpc::{Messages, Status};

use crate::wire::core::Node;
use crate::wire::discovery::{self, DeltaDiscoveryRequest, DiscoveryRequest};

/// Which form a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The state of the world: requests say all that is wanted, and responses may say all there is.
    World,
    /// Differences.
    Delta,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) node: Option<Node>,
    pub(crate) type_url: String,
    /// Of the response that it answers; empty when it answers none.
    pub(crate) nonce: String,
    /// Why that response was refused.
    pub(crate) error: Option<discovery::Status>,
    pub(crate) wanted: Wanted,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// These names and no others.
    Exactly(Vec<String>),
    /// These as well, and those no longer.
    Also {
        more: Vec<String>,
        less: Vec<String>,
        /// What the client has, with versions, when it comes back.
        has: BTreeMap<String, String>,
    },
}

impl From<DiscoveryRequest> for Ask {
    fn from(request: DiscoveryRequest) -> Ask {
        Ask {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail,
            wanted: Wanted::Exactly(request.resource_names),
        }
    }
}

impl From<DeltaDiscoveryRequest> for Ask {
    fn from(request: DeltaDiscoveryRequest) -> Ask {
        Ask {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail,
            wanted: Wanted::Also {
                more: request.resource_names_subscribe,
                less: request.resource_names_unsubscribe,
                has: request.initial_resource_versions,
            },
        }
    }
}

/// The next request of a stream; `None` when the client has finished. Safe to drop half-way.
pub(crate) async fn next(messages: &mut Messages, form: Form) -> Result<Option<Ask>, Status> {
    Ok(match form {
        Form::World => messages.next::<DiscoveryRequest>().await?.map(Ask::from),
        Form::Delta => messages
            .next::<DeltaDiscoveryRequest>()
            .await?
            .map(Ask::from),
    })
}
