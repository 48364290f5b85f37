//! The way in for the fuzz targets.

use portolan_catalog::State;
use prost::Message;

use crate::client::Client;
use crate::kind::Kind;
use crate::names::Zones;
use crate::watch::ask::Ask;
use crate::watch::subscription::Subscription;
use crate::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

/// Decodes a request of the form that the first byte says, and takes it in as a stream does, twice: as its first one and as a later one.
pub fn request(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else {
        return;
    };
    let ask: Option<Ask> = match form % 2 {
        0 => DiscoveryRequest::decode(rest).ok().map(Ask::from),
        _ => DeltaDiscoveryRequest::decode(rest).ok().map(Ask::from),
    };
    let Some(ask) = ask else { return };
    drop(Client::of(ask.node.as_ref(), true));
    let zones = Zones {
        cluster: "cluster.local".into(),
        domain: "consul".into(),
    };
    let kind = Kind::of(&ask.type_url).unwrap_or(Kind::Clusters);
    let mut subscription = Subscription::default();
    subscription.want(kind, ask.wanted.clone());
    subscription.want(kind, ask.wanted);
    for name in &subscription.names {
        drop(zones.meaning(&State::default(), name));
    }
}
