//! What `why` is to tell of a service: what of its metadata and tags the gateway does not follow.

use portolan_catalog::{ServiceKey, State};

use crate::policy::Policy;
use crate::route::tags;

/// What is wrong with what a service says to the gateway, a sentence each; nothing for most.
pub fn remarks(state: &State, service: &ServiceKey) -> Vec<String> {
    let rows = state.endpoints(service).map(|row| &**row);
    let (_, wrong) = Policy::of(state.service(service).map(|row| &**row), rows);
    let mut said: Vec<String> = wrong
        .into_iter()
        .map(|pair| format!("gateway: the metadata {pair} is not understood and not followed"))
        .collect();
    let endpoints = state.endpoints(service);
    let mut all: Vec<&str> = endpoints
        .flat_map(|row| row.primary().tags.iter().map(|tag| &**tag))
        .collect();
    all.sort_unstable();
    all.dedup();
    let (_, wrong) = tags::rules(service, all.into_iter());
    said.extend(wrong.into_iter().map(|why| format!("gateway: {why}")));
    said
}
