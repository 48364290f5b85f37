//! What a client says of itself, as far as answers depend on it.

use std::sync::Arc;

use crate::wire::core::Node;

/// Which set of resources a client can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavor {
    /// A channel of gRPC: listeners without an address, by name.
    Grpc,
    /// A proxy: one listener with an address, everything by no name.
    Envoy,
}

/// Where a client is; empty where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) region: Arc<str>,
    pub(crate) zone: Arc<str>,
}

/// One client, known from its first request on.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) flavor: Flavor,
    pub(crate) place: Arc<Place>,
    /// As it calls itself.
    pub(crate) id: Arc<str>,
    /// Which program it is.
    pub(crate) agent: Arc<str>,
}

/// Bytes of a word that are kept of what a client says of itself.
const WORD: usize = 256;

impl Client {
    /// By its node, and by whether its first request is for everything, which no channel of gRPC asks for.
    pub(crate) fn of(node: Option<&Node>, everything: bool) -> Client {
        let agent = node.map_or("", |node| &node.user_agent_name);
        let flavor = match agent {
            "envoy" => Flavor::Envoy,
            agent if agent.starts_with("gRPC") => Flavor::Grpc,
            _ if everything => Flavor::Envoy,
            _ => Flavor::Grpc,
        };
        let locality = node.and_then(|node| node.locality.as_ref());
        let place = locality.map_or_else(Place::default, |locality| Place {
            region: word(&locality.region),
            zone: word(&locality.zone),
        });
        let version = node.map_or("", |node| &node.user_agent_version);
        Client {
            flavor,
            place: Arc::new(place),
            id: word(node.map_or("", |node| &node.id)),
            agent: word(format!("{agent} {version}").trim()),
        }
    }
}

fn word(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(WORD)].into()
}
