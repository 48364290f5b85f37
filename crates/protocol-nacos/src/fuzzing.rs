//! Decoders that bytes from the network reach first, for fuzzing.

use prost::Message;

use crate::config::listen;
use crate::http::params;
use crate::translate;
use crate::watch::udp;
use crate::wire::instance::{Beat, Instance};
use crate::wire::payload::Payload;
use crate::wire::requests::{
    Answered, BatchInstanceRequest, ConfigBatchListen, ConfigRequest, ConnectionSetup, FuzzyWatch,
    InstanceRequest, ServiceList, ServiceQuery, SubscribeService,
};

/// A message of the gRPC port, whatever it says it is.
pub fn payload(bytes: &[u8]) {
    if let Ok(payload) = Payload::decode(bytes) {
        json(payload.json());
        let _ = payload.encode_to_vec();
    }
    json(bytes);
}

fn json(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<InstanceRequest>(bytes) {
        let _ = translate::checked(&request.instance);
    }
    let _ = serde_json::from_slice::<BatchInstanceRequest>(bytes);
    let _ = serde_json::from_slice::<ServiceQuery>(bytes);
    let _ = serde_json::from_slice::<SubscribeService>(bytes);
    let _ = serde_json::from_slice::<ServiceList>(bytes);
    let _ = serde_json::from_slice::<FuzzyWatch>(bytes);
    let _ = serde_json::from_slice::<ConfigRequest>(bytes);
    let _ = serde_json::from_slice::<ConfigBatchListen>(bytes);
    let _ = serde_json::from_slice::<ConnectionSetup>(bytes);
    let _ = serde_json::from_slice::<Answered>(bytes);
    let _ = serde_json::from_slice::<Beat>(bytes);
    if let Ok(sent) = serde_json::from_slice::<Instance>(bytes) {
        let _ = translate::checked(&sent);
    }
}

/// Texts of forms: metadata, polls, acknowledgements by UDP.
pub fn form(bytes: &[u8]) {
    let _ = udp::acknowledged(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = params::metadata(text);
        let _ = params::decode(text);
        if let Ok(polled) = listen::parse(text) {
            let all: Vec<_> = polled.iter().collect();
            let _ = listen::encode(&all);
        }
    }
}
